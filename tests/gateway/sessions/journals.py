"""A journal that remembers the order of things, and fails when the test says so."""

from recorder.errors import RecordingFailed
from recorder.model import Stream


class Remembering:
    """What was recorded, as tuples of the kind and its values."""

    def __init__(self) -> None:
        self.entries: list[tuple[object, ...]] = []
        self.failure: str | None = None
        self.is_held_back = False
        self.secured = 1 << 62
        self.waits = 0

    def output(self, data: bytes, offset: int) -> None:
        self._write("output", data, offset)

    def stderr(self, data: bytes, offset: int) -> None:
        self._write("stderr", data, offset)

    def input(self, data: bytes, offset: int) -> None:
        self._write("input", data, offset)

    def resize(self, columns: int, rows: int) -> None:
        self._write("resize", columns, rows)

    def signal(self, name: str) -> None:
        self._write("signal", name)

    def eof(self, stream: Stream) -> None:
        self._write("eof", stream)

    def notice(self, text: str) -> None:
        self._write("notice", text)

    def exit(self, status: int, signal: str = "") -> None:
        self._write("exit", status, signal)

    async def durable(self) -> None:
        self.waits += 1
        if self.failure is not None:
            raise RecordingFailed(self.failure)

    def _write(self, *entry: object) -> None:
        if self.failure is not None:
            raise RecordingFailed(self.failure)
        self.entries.append(entry)

    def kinds(self) -> list[object]:
        return [entry[0] for entry in self.entries]
