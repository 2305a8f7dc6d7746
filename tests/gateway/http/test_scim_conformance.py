"""The checker of the SCIM libraries, with a client of theirs, over TLS: all that the schemas publish is so."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from scim2_client import BaseSyncSCIMClient
from scim2_tester import Status, check_server

from tests.gateway.access.world import World
from tests.gateway.http.provisioning import corp, provisioned


class Client(BaseSyncSCIMClient):
    """Of the library, on the HTTP library that is installed."""

    def __init__(self, client: httpx.Client) -> None:
        super().__init__()
        self._client = client

    def request(self, method: str, url: str, **more: Any) -> httpx.Response:
        return self._client.request(method, url.lstrip("/"), **more)

    def _parse_json(self, response: Any) -> Any:
        return response.json()

    def _stays_under_base_url(self, endpoint: str) -> bool:
        return True


@pytest.mark.rule("R31")
@pytest.mark.parametrize("database_server", ["sqlite"], indirect=True)
async def test_it_is_what_the_standard_says(world: World, tmp_path: Path) -> None:
    async with provisioned(world, tmp_path, corp=corp(claims={})) as on:
        secret = await on.secret()

        def checked() -> list[Any]:
            trusting, headers = on.web.certified.trusting(), {"Authorization": f"Bearer {secret}"}
            url = f"{on.web.url}/scim/v2/"
            with httpx.Client(base_url=url, verify=trusting, headers=headers, timeout=60) as client:
                return check_server(Client(client))

        results = await asyncio.to_thread(checked)
    wrong = [(one.title, one.resource_type, one.reason) for one in results if one.status != Status.SUCCESS]
    assert wrong == []
    assert len(results) > 70
