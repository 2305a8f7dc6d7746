"""What agents, and those who invite them, are refused with."""

from datetime import timedelta

from gateway.errors import Kind, Refused


def activation_refused() -> Refused:
    """The one answer to a wrong, unknown, expired, used up or deleted activation."""
    return Refused(
        Kind.UNAUTHENTICATED,
        "ACTIVATION_REFUSED",
        "the activation does not work: its id or code is wrong, or it has expired, is used up or was deleted",
        "Look at it with jit activations list, or make a new one: jit activations create --help",
    )


def backoff(wait: timedelta) -> Refused:
    seconds = int(wait.total_seconds()) + 1
    return Refused(
        Kind.RESOURCE_EXHAUSTED,
        "REGISTRATION_BACKOFF",
        "too many failed registrations",
        f"Try again in {seconds} seconds.",
        retry_after=timedelta(seconds=seconds),
    )


def key_in_use() -> Refused:
    return Refused(
        Kind.ALREADY_EXISTS,
        "KEY_IN_USE",
        "this key belongs to a registered node already",
        "Register with a new key: a node id is bound to one key, and a key to one node.",
    )


def activation_not_found(activation_id: str) -> Refused:
    """Also the answer about one that the caller may not see."""
    return Refused(
        Kind.NOT_FOUND,
        "ACTIVATION_NOT_FOUND",
        f"there is no activation {activation_id} that you can see",
        "Look at them: jit activations list",
    )


def not_registered(why: str) -> Refused:
    """The certificate is ours, and its node does not go with it."""
    return Refused(
        Kind.UNAUTHENTICATED, "REGISTRATION_REQUIRED", why, "Register the node anew: jitgate-agent register --help"
    )


def node_removed(node_id: str) -> Refused:
    return Refused(
        Kind.PERMISSION_DENIED,
        "NODE_REMOVED",
        f"{node_id} was removed from the registry",
        "Register the machine anew if it is still to be reached: jitgate-agent register --help",
    )


def node_locked(node_id: str, reason: str) -> Refused:
    return Refused(
        Kind.PERMISSION_DENIED,
        "NODE_LOCKED",
        f"{node_id} is locked: {reason}",
        "The agent goes on trying; an administrator can unlock the node: jit unlock",
    )


def replaced(node_id: str) -> Refused:
    return Refused(
        Kind.ABORTED,
        "AGENT_REPLACED",
        f"another agent with the key of {node_id} has connected",
        "If this happens again and again, two machines share one key: register one of them anew.",
    )


def too_soon() -> Refused:
    return Refused(
        Kind.RESOURCE_EXHAUSTED,
        "ATTACHED_TOO_SOON",
        "this node's agent connected a moment ago",
        "Try again in a few seconds; if two machines share one key, register one of them anew.",
        retry_after=timedelta(seconds=2),
    )


def stopping() -> Refused:
    return Refused(Kind.UNAVAILABLE, "GATEWAY_STOPPING", "the gateway is being stopped", "Try again in a moment.")


def too_old(protocol: int) -> Refused:
    return Refused(
        Kind.FAILED_PRECONDITION,
        "AGENT_NOT_UNDERSTOOD",
        f"the agent speaks version {protocol} of the protocol, which this gateway does not",
        "Install the agent of the gateway's version.",
    )


def broken(what: str) -> Refused:
    """The agent did not keep to the contract; what it did it with ends."""
    return Refused(
        Kind.INVALID_ARGUMENT,
        "BROKEN_FRAMES",
        f"the agent broke the protocol: {what}",
        "Update the agent; if it is up to date, report this.",
    )


def silent(seconds: float) -> Refused:
    """A machine that sleeps, or a network that says nothing of its end."""
    return Refused(
        Kind.UNAVAILABLE,
        "AGENT_SILENT",
        f"nothing was heard of the node's agent for {seconds:g} seconds",
        "Connect again; if this happens again and again, look at the network and the node's load.",
    )


def unknown_order() -> Refused:
    return Refused(
        Kind.FAILED_PRECONDITION,
        "UNKNOWN_SESSION",
        "no such session was ordered from this agent, or no longer",
        "Nothing is to be done: whoever wanted it has left.",
    )


def dropped(why: str) -> Refused:
    """A call ends that carried a session; the agent keeps the session for its grace."""
    return Refused(Kind.UNAVAILABLE, "CALL_DROPPED", why, "Keep the session until its grace is over.")


def rewound() -> Refused:
    return Refused(
        Kind.ABORTED, "CALL_REPLACED", "the session goes on in another call", "Serve it when it is ordered."
    )


def not_kept(why: str) -> Refused:
    """The agent is there, and will not go on with a session."""
    return Refused(Kind.UNAVAILABLE, "NOT_KEPT", why, "Open a new session.")
