"""Going on with one's own live session from another terminal."""

from clients.cli import live, profile, terminal, tokens, view
from clients.cli.connect import stay
from clients.cli.errors import NOT_FOUND, NOT_PERMITTED, REFUSED, USAGE, Failure
from clients.cli.relay import Relay
from clients.cli.session import OUTPUT_CREDIT, Session
from clients.cli.way import Way
from clients.cli.wire.channel import Channel
from jitgate.v1 import session_pb2 as session

LIST = "See which go on: jit sessions list --live"


def attach(session_id: str, *, on_terminal: bool) -> int:
    """Stays in the session until it ends or is left; its exit code. Raises Failure or CallFailed.

    A shell is on a terminal; `on_terminal` says that a command is as well. Whoever has the session loses it.
    """
    if not session_id.startswith("s-"):
        raise Failure(f"{session_id!r} is no session's id", LIST, USAGE)
    signed_in = profile.load()
    context = signed_in.context()
    channel = Channel(signed_in.gateway_address, context)
    try:
        found = _mine(channel, signed_in.user_id, session_id)
        token = tokens.fetch(channel, found.access_request_id)
    finally:
        channel.close()
    if token is None:
        raise Failure(f"the access that {session_id} belongs to has ended", "Request access anew.", REFUSED)
    on_terminal = on_terminal or found.kind == session.SESSION_KIND_SHELL
    wanted = session.ResumeSession(session_id=session_id, credit=OUTPUT_CREDIT)
    if on_terminal:
        wanted.terminal.term = terminal.kind()
        wanted.terminal.columns, wanted.terminal.rows = terminal.size(0)
    way = Way(signed_in, context, token.value)
    call, opened = way.go(wanted)
    there = Session(call, opened, wanted.credit)
    name = found.node_name or found.node_id
    relay = Relay(there, way, name=name, on_terminal=on_terminal, reads_stdin=True)
    return stay(there, relay, redraw=True)


def _mine(channel: Channel, user_id: str, session_id: str) -> session.Session:
    """The live session with that id. Raises Failure that says why there is none of the caller's."""
    found = live.find(channel, session_id)
    if found is None:
        found = live.find(channel, session_id, user_id=user_id, live_only=False)
        if found is None:
            raise Failure(f"there is no session {session_id} of yours", LIST, NOT_FOUND)
        how = found.end_message or view.word(session.SessionEnd.Name(found.end), "SESSION_END_")
        again = f"Open another one: jit shell {found.node_name or found.node_id}"
        raise Failure(f"{session_id} is over: {how}", again, REFUSED)
    if found.user_id != user_id:
        raise Failure(
            f"{session_id} is a session of {found.user_id}, and only they can go on with it", LIST, NOT_PERMITTED
        )
    return found
