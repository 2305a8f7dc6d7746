"""A receiver of webhooks, over HTTP on the loopback, that judges as Standard Webhooks tells receivers to."""

import base64
import contextlib
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

TOLERANCE_SECONDS = 300


@dataclass
class Receiver:
    """`answers` are given one after the other, then 204. `events` came with a signature that holds."""

    secret: bytes
    now: float
    url: str = ""
    answers: list[web.Response] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    requests: list[web.BaseRequest] = field(default_factory=list)

    async def receive(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        if self.answers:
            return self.answers.pop(0)
        if request.method != "POST":
            return web.Response(status=405)
        body = await request.read()
        headers = request.headers
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.new(self.secret, signed, hashlib.sha256).digest()).decode()
        given = [each.partition(",") for each in headers["webhook-signature"].split()]
        if not any(version == "v1" and hmac.compare_digest(one, expected) for version, _, one in given):
            return web.Response(status=401)
        if abs(self.now - int(headers["webhook-timestamp"])) > TOLERANCE_SECONDS:
            return web.Response(status=401)
        assert headers["content-type"] == "application/cloudevents+json"
        event = json.loads(body)
        assert headers["webhook-id"] == event["id"]
        self.events.append(event)
        return web.Response(status=204)


@contextlib.asynccontextmanager
async def receiving(secret: bytes, now: float) -> AsyncIterator[Receiver]:
    receiver = Receiver(secret, now)
    runner = web.ServerRunner(web.Server(receiver.receive))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    receiver.url = f"http://127.0.0.1:{port}/hooks/a-path-that-is-secret"
    yield receiver
    await runner.cleanup()
