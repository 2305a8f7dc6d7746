"""A client in this process: what it sends is a list, what it got is another."""

import asyncio
from collections.abc import Callable

from jitgate.v1.session_pb2 import (
    SESSION_STREAM_MAIN,
    SESSION_STREAM_STDERR,
    SessionData,
    SessionEof,
    SessionExit,
    SessionFrame,
    SessionHangup,
    SessionResize,
    SessionSignal,
    SessionWindow,
)

DEADLINE = 30.0


async def until(condition: Callable[[], object], seconds: float = DEADLINE) -> None:
    """Polls until the condition is true; fails at the deadline."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not condition():
        assert loop.time() < deadline, "it did not come about in time"
        await asyncio.sleep(0.002)


def data(payload: bytes, offset: int = 0) -> SessionFrame:
    return SessionFrame(data=SessionData(offset=offset, payload=payload))


def window(credit: int) -> SessionFrame:
    return SessionFrame(window=SessionWindow(credit=credit))


def resize(columns: int, rows: int) -> SessionFrame:
    return SessionFrame(resize=SessionResize(columns=columns, rows=rows))


def signal(name: str) -> SessionFrame:
    return SessionFrame(signal=SessionSignal(name=name))


def hangup() -> SessionFrame:
    return SessionFrame(hangup=SessionHangup())


def eof() -> SessionFrame:
    return SessionFrame(eof=SessionEof())


class Client:
    """Both frame source and frame sink of one session."""

    def __init__(self, received: int = 0) -> None:
        self.received = received
        """Bytes of output that came in earlier calls."""
        self.frames: list[SessionFrame] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self._outgoing: asyncio.Queue[SessionFrame | BaseException | None] = asyncio.Queue()

    # The relay's side.

    async def receive(self) -> SessionFrame | None:
        item = await self._outgoing.get()
        if isinstance(item, BaseException):
            raise item
        return item

    async def send(self, frame: bytes) -> None:
        await self.reads.wait()
        self.frames.append(SessionFrame.FromString(frame))

    # The person's side.

    def say(self, *frames: SessionFrame) -> None:
        for frame in frames:
            self._outgoing.put_nowait(frame)

    def hang_up(self) -> None:
        self._outgoing.put_nowait(None)

    def vanish(self) -> None:
        self._outgoing.put_nowait(ConnectionResetError("gone"))

    def kinds(self) -> list[str]:
        return [frame.WhichOneof("frame") or "" for frame in self.frames]

    def output(self, stream: int = SESSION_STREAM_MAIN) -> bytes:
        """What came of a stream; fails where an offset is not the one that was due."""
        due = self.received
        for frame in self.frames:
            if frame.HasField("data"):
                assert frame.data.offset == due
                due += len(frame.data.payload)
        return b"".join(
            frame.data.payload for frame in self.frames if frame.HasField("data") and frame.data.stream == stream
        )

    def errors(self) -> bytes:
        return self.output(SESSION_STREAM_STDERR)

    def notices(self) -> list[str]:
        return [frame.notice.text for frame in self.frames if frame.HasField("notice")]

    @property
    def session_id(self) -> str:
        return next(frame.opened.session_id for frame in self.frames if frame.HasField("opened"))

    @property
    def exit(self) -> SessionExit | None:
        last = self.frames[-1] if self.frames else None
        return last.exit if last is not None and last.HasField("exit") else None
