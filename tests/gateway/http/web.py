"""The web listener on a small organization, and browsers in front of it."""

import contextlib
import html
import re
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import argon2
import httpx

from gateway.api.server import TlsMaterial
from gateway.http import assets
from gateway.http.app import application
from gateway.http.listener import HttpListener
from gateway.http.request_pages import RequestPages
from gateway.http.routes import Route
from gateway.http.settings import Http
from gateway.http.sign_in import SignInPages
from gateway.http.tls import server_context
from gateway.identity.authority import CertificateAuthority
from gateway.identity.browser_sessions import BrowserSessions
from gateway.identity.client_certificates import ClientCertificates
from gateway.identity.locks import Locks
from gateway.identity.oidc.provider import Provider
from gateway.identity.oidc.settings import IdentityProvider
from gateway.identity.oidc.sign_in import OidcSignIn
from gateway.identity.passwords import Passwords
from gateway.identity.server_certificate import ServerCertificate
from gateway.identity.sign_in import SignIn
from gateway.identity.signed_in import Certifier
from gateway.store import sign_ins
from gateway.store.sign_ins import Password
from tests.gateway.access.world import World

PASSWORD = "correct horse battery"
_HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)">')
_HASHER = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@dataclass(frozen=True, slots=True)
class Certified:
    """A certificate of the listener's own, and who trusts it."""

    material: TlsMaterial
    ca: bytes

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.ca.decode())


def certified(folder: Path, name: str = "one") -> Certified:
    def clock() -> datetime:
        return datetime.now(UTC)

    authority = CertificateAuthority.load_or_create(folder / f"{name}.key", "tests", clock)
    shown = ServerCertificate(authority, ("127.0.0.1",), clock).current()
    return Certified(TlsMaterial(shown.certificate_chain, shown.private_key, b""), authority.certificate_pem())


class Web:
    """`world`'s people, each with PASSWORD; `providers` beside it."""

    def __init__(self, world: World, folder: Path, settings: Http | None = None) -> None:
        self.world = world
        self.settings = settings or Http()
        self.certified = certified(folder)
        self.listener = HttpListener("127.0.0.1:0", self.settings)
        self.address = self.listener.address
        self.url = f"https://{self.address}"
        self.providers: dict[str, Provider] = {}
        self.passwords = Passwords(_HASHER)
        clients = ClientCertificates(
            CertificateAuthority.load_or_create(folder / "clients.key", "clients", world.clock), world.clock
        )
        certifier = Certifier(clients, world.changes, world.clock)
        self.sessions = BrowserSessions(world.database, world.changes, world.clock)
        self.sign_in = SignIn(world.database, self.passwords, certifier, world.clock)
        self.oidc = OidcSignIn(world.database, self.providers, certifier, world.ender, world.clock)
        self.locks = Locks(world.database, world.ender, world.changes, world.clock)
        self._browsers: list[httpx.AsyncClient] = []

    def provider(self, name: str, said: IdentityProvider) -> None:
        self.providers[name] = Provider(name, said, self.world.clock)

    def routes(self) -> tuple[Route, ...]:
        pages = SignInPages(self.sign_in, self.oidc, self.sessions, self.url, self.world.clock)
        requests = RequestPages(self.world.requests, self.world.reader)
        return (*assets.routes(), *pages.routes(), *requests.routes())

    async def start(self, *more: Route, header_seconds: float = 10.0) -> None:
        hashed = Password(_HASHER.hash(PASSWORD), must_change=False)
        async with self.world.database.transaction() as tx:
            for user_id in ("alice", "sam", "sue", "olga", "ada", "root", "mallory"):
                await sign_ins.set_password(tx.connection, user_id, hashed, self.world.clock())
        app = application((*self.routes(), *more), self.sessions, at_once=self.settings.max_requests_at_once)
        tls = server_context(lambda: self.certified.material)
        await self.listener.start(app, tls, header_seconds)

    async def close(self) -> None:
        for browser in self._browsers:
            await browser.aclose()
        await self.listener.stop(1)
        await self.oidc.close()
        self.passwords.close()

    def browser(self) -> "Browser":
        client = httpx.AsyncClient(
            base_url=self.url,
            verify=self.certified.trusting(),
            trust_env=False,
            follow_redirects=False,
            timeout=30,
        )
        self._browsers.append(client)
        return Browser(client)


class Browser:
    """What a person does: opens pages, fills in their forms."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def open(self, path: str, **more: Any) -> httpx.Response:
        return await self.client.get(path, **more)

    async def follow(self, response: httpx.Response) -> httpx.Response:
        while response.is_redirect:
            response = await self.client.get(response.headers["location"])
        return response

    async def send(
        self, page: httpx.Response, path: str, headers: Mapping[str, str] | None = None, **typed: str
    ) -> httpx.Response:
        """The form on a page, with what was typed; not following where that leads."""
        return await self.client.post(path, data=fields(page) | typed, headers=headers)

    async def sign_in(self, user: str, password: str = PASSWORD, to: str = "/requests") -> httpx.Response:
        page = await self.open("/sign-in", params={"to": to, "again": ""})
        return await self.send(page, "/sign-in/password", user=user, password=password)


def fields(page: httpx.Response) -> dict[str, str]:
    return {name: html.unescape(value) for name, value in _HIDDEN.findall(page.text)}


@contextlib.asynccontextmanager
async def running(web: Web, more: Iterable[Route] = (), **options: Any) -> AsyncIterator[Web]:
    await web.start(*more, **options)
    try:
        yield web
    finally:
        await web.close()
