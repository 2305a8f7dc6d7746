"""An identity provider that provisions by SCIM, in front of the web listener."""

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from gateway.http.scim import ScimRoutes
from gateway.identity.directory import Directory
from gateway.identity.oidc.settings import IdentityProvider
from gateway.identity.scim.tokens import DEFAULT_LIFETIME, ScimTokens
from tests.gateway.access.world import World
from tests.gateway.http.web import Web, running

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
CORP = "https://login.example.com"


def corp(**more: Any) -> IdentityProvider:
    claims = {"lowercase_user_id": True, "user_id_suffix": "@example.com"}
    said = {"issuer": CORP, "client_id": "jitgate", "claims": claims}
    return IdentityProvider.model_validate({**said, **more})


class Provisioner:
    """The HTTP client of a provider."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def ask(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        content = None if body is None else body if isinstance(body, bytes) else None
        return await self.client.request(
            method, f"/scim/v2{path}", content=content, json=body if content is None else None, **more
        )

    async def user(self, name: str, **more: Any) -> httpx.Response:
        """Described for the first time: Name@Example.com, known as oid-name."""
        said = {
            "schemas": [USER, ENTERPRISE],
            "externalId": f"oid-{name}",
            "userName": f"{name.title()}@Example.com",
            "displayName": name.title(),
            "active": True,
            **more,
        }
        return await self.ask("POST", "/Users", said)

    async def group(self, name: str, *members: str, **more: Any) -> httpx.Response:
        values = [{"value": member} for member in members]
        said = {"schemas": [GROUP], "displayName": name, "members": values, **more}
        return await self.ask("POST", "/Groups", said)

    async def patch(self, path: str, *operations: dict[str, Any]) -> httpx.Response:
        return await self.ask("PATCH", path, {"schemas": [PATCH], "Operations": list(operations)})

    async def found(self, kind: str, **query: Any) -> dict[str, Any]:
        answer = await self.ask("GET", f"/{kind}", params=query)
        assert answer.status_code == 200, answer.text
        listed: dict[str, Any] = answer.json()
        return listed


class Provisioned:
    """The listener with SCIM, and providers that hold tokens of it."""

    def __init__(self, world: World, folder: Path, providers: dict[str, IdentityProvider]) -> None:
        self.world = world
        self.web = Web(world, folder)
        self.tokens = ScimTokens(world.database, providers, world.changes, world.clock)
        self.routes = ScimRoutes(world.database, self.tokens, world.ender, world.changes, clock=world.clock)

    async def secret(self, provider: str = "corp", lifetime: timedelta = DEFAULT_LIFETIME) -> str:
        return (await self.tokens.create(await self.world.caller("root"), provider, lifetime))[1]

    async def provider(self, provider: str = "corp") -> Provisioner:
        return self.holding(await self.secret(provider))

    def directory(self) -> Directory:
        world = self.world
        return Directory(world.database, self.web.passwords, world.ender, world.changes, world.clock)

    def holding(self, secret: str) -> Provisioner:
        client = self.web.browser().client
        client.headers["Authorization"] = f"Bearer {secret}"
        return Provisioner(client)


@contextlib.asynccontextmanager
async def provisioned(world: World, folder: Path, **providers: IdentityProvider) -> AsyncIterator[Provisioned]:
    made = Provisioned(world, folder, providers or {"corp": corp()})
    async with running(made.web, made.routes.routes(made.web.url)):
        yield made
