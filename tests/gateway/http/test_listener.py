"""What the web listener does with whatever is sent to it."""

import asyncio
import contextlib
import hmac
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from structlog.testing import capture_logs

from gateway.api.permissions import UndeclaredPermission
from gateway.errors import Kind, Refused
from gateway.http.app import application
from gateway.http.routes import Asked, Route
from gateway.http.settings import Http
from jitgate.v1 import annotations_pb2 as declared
from tests.gateway.access.world import World
from tests.gateway.http.web import Web, certified, running

PUBLIC = declared.PERMISSION_PUBLIC
pytestmark = pytest.mark.parametrize("database_server", ["sqlite"], indirect=True)


class Shared:
    """A proof as services have it: something computed over the body."""

    async def prove(self, request: Request, body: bytes) -> str:
        wanted = hmac.digest(b"shared", body, "sha256").hex()
        if not hmac.compare_digest(request.headers.get("x-signature", "").encode(), wanted.encode()):
            raise Refused(Kind.UNAUTHENTICATED, "BAD_SIGNATURE", "the signature does not hold")
        return "service"


class Held:
    """Answers once it is let go."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self, _asked: Asked) -> Response:
        self.entered.set()
        await self.go.wait()
        return PlainTextResponse("held")


async def echo(asked: Asked) -> Response:
    return JSONResponse({"bytes": len(asked.body), "from": asked.source_address, "who": asked.proven})


async def breaks(_asked: Asked) -> Response:
    raise RuntimeError("the password is hunter2")


@pytest.fixture
async def running_web(world: World, tmp_path: Path) -> AsyncIterator[Web]:
    more = (
        Route("POST", "/echo", echo, PUBLIC, max_body_bytes=1000),
        Route("POST", "/signed", echo, Shared()),
        Route("POST", "/signed-json", echo, Shared(), refused=lambda no: JSONResponse({"error": no.reason}, 401)),
        Route("GET", "/breaks", breaks, PUBLIC),
        Route("GET", "/lock", echo, declared.PERMISSION_LOCK),
    )
    async with running(Web(world, tmp_path), more) as web:
        yield web


async def connect(web: Web) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = web.address.rpartition(":")
    return await asyncio.open_connection(host, int(port), ssl=web.certified.trusting())


async def closed(reader: asyncio.StreamReader) -> bytes:
    """What came before the listener closed."""
    async with asyncio.timeout(30):
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            return await reader.read()
        return b""


@pytest.mark.rule("R32")
async def test_a_route_that_needs_nothing_is_refused_at_start_up(web: Web) -> None:
    for needs in (None, declared.PERMISSION_UNSPECIFIED):
        with pytest.raises(UndeclaredPermission, match="GET /x"):
            application([*web.routes(), Route("GET", "/x", echo, needs)], web.sessions, at_once=1)
    application([*web.routes(), Route("GET", "/x", echo, PUBLIC)], web.sessions, at_once=1)


@pytest.mark.rule("R32")
async def test_a_permission_is_asked_for_before_the_route(running_web: Web) -> None:
    browser = running_web.browser()
    assert (await browser.open("/lock")).headers["location"] == "/sign-in?to=%2Flock"
    await browser.sign_in("sam")
    answer = await browser.open("/lock")
    assert answer.status_code == 403
    assert "sam lacks the permission lock" in answer.text
    administrator = running_web.browser()
    await administrator.sign_in("root")
    assert (await administrator.open("/lock")).json()["bytes"] == 0


async def test_a_proof_sees_the_whole_body(running_web: Web) -> None:
    client = running_web.browser().client
    signature = hmac.digest(b"shared", b"hello", "sha256").hex()
    good = await client.post("/signed", content=b"hello", headers={"x-signature": signature})
    assert good.json() == {"bytes": 5, "from": "127.0.0.1", "who": "service"}
    for body, headers in ((b"hellO", {"x-signature": signature}), (b"hello", {}), (b"", {"x-signature": "ü"})):
        encoded = {name.encode(): value.encode() for name, value in headers.items()}
        assert (await client.post("/signed", content=body, headers=encoded)).status_code == 401
        answer = await client.post("/signed-json", content=body, headers=encoded)
        assert (answer.status_code, answer.json()) == (401, {"error": "BAD_SIGNATURE"})


@pytest.mark.parametrize("path", ["/", "/sign-in", "/requests", "/nothing", "/breaks", "/sign-out", "/requests/x"])
async def test_every_answer_tells_browsers_to_be_careful(running_web: Web, path: str) -> None:
    answer = await running_web.browser().open(path)
    assert answer.headers["cache-control"] == "no-store"
    csp = answer.headers["content-security-policy"]
    assert "default-src 'none'" in csp
    assert "frame-ancestors 'none'" in csp
    assert "script" not in csp
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["strict-transport-security"].startswith("max-age=")
    assert answer.headers["referrer-policy"] == "same-origin"
    assert "server" not in answer.headers
    assert "<script" not in answer.text


async def test_pages_find_their_style(web: Web) -> None:
    browser = web.browser()
    page = await browser.open("/sign-in")
    style = await browser.open(page.text.partition('stylesheet" href="')[2].partition('"')[0])
    assert style.headers["content-type"].startswith("text/css")
    assert "immutable" in style.headers["cache-control"]


async def test_failures_and_logs_tell_no_secrets(running_web: Web) -> None:
    browser = running_web.browser()
    with capture_logs() as logs:
        answer = await browser.open("/breaks?token=hunter3")
        await browser.sign_in("sam")
        await browser.open("/requests/hunter4")
        await browser.open("/sign-in/callback?code=hunter5&state=hunter6")
    assert answer.status_code == 500
    assert "hunter" not in answer.text
    secrets = ["hunter", "correct horse", *browser.client.cookies.values()]
    lines = [str({key: value for key, value in line.items() if key != "exc_info"}) for line in logs]
    assert not [line for line in lines if any(secret in line for secret in secrets)]
    requests = [line for line in logs if line["event"] == "request"]
    assert [(line["route"], line["status"]) for line in requests] == [
        ("/breaks", 500),
        ("/sign-in", 200),
        ("/sign-in/password", 303),
        ("/requests/{id}", 404),
        ("/sign-in/callback", 401),
    ]
    assert (requests[3]["user"], requests[3]["peer"], requests[3]["reason"]) == (
        "sam",
        "127.0.0.1",
        "REQUEST_NOT_FOUND",
    )


async def test_bodies_are_bounded_before_they_are_read(running_web: Web) -> None:
    client = running_web.browser().client

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b"x" * 100

    assert (await client.post("/echo", content=b"x" * 1000)).json()["bytes"] == 1000
    assert (await client.post("/echo", content=b"x" * 1001)).status_code == 413
    assert (await client.post("/echo", content=chunks())).status_code == 413
    assert (await client.post("/sign-in/password", content=b"x" * 70_000)).status_code == 413
    reader, writer = await connect(running_web)
    writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 413")
    writer.close()


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 4000 + b"\r\n",
        b"\x00\x01\x02\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_cut_off(web: Web, head: bytes) -> None:
    reader, writer = await connect(web)
    writer.write(head)
    answer = await closed(reader)
    assert answer[:12] in {b"", b"HTTP/1.1 400", b"HTTP/1.1 431", b"HTTP/1.1 404", b"HTTP/1.1 303"}
    assert b"Traceback" not in answer
    writer.close()
    assert (await web.browser().open("/sign-in")).status_code == 200


async def test_who_sends_no_whole_head_is_cut_off(world: World, tmp_path: Path) -> None:
    async with running(Web(world, tmp_path), header_seconds=0.2) as web:
        silent, other = await connect(web)
        slow, writer = await connect(web)
        writer.write(b"GET / HTTP/1.1\r\nHost:")
        kept, again = await connect(web)
        again.write(b"GET /sign-in HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await kept.readline()).startswith(b"HTTP/1.1 200")
        again.write(b"GET /sign")  # a second request that never ends, on a connection that was good once
        assert await closed(silent) == b""
        assert await closed(slow) == b""
        assert b"HTTP/1.1" not in await closed(kept)
        for one in (other, writer, again):
            one.close()


async def test_one_source_holds_few_connections(world: World, tmp_path: Path) -> None:
    settings = Http(max_connections_per_source=2)
    async with running(Web(world, tmp_path, settings)) as web:
        held = [await connect(web) for _ in range(2)]
        reader, writer = await connect(web)
        assert await closed(reader) == b""
        for _, one in [*held, (reader, writer)]:
            one.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await one.wait_closed()
        async with asyncio.timeout(30):
            while True:
                try:
                    if (await web.browser().open("/sign-in")).status_code == 200:
                        break
                except httpx.TransportError:
                    await asyncio.sleep(0.02)


async def test_too_many_at_once_are_told_to_wait(world: World, tmp_path: Path) -> None:
    held = Held()
    web = Web(world, tmp_path, Http(max_requests_at_once=1))
    async with running(web, [Route("GET", "/held", held, PUBLIC)]):
        first = asyncio.create_task(web.browser().open("/held"))
        await held.entered.wait()
        busy = await web.browser().open("/sign-in")
        assert (busy.status_code, busy.headers["retry-after"]) == (503, "2")
        assert busy.headers["cache-control"] == "no-store"
        held.go.set()
        assert (await first).text == "held"
        assert (await web.browser().open("/sign-in")).status_code == 200


async def test_a_stop_lets_go_of_everybody(world: World, tmp_path: Path) -> None:
    held = Held()
    web = Web(world, tmp_path)
    await web.start(Route("GET", "/held", held, PUBLIC))
    waiting = asyncio.create_task(web.browser().open("/held"))
    await held.entered.wait()
    idle, writer = await connect(web)
    await web.listener.stop(0.05)
    assert (await waiting).status_code == 503
    assert await closed(idle) == b""
    writer.close()
    with pytest.raises(OSError, match="onnect"):
        await connect(web)
    await web.close()


async def test_only_todays_tls(web: Web) -> None:
    host, _, port = web.address.rpartition(":")
    context = web.certified.trusting()
    context.set_alpn_protocols(["h2", "http/1.1"])
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
    writer.close()
    old = web.certified.trusting()
    with pytest.warns(DeprecationWarning, match="TLS"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection(host, int(port), ssl=old)
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    assert b"HTTP" not in await closed(reader)
    writer.close()


async def test_a_renewed_certificate_is_shown_without_a_restart(web: Web, tmp_path: Path) -> None:
    assert (await web.browser().open("/sign-in")).status_code == 200
    before, web.certified = web.certified, certified(tmp_path, "renewed")
    assert (await web.browser().open("/sign-in")).status_code == 200
    with pytest.raises(httpx.ConnectError):
        async with httpx.AsyncClient(verify=before.trusting(), trust_env=False) as client:
            await client.get(web.url)


@pytest.mark.parametrize(
    ("trusted", "seen"), [((), "127.0.0.1"), (("127.0.0.0/8",), "203.0.113.9"), (("192.0.2.1",), "127.0.0.1")]
)
async def test_only_trusted_proxies_say_who_asks(
    world: World, tmp_path: Path, trusted: tuple[str, ...], seen: str
) -> None:
    web = Web(world, tmp_path, Http(trusted_proxies=trusted))
    async with running(web, [Route("POST", "/echo", echo, PUBLIC)]):
        headers = {"x-forwarded-for": "198.51.100.1, 203.0.113.9", "x-forwarded-proto": "http"}
        answer = await web.browser().client.post("/echo", content=b"", headers=headers)
        assert answer.json()["from"] == seen
