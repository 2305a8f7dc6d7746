"""Words to a server that may refuse before it has heard them."""

import asyncio
import contextlib
from typing import Any

import grpc.aio


async def say(call: Any, frame: Any) -> None:
    """Write frame. A refusal that came first is told by the call's status, and is no failure of the writing."""
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        await call.write(frame)
