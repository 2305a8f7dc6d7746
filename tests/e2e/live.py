"""One live session by reflection: a test says frames, and sees what came and when."""

import base64
import contextlib
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any, Self

import grpc
from google.protobuf.message_factory import GetMessageClass

from tests.e2e.stage import code_and_reason
from tests.processes import wait_for
from tests.reflected import ReflectedClient

CREDIT = 1 << 20
FRAME = "jitgate.v1.SessionFrame"


class Live:
    """Reads in a thread of its own and grants as much credit as came, unless told to grant none."""

    def __init__(
        self,
        client: ReflectedClient,
        token: str,
        node: str = "web-1",
        command: str | None = None,
        *,
        credit: int = CREDIT,
        grants: bool = True,
        reads: bool = True,
        **opening: Any,
    ) -> None:
        """`command` None opens a shell on a terminal."""
        self.output = bytearray()
        self.errors = bytearray()
        self.notices: list[tuple[str, str]] = []
        self.opened: Any = None
        self.exit: Any = None
        self.exit_at = 0.0
        """When the exit frame came, on time.monotonic()."""
        self.refusal: tuple[str, str] | None = None
        """Code and reason the call ended with; ("OK", "") when it ended well; None while it goes on."""
        self.input_credit = 0
        self._sent = 0
        self._grants = grants
        self._client = client
        self._outgoing: queue.SimpleQueue[Any] = queue.SimpleQueue()
        frame: dict[str, Any] = {"access_token": token, "node": node, "credit": credit, **opening}
        if command is None:
            frame |= {"kind": "SESSION_KIND_SHELL"}
            frame.setdefault("terminal", {"term": "xterm", "columns": 80, "rows": 24})
        else:
            frame |= {"kind": "SESSION_KIND_EXEC", "command": command}
        self.say(open=frame)
        kind = GetMessageClass(client.pool.FindMessageTypeByName(FRAME))
        self.call: Any = client.channel.stream_stream(
            "/jitgate.v1.SessionService/Connect",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=kind.FromString,
        )(self._frames(), timeout=60)
        self._reader = threading.Thread(target=self._read, daemon=True)
        if reads:
            self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.vanish()

    @property
    def id(self) -> str:
        self.until_open()
        return str(self.opened.session_id)

    def say(self, **frame: Any) -> None:
        self._outgoing.put(self._client.message(FRAME, frame))

    def send(self, data: bytes, offset: int | None = None) -> None:
        """Input; at the offset that is due unless another is given."""
        at = self._sent if offset is None else offset
        self._sent += len(data)
        self.say(data={"offset": at, "payload": base64.b64encode(data).decode()})

    def hang_up(self) -> None:
        """Sends nothing more, in good order."""
        self._outgoing.put(None)

    def vanish(self) -> None:
        """Breaks off."""
        self.call.cancel()
        self._outgoing.put(None)

    def until_open(self) -> Self:
        wait_for(lambda: self.opened or self.refusal, 30, "the session's opening")
        assert self.opened, self.refusal
        return self

    def until_output(self, wanted: bytes, seconds: float = 30) -> Self:
        wait_for(lambda: wanted in self.output or self.refusal, seconds, f"the output {wanted!r}")
        assert wanted in self.output, (self.refusal, bytes(self.output[-2000:]))
        return self

    def until_over(self, seconds: float = 30) -> tuple[str, str]:
        """Code and reason of the end."""
        return wait_for(lambda: self.refusal, seconds, "the session's end")

    @property
    def end(self) -> str:
        """How the gateway says that it ended."""
        field = self.exit.DESCRIPTOR.fields_by_name["end"]
        return str(field.enum_type.values_by_number[self.exit.end].name).removeprefix("SESSION_END_")

    def _frames(self) -> Iterator[Any]:
        while (frame := self._outgoing.get()) is not None:
            yield frame

    def _read(self) -> None:
        try:
            for frame in self.call:
                self._take(frame)
            self.refusal = ("OK", "")
        except grpc.RpcError as error:
            self.refusal = code_and_reason(error)
        finally:
            self._outgoing.put(None)

    def _take(self, frame: Any) -> None:
        match frame.WhichOneof("frame"):
            case "opened":
                self.input_credit = frame.opened.credit
                self.opened = frame.opened
            case "data":
                assert frame.data.offset == len(self.output) + len(self.errors), "an offset that was not due"
                (self.errors if frame.data.stream else self.output).extend(frame.data.payload)
                if self._grants:
                    self.say(window={"credit": len(frame.data.payload)})
            case "window":
                self.input_credit += frame.window.credit
            case "notice":
                self.notices.append((frame.notice.severity, frame.notice.text))
            case "exit":
                self.exit_at = time.monotonic()
                self.exit = frame.exit


def run(client: ReflectedClient, token: str, command: str, data: bytes = b"", node: str = "web-1") -> Live:
    """One command to its end, with `data` as its whole input."""
    with contextlib.ExitStack() as undo:
        live = undo.enter_context(Live(client, token, node, command))
        live.until_open()
        if data:
            live.send(data)
        live.say(eof={})
        live.until_over()
        return live
