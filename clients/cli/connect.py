"""The way to a session: a token of an open window, else the window, else a request and the wait for approval."""

import os
import sys

from clients.cli import profile, tokens
from clients.cli.errors import Failure, report
from clients.cli.options import Plan
from clients.cli.wire.channel import Channel
from clients.cli.wire.failure import CallFailed

TYPE_CHECKING = False  # importing typing for it would take 2 ms
if TYPE_CHECKING:
    from clients.cli.session import Session

# What a token that no longer works is refused with: then the long way tells why, or finds another window.
_TOKEN_REFUSALS = ("UNAUTHENTICATED", "PERMISSION_DENIED", "FAILED_PRECONDITION", "NOT_FOUND")


def run(plan: Plan) -> int:
    """Opens the session and stays in it; the remote command's exit code. Raises Failure or CallFailed."""
    signed_in = profile.load()
    channel = Channel(signed_in.gateway_address, signed_in.context())
    try:
        session = _open(plan, signed_in, channel)
        from clients.cli.relay import Left, Relay

        try:
            opened = session.wait_until_open()
            return Relay(session, opened, on_terminal=plan.terminal, reads_stdin=not plan.no_stdin).run()
        except Left as left:
            session.call.cancel()
            if str(left):
                report(Failure(str(left), exit_code=left.exit_code))
            return left.exit_code
    finally:
        channel.close()


def _open(plan: Plan, signed_in: profile.Profile, channel: Channel) -> "Session":
    """A session that the gateway has begun to open."""
    name = f"{plan.account or 'default'}/{plan.region or 'default'}/{plan.node}"
    if plan.token:
        return _begin(plan, channel, plan.token)
    if known := tokens.recall(signed_in, name):
        session = _begin(plan, channel, known)
        try:
            session.call.peek()
        except CallFailed as failed:
            if failed.code not in _TOKEN_REFUSALS:
                raise
            tokens.forget(signed_in, name)
        else:
            return session
    from clients.cli.window import open_window

    token = open_window(plan, channel)
    tokens.keep(signed_in, name, token.value, token.expires_at.seconds)
    return _begin(plan, channel, token.value)


def _begin(plan: Plan, channel: Channel, token: str) -> "Session":
    from clients.cli import terminal
    from clients.cli.session import Session
    from jitgate.v1.session_pb2 import SESSION_KIND_EXEC, SESSION_KIND_SHELL, OpenSession

    opening = OpenSession(access_token=token, node=plan.node, command=plan.command_line)
    opening.kind = SESSION_KIND_SHELL if plan.command is None else SESSION_KIND_EXEC
    opening.scope.account, opening.scope.region = plan.account, plan.region
    if plan.terminal:
        opening.terminal.term = terminal.kind()
        opening.terminal.columns, opening.terminal.rows = terminal.size(0)
    session = Session(channel, opening)
    import hpack  # noqa: F401 - likewise

    import clients.cli.relay  # noqa: F401 - while the gateway dials the node, the import costs no time

    return session


def has_person() -> bool:
    """Whether somebody is there to be asked."""
    return os.isatty(0) and sys.stderr.isatty()
