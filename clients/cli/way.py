"""The way back to a session whose call broke, or that another terminal began."""

from contextlib import suppress

from clients.cli.session import resume
from clients.cli.wire.channel import Call, Channel
from clients.cli.wire.failure import CallFailed
from jitgate.v1.session_pb2 import ResumeSession, SessionOpened

TYPE_CHECKING = False  # importing typing for it would take 2 ms
if TYPE_CHECKING:
    from ssl import SSLContext

    from clients.cli.profile import Profile


class Way:
    """Whose the session is, and a token of its access request."""

    def __init__(self, profile: "Profile", context: "SSLContext", token: str) -> None:
        self._profile = profile
        self._context = context
        self._token = token

    def go(self, wanted: ResumeSession) -> tuple[Call, SessionOpened]:
        """Goes on with the session over a connection of its own; the token is filled in. Raises CallFailed."""
        channel = Channel(self._profile.gateway_address, self._context)
        try:
            wanted.access_token = self._token
            try:
                return resume(channel, wanted)
            except CallFailed as failed:
                if not _is_about_token(failed) or not self._renew(channel, wanted.session_id):
                    raise
            wanted.access_token = self._token
            return resume(channel, wanted)
        except BaseException:
            channel.close()
            raise

    def _renew(self, channel: Channel, session_id: str) -> bool:
        """Another token of the session's request, while its window is open; whether there is one."""
        from clients.cli import live, tokens

        with suppress(CallFailed):
            found = live.find(channel, session_id, user_id=self._profile.user_id)
            token = tokens.fetch(channel, found.access_request_id) if found else None
            if token is not None:
                self._token = token.value
                return True
        return False


def _is_about_token(failed: CallFailed) -> bool:
    from clients.cli.details import Details

    return Details(failed.details).reason.startswith("TOKEN_")
