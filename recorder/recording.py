"""A recording in the making."""

from __future__ import annotations

from recorder.model import Manifest, SessionInfo, Stream


class Recording:
    """What the relay writes to, before it passes a chunk on. Everything raises RecordingFailed when it can take no more."""

    session: SessionInfo

    @property
    def failure(self) -> str | None:
        """Why this recording can take no more, or None."""
        raise NotImplementedError

    def output(self, data: bytes | bytearray | memoryview, offset: int) -> None:
        """What the node printed; `offset` counts the output bytes before it."""
        raise NotImplementedError

    def stderr(self, data: bytes | bytearray | memoryview, offset: int) -> None:
        """What an exec wrote to stderr; its offsets are its own."""
        raise NotImplementedError

    def input(self, data: bytes | bytearray | memoryview | int, offset: int) -> None:
        """What the user typed, or only its length; content is kept only where the session asks for it."""
        raise NotImplementedError

    def resize(self, columns: int, rows: int) -> None:
        """The terminal has another size."""
        raise NotImplementedError

    def signal(self, name: str) -> None:
        """The client sent a signal (`INT`)."""
        raise NotImplementedError

    def eof(self, stream: Stream) -> None:
        """No more bytes in this direction."""
        raise NotImplementedError

    def notice(self, text: str) -> None:
        """What the gateway told the user within the session."""
        raise NotImplementedError

    def exit(self, status: int, signal: str = "") -> None:
        """The command ended."""
        raise NotImplementedError

    def gap(self, reason: str, lost_bytes: int = 0) -> None:
        """Something is missing here, and why."""
        raise NotImplementedError

    async def durable(self) -> None:
        """Returns when everything written so far is durable: at once under `process`, after fdatasync under `sync`."""
        raise NotImplementedError

    async def close(self, reason: str) -> Manifest:
        """Seal and store what is left and sign the manifest. Goes on in the background when the caller stops waiting."""
        raise NotImplementedError
