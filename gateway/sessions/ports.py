"""What a session needs of the recorder while it runs."""

from typing import Protocol

from gateway.nodes.ports import Upstream, UpstreamSink
from recorder.model import Stream


class Journal(Protocol):
    """Where everything goes before it goes on; `recorder.recording.Recording` is one.

    Every method raises RecordingFailed once the recording can take no more. Offsets count bytes of one stream.
    """

    @property
    def failure(self) -> str | None:
        """Why it can take no more, known perhaps before anybody writes to it again."""

    @property
    def secured(self) -> int:
        """The offset of output (both streams together) before which the node need keep none for the recording."""

    @property
    def is_held_back(self) -> bool:
        """It should be given nothing more for now: the node is not read from, and the client's input waits."""

    def output(self, data: bytes, offset: int) -> None: ...

    def stderr(self, data: bytes, offset: int) -> None: ...

    def input(self, data: bytes, offset: int) -> None: ...

    def resize(self, columns: int, rows: int) -> None: ...

    def signal(self, name: str) -> None: ...

    def eof(self, stream: Stream) -> None: ...

    def notice(self, text: str) -> None: ...

    def exit(self, status: int, signal: str = "") -> None: ...

    async def durable(self) -> None:
        """Returns when everything written so far is as durable as the operator asked for."""


class _Unrecorded:
    """Keeps nothing: for a `best_effort` session whose recording failed."""

    failure: str | None = None
    is_held_back = False
    secured = 1 << 62

    def output(self, data: bytes, offset: int) -> None: ...

    def stderr(self, data: bytes, offset: int) -> None: ...

    def input(self, data: bytes, offset: int) -> None: ...

    def resize(self, columns: int, rows: int) -> None: ...

    def signal(self, name: str) -> None: ...

    def eof(self, stream: Stream) -> None: ...

    def notice(self, text: str) -> None: ...

    def exit(self, status: int, signal: str = "") -> None: ...

    async def durable(self) -> None: ...


UNRECORDED: Journal = _Unrecorded()


class _Away:
    """Takes nothing and gives nothing."""

    async def start(self, sink: UpstreamSink) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def write(self, data: bytes) -> None: ...

    async def drain(self) -> None: ...

    def write_eof(self) -> None: ...

    def resize(self, columns: int, rows: int) -> None: ...

    def signal(self, name: str) -> None: ...

    def close(self) -> None: ...

    async def wait_closed(self) -> None: ...


AWAY: Upstream = _Away()
"""Of a session whose node has not come back yet."""
