"""Finding a session among those that run."""

from clients.cli.wire.channel import Channel
from jitgate.v1 import session_pb2 as session

LIST = "/jitgate.v1.SessionService/ListSessions"


def find(
    channel: Channel, session_id: str, *, user_id: str = "", live_only: bool = True
) -> session.Session | None:
    """The session with that id, if the caller may see it. Raises CallFailed."""
    wanted = session.ListSessionsRequest(live_only=live_only, user_id=user_id)
    wanted.page.size = 1000
    while True:
        part = channel.unary(LIST, wanted, session.ListSessionsResponse)
        for found in part.sessions:
            if found.id == session_id:
                return found
        if not part.next_page_token:
            return None
        wanted.page.token = part.next_page_token
