"""What tests of sessions that go on have in common."""

import time
from collections.abc import Callable
from typing import Any

import grpc

from jitgate.v1 import session_pb2 as pb
from tests.clients.refusal import Refusal
from tests.clients.standin import StandIn


def eventually(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def sizes(server: StandIn) -> list[int]:
    """The rows that the newest session was told of."""
    frames = server.world.sessions[-1].received_frames
    return [frame.resize.rows for frame in frames if frame.HasField("resize")]


def refusing(code: grpc.StatusCode, reason: str) -> Any:
    async def connect(caller: str, frames: Any, context: Any) -> Any:
        if (await anext(frames)).HasField("resume"):
            raise Refusal(code, reason, f"said {reason}", "Do that.")
        yield opened()
        await context.abort(grpc.StatusCode.UNAVAILABLE, "broken")

    return connect


def opened(**values: Any) -> pb.SessionFrame:
    usual: dict[str, Any] = {"session_id": "s-" + "0" * 20, "grace_seconds": 60, "credit": 1000}
    return pb.SessionFrame(opened=pb.SessionOpened(**{**usual, **values}))
