"""The gateway as commands use it: one connection for all calls of a command, listings page by page."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from google.protobuf.message import Message

from clients.cli import profile
from clients.cli.wire.channel import Channel

M = TypeVar("M", bound=Message)

LARGEST_PAGE = 1000


@contextmanager
def gateway() -> Iterator[Channel]:
    """A connection as the signed-in user."""
    signed_in = profile.load()
    channel = Channel(signed_in.gateway_address, signed_in.context())
    try:
        yield channel
    finally:
        channel.close()


def listing(channel: Channel, path: str, request: Message, answer: type[M], limit: int) -> M:
    """All pages of a listing as one, up to `limit` rows (0: all). Where rows are left, its token says so."""
    merged = answer()
    rows = merged.DESCRIPTOR.fields[0].name
    page = request.page  # type: ignore[attr-defined]  # every listing's request has one
    while True:
        left = limit - len(getattr(merged, rows)) if limit else LARGEST_PAGE
        page.size = min(left, LARGEST_PAGE)
        part = channel.unary(path, request, answer)
        merged.ClearField("next_page_token")
        merged.MergeFrom(part)
        page.token = part.next_page_token  # type: ignore[attr-defined]  # likewise
        if not page.token or (limit and len(getattr(merged, rows)) >= limit):
            return merged
