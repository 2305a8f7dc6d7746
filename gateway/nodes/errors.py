"""Why a session could not be opened on a node; each with what to do about it."""

from gateway.errors import Kind, Refused
from gateway.nodes.model import NodeCheck


class NodeUnreachable(Refused):
    """The node did not answer, or what answered is no SSH server."""

    def __init__(self, message: str, what_to_do: str) -> None:
        super().__init__(Kind.UNAVAILABLE, "NODE_UNREACHABLE", message, what_to_do)


class HostKeyChanged(Refused):
    """The node could not prove that it is the node that was registered; nothing was sent to it."""

    def __init__(self, message: str, what_to_do: str) -> None:
        super().__init__(Kind.FAILED_PRECONDITION, "HOST_KEY_CHANGED", message, what_to_do)


class LoginRefused(Refused):
    """The node is the right one, and does not accept the gateway's certificate for the login."""

    def __init__(self, message: str, what_to_do: str) -> None:
        super().__init__(Kind.FAILED_PRECONDITION, "LOGIN_REFUSED", message, what_to_do)


class UpstreamFailed(Refused):
    """The login worked; the shell or command did not start."""

    def __init__(self, message: str, what_to_do: str) -> None:
        super().__init__(Kind.UNAVAILABLE, "UPSTREAM_FAILED", message, what_to_do)


def node_not_found(reference: str, account: str, region: str) -> Refused:
    """Also the answer about a node that the caller may not see."""
    return Refused(
        Kind.NOT_FOUND,
        "NODE_NOT_FOUND",
        f"There is no node {reference} in account {account}, Region {region}",
        "Look at the nodes: jit nodes list",
    )


def name_taken(name: str, account: str, region: str) -> Refused:
    return Refused(
        Kind.ALREADY_EXISTS,
        "NODE_NAME_TAKEN",
        f"There is a node {name} in account {account}, Region {region} already",
        "Choose another name, or remove the other node first: jit nodes remove --help",
    )


def id_used(node_id: str) -> Refused:
    return Refused(
        Kind.ALREADY_EXISTS,
        "NODE_ID_USED",
        f"The node id {node_id} is or was in use; ids are never used again",
        "Leave the id out: the gateway makes one.",
    )


def no_login(node: str) -> Refused:
    return Refused(
        Kind.FAILED_PRECONDITION,
        "NO_LOGIN",
        f"Nothing says which login sessions on {node} run as",
        "Give the node a login, or set run-as in the session preferences: jit preferences --help",
    )


def needs_no_trust(node: str) -> Refused:
    return Refused(
        Kind.FAILED_PRECONDITION,
        "NO_SSH",
        f"{node} is reached through its agent; its sshd needs to know nothing of the gateway",
        "There is nothing to do.",
    )


def check_failed(check: NodeCheck) -> Refused:
    """The first step that failed, as the reason for not registering a node."""
    return Refused(
        Kind.FAILED_PRECONDITION,
        "NODE_CHECK_FAILED",
        f"The check failed at {check.step}: {check.message}",
        check.what_to_do,
        metadata={"step": check.step},
    )
