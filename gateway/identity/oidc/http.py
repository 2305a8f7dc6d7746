"""Asking a provider over HTTP: verified TLS, no redirects, bounded in time and size, JSON only."""

import asyncio
import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from gateway.identity.oidc.errors import ProviderUnavailable
from gateway.identity.oidc.settings import is_trustworthy

_SECONDS = 10.0
_MAXIMUM_BYTES = 512 * 1024


class Http:
    """A client of one provider, made at the first use: a CA file that is missing must not stop the gateway."""

    def __init__(self, ca_file: Path | None, *, insecure_loopback: bool) -> None:
        self._ca_file = ca_file
        self._insecure_loopback = insecure_loopback
        self._client: httpx.AsyncClient | None = None

    async def get(self, url: str, bearer: str = "") -> dict[str, Any]:
        """The object at `url`. Raises ProviderUnavailable for every answer but 200 with one."""
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        status, document = await self._ask("GET", url, headers=headers)
        if status != httpx.codes.OK:
            raise ProviderUnavailable(f"{url} answered {status}")
        return document

    async def post(
        self, url: str, form: Mapping[str, str], headers: Mapping[str, str]
    ) -> tuple[int, dict[str, Any]]:
        """Status and object. Raises ProviderUnavailable for an answer that is neither 200 nor a refusal."""
        status, document = await self._ask("POST", url, data=dict(form), headers=dict(headers))
        if status not in {httpx.codes.OK, httpx.codes.BAD_REQUEST, httpx.codes.UNAUTHORIZED}:
            raise ProviderUnavailable(f"{url} answered {status}")
        return status, document

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def _ask(self, method: str, url: str, **options: Any) -> tuple[int, dict[str, Any]]:
        if not is_trustworthy(url, insecure_loopback=self._insecure_loopback):
            raise ProviderUnavailable(f"{url[:256]!r} is no https:// address")
        client = self._client = self._client or self._new_client()
        try:
            async with asyncio.timeout(_SECONDS), client.stream(method, url, **options) as response:
                body = b""
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > _MAXIMUM_BYTES:
                        raise ProviderUnavailable(f"{url} answered with more than {_MAXIMUM_BYTES} bytes")
        except TimeoutError:
            raise ProviderUnavailable(f"{url} did not answer within {_SECONDS:.0f} seconds") from None
        except httpx.HTTPError as error:
            raise ProviderUnavailable(f"{url} can't be reached: {error or type(error).__name__}") from None
        return response.status_code, _object(body, url)

    def _new_client(self) -> httpx.AsyncClient:
        try:
            context = ssl.create_default_context(cafile=self._ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise ProviderUnavailable(f"{self._ca_file} is no file of certificates: {error.strerror}") from None
        return httpx.AsyncClient(
            verify=context,
            follow_redirects=False,
            timeout=_SECONDS,
            headers={"Accept": "application/json"},
            trust_env=not self._insecure_loopback,  # what is on this host needs no proxy
        )


def _object(body: bytes, url: str) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise ProviderUnavailable(f"{url} answered with something else than JSON") from None
    if not isinstance(document, dict):
        raise ProviderUnavailable(f"{url} answered with something else than an object")
    return document
