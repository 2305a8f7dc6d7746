"""Why a session could not be opened on a node; each with what to do about it."""

from gateway.errors import Kind, Refused


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
