"""Waiting for the decision on an access request, with a view of how far it has come."""

from collections.abc import Iterator

from clients.cli import view
from clients.cli.request_view import Live, levels, outcome
from clients.cli.wire.channel import Channel
from clients.cli.wire.failure import CallFailed
from jitgate.v1 import access_pb2 as access
from jitgate.v1.access_pb2 import AccessRequest, WatchAccessRequestRequest, WatchAccessRequestResponse

WATCH = "/jitgate.v1.AccessService/WatchAccessRequest"
PATIENCE = 3  # connections that may break one after the other before waiting is given up


def until_decided(channel: Channel, request: AccessRequest, hint: str) -> AccessRequest:
    """The request once it is no longer pending. Raises CallFailed; Ctrl-C goes through and changes nothing."""
    shown = view.console(error=True)
    if not shown.is_terminal:
        return _in_lines(channel, request)
    from rich.live import Live as Display

    drawn = Live(request)
    drawn.hint = hint
    # It vanishes in the end, because callers say then what became of the request.
    with Display(drawn, console=shown, refresh_per_second=2, transient=True) as display:
        for latest in changes(channel, request.id):
            drawn.request = latest
            display.refresh()
            if latest.status != access.ACCESS_REQUEST_STATUS_PENDING:
                break
    return drawn.request


def changes(channel: Channel, request_id: str) -> Iterator[AccessRequest]:
    """The request as it stands, then after every change, until its end; goes on over broken connections."""
    broken = 0
    revision = -1
    while True:
        try:
            wanted = WatchAccessRequestRequest(id=request_id)
            for answer in channel.stream(WATCH, wanted, WatchAccessRequestResponse):
                broken = 0
                if answer.request.revision != revision:
                    revision = answer.request.revision
                    yield answer.request
        except CallFailed as failed:
            broken += 1
            if failed.code != "UNAVAILABLE" or broken > PATIENCE:
                raise
            _pause(broken)
        else:
            return


def _pause(times: int) -> None:
    import time

    time.sleep(0.5 * 2**times)


def _in_lines(channel: Channel, request: AccessRequest) -> AccessRequest:
    view.note(outcome(request))
    for latest in changes(channel, request.id):
        request = latest
        for line in levels(latest):
            view.note(line)
        if latest.status != access.ACCESS_REQUEST_STATUS_PENDING:
            break
    return request
