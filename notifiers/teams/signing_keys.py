"""The keys that the Bot Framework signs with, and which channels each speaks for."""

import asyncio
import time
import warnings
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from notifiers.errors import TryAgain

# A key that was withdrawn, because it leaked, is not taken for longer than this.
_MAXIMUM_AGE: Final = 600.0
# Whoever sends tokens with invented key ids makes us ask this often at most.
_MINIMUM_PAUSE: Final = 30.0
_MAXIMUM_KEYS = 100
_MINIMUM_BITS = 2048


@dataclass(frozen=True, slots=True)
class Endorsed:
    """A key with the channels that it speaks for."""

    key: RSAKey
    channels: frozenset[str]


class SigningKeys:
    """`fetch` gets a JSON object from an address; it raises TryAgain. `clock` counts seconds."""

    def __init__(
        self,
        fetch: Callable[[str], Awaitable[dict[str, Any]]],
        metadata_url: str,
        issuer: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._metadata_url = metadata_url
        self._issuer = issuer
        self._clock = clock
        self._one_asks = asyncio.Lock()
        self._keys: Mapping[str, Endorsed] = {}
        self._fetched_at = -_MAXIMUM_AGE
        self._tried_at = -_MAXIMUM_AGE

    async def find(self, key_id: str) -> Endorsed | None:
        """The key of that id at this time. Raises TryAgain: they can't be fetched."""
        async with self._one_asks:
            now = self._clock()
            is_old = now - self._fetched_at >= _MAXIMUM_AGE
            if is_old or (key_id not in self._keys and now - self._tried_at >= _MINIMUM_PAUSE):
                self._tried_at = now
                self._keys, self._fetched_at = await self._fetched(), now
            return self._keys.get(key_id)

    async def _fetched(self) -> Mapping[str, Endorsed]:
        metadata = await self._fetch(self._metadata_url)
        address = metadata.get("jwks_uri")
        if metadata.get("issuer") != self._issuer or not isinstance(address, str):
            raise TryAgain(f"{self._metadata_url} is not about {self._issuer}")
        listed = (await self._fetch(address)).get("keys")
        if not isinstance(listed, list) or len(listed) > _MAXIMUM_KEYS:
            raise TryAgain(f"{address[:256]!r} holds no keys")
        found = {}
        for item in listed:
            if isinstance(item, dict) and isinstance(item.get("kid"), str) and (key := _key(item)) is not None:
                said = item.get("endorsements")
                words = said if isinstance(said, list) else ()
                found[item["kid"]] = Endorsed(key, frozenset(word for word in words if isinstance(word, str)))
        return found


def _key(item: Mapping[str, Any]) -> RSAKey | None:
    """None: it is none that we check signatures with."""
    if item.get("kty") != "RSA" or item.get("use", "sig") != "sig" or item.get("alg", "RS256") != "RS256":
        return None
    try:
        with warnings.catch_warnings(action="ignore"):  # of short keys, which are refused here
            key = RSAKey.import_key({name: item[name] for name in ("kty", "n", "e")})
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return key if key.public_key.key_size >= _MINIMUM_BITS else None
