"""Who of a session's two ends is away, and what follows from it. Values only, no clock."""

from typing import Final

from gateway.sessions.limits import span
from gateway.sessions.model import End, Ending

NOTICE_SECONDS: Final = 2.0
"""So long a node may be away before its user is told: agents come back sooner, as a rule."""
_AWAY: Final = "The way to the node is interrupted; what you type waits. The session goes on when it is back."
_BACK: Final = "The way to the node is back."


class Absences:
    """Of one session that can be resumed. Moments are seconds of a clock that never goes back."""

    __slots__ = ("_client_since", "_grace", "_is_told", "_node_since")

    def __init__(self, grace_seconds: float) -> None:
        """Both ends are there."""
        self._grace = grace_seconds
        self._client_since: float | None = None
        self._node_since: float | None = None
        self._is_told = False

    def client_left(self, now: float) -> None:
        self._client_since = now
        self._is_told = False

    def client_came(self) -> None:
        self._client_since = None

    def node_left(self, now: float) -> None:
        if self._node_since is None:
            self._node_since = now

    def node_came(self) -> str:
        """What its user is told, perhaps nothing."""
        is_told, self._is_told = self._is_told, False
        self._node_since = None
        return _BACK if is_told else ""

    def look(self, now: float) -> Ending | str | None:
        """The end that is due, what its user should know, or nothing."""
        if self._node_since is not None and now - self._node_since >= self._grace:
            return Ending(End.NODE_GONE, f"The node did not come back within {span(self._grace)}.")
        if self._client_since is not None:
            if now - self._client_since >= self._grace:
                return Ending(End.CLIENT_GONE, f"The client did not come back within {span(self._grace)}.")
            return None
        if self._node_since is None or self._is_told or now - self._node_since < NOTICE_SECONDS:
            return None
        self._is_told = True
        return _AWAY
