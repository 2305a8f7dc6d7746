"""The way to a session: a token of an open window, else the window, else a request and the wait for approval."""

from clients.cli import profile, tokens
from clients.cli.errors import Failure, report
from clients.cli.options import Plan
from clients.cli.wire.channel import Channel
from clients.cli.wire.failure import CallFailed

TYPE_CHECKING = False  # importing typing for it would take 2 ms
if TYPE_CHECKING:
    from clients.cli.relay import Relay
    from clients.cli.session import Session
    from clients.cli.wire.channel import Call

# What a token that no longer works is refused with: then the long way tells why, or finds another window.
_TOKEN_REFUSALS = ("UNAUTHENTICATED", "PERMISSION_DENIED", "FAILED_PRECONDITION", "NOT_FOUND")


def run(plan: Plan) -> int:
    """Opens the session and stays in it; the remote command's exit code. Raises Failure or CallFailed."""
    signed_in = profile.load()
    context = signed_in.context()
    channel = Channel(signed_in.gateway_address, context)
    try:
        call, token = _open(plan, signed_in, channel)
        from clients.cli.relay import Relay
        from clients.cli.session import Session, answer
        from clients.cli.way import Way

        session = Session(call, answer(call))
        way = Way(signed_in, context, token)
        relay = Relay(session, way, name=plan.node, on_terminal=plan.terminal, reads_stdin=not plan.no_stdin)
        return stay(session, relay)
    finally:
        channel.close()


def stay(session: "Session", relay: "Relay", *, redraw: bool = False) -> int:
    """Until the session ends, or is left; the exit code. Raises CallFailed."""
    from clients.cli.relay import Left

    try:
        code = relay.run(redraw=redraw)
        session.part()
    except Left as left:
        session.part()
        session.call.cancel()
        if str(left):
            report(Failure(str(left), left.what_to_do))
        return left.exit_code
    finally:
        session.call.channel.close()
    return code


def _open(plan: Plan, signed_in: profile.Profile, channel: Channel) -> "tuple[Call, str]":
    """The call of a session that the gateway has begun to open, and the token for it."""
    name = f"{plan.account or 'default'}/{plan.region or 'default'}/{plan.node}"
    if plan.token:
        return _begin(plan, channel, plan.token), plan.token
    if known := tokens.recall(signed_in, name):
        call = _begin(plan, channel, known)
        try:
            call.peek()
        except CallFailed as failed:
            if failed.code not in _TOKEN_REFUSALS:
                raise
            tokens.forget(signed_in, name)
        else:
            return call, known
    from clients.cli.window import open_window

    token = open_window(plan, channel)
    tokens.keep(signed_in, name, token.value, token.expires_at.seconds)
    return _begin(plan, channel, token.value), token.value


def _begin(plan: Plan, channel: Channel, token: str) -> "Call":
    from clients.cli import terminal
    from clients.cli.session import OUTPUT_CREDIT, begin
    from jitgate.v1.session_pb2 import SESSION_KIND_EXEC, SESSION_KIND_SHELL, OpenSession, SessionFrame

    opening = OpenSession(access_token=token, node=plan.node, command=plan.command_line, resumable=True)
    opening.kind = SESSION_KIND_SHELL if plan.command is None else SESSION_KIND_EXEC
    opening.credit = OUTPUT_CREDIT
    opening.scope.account, opening.scope.region = plan.account, plan.region
    if plan.terminal:
        opening.terminal.term = terminal.kind()
        opening.terminal.columns, opening.terminal.rows = terminal.size(0)
    call = begin(channel, SessionFrame(open=opening))
    import hpack  # noqa: F401 - likewise

    import clients.cli.relay  # noqa: F401 - while the gateway dials the node, the import costs no time

    return call
