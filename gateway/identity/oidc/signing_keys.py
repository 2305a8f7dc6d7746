"""The public keys that a provider signs with (RFC 7517), fetched anew when they get old or one is missing."""

import warnings
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey, import_key

from gateway.identity.oidc.errors import ProofRefused, ProviderUnavailable
from gateway.identity.oidc.fetched import Fetched
from gateway.identity.ports import Clock

# A key that the provider has withdrawn, because it leaked, is not taken for longer than this.
MAXIMUM_AGE = timedelta(minutes=10)
# Whoever sends tokens with invented key ids makes us ask the provider this often at most.
MINIMUM_PAUSE = timedelta(seconds=30)
_MAXIMUM_KEYS = 100
_MINIMUM_RSA_BITS = 2048
_EC_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}


class SigningKeys:
    """`fetch` gets the key set's document; it raises ProviderUnavailable."""

    def __init__(self, fetch: Callable[[], Awaitable[dict[str, Any]]], clock: Clock) -> None:
        async def fetch_keys() -> tuple[Key, ...]:
            return tuple(_usable(await fetch()))

        self._keys = Fetched(fetch_keys, clock)

    async def find(self, key_id: str | None, algorithm: str) -> Key:
        """The key that a token names, for that algorithm. A token without a key id fits when one key alone could
        be meant. Raises ProofRefused, ProviderUnavailable."""
        found = _matching(await self._keys.get(MAXIMUM_AGE), key_id, algorithm)
        if not found:
            found = _matching(await self._keys.get(MINIMUM_PAUSE), key_id, algorithm)
        if len(found) != 1:
            raise ProofRefused("the ID token names no signing key of the provider's")
        return found[0]

    async def refresh(self) -> int:
        """Fetches them unless that was a moment ago; how many there are. Raises ProviderUnavailable."""
        return len(await self._keys.get(MINIMUM_PAUSE))


def _matching(keys: Iterable[Key], key_id: str | None, algorithm: str) -> list[Key]:
    return [key for key in keys if _fits(key, algorithm) and (key_id is None or key.kid == key_id)]


def _usable(document: dict[str, Any]) -> Iterable[Key]:
    """Asymmetric keys for signatures; what else is in the set is none of our business."""
    listed = document.get("keys")
    if not isinstance(listed, list) or len(listed) > _MAXIMUM_KEYS:
        raise ProviderUnavailable("its key set is none")
    for item in listed:
        if not isinstance(item, dict) or item.get("kty") not in {"RSA", "EC", "OKP"}:
            continue
        if item.get("use", "sig") != "sig":
            continue
        try:
            with warnings.catch_warnings(action="ignore"):  # of short keys, which `_fits` refuses
                key = import_key({name: value for name, value in item.items() if name not in {"use", "key_ops"}})
        except (JoseError, ValueError, TypeError):
            continue
        yield key


def _fits(key: Key, algorithm: str) -> bool:
    if key.alg not in {None, algorithm}:
        return False
    if isinstance(key, RSAKey):
        return algorithm[:2] in {"RS", "PS"} and key.public_key.key_size >= _MINIMUM_RSA_BITS
    if isinstance(key, ECKey):
        return _EC_CURVES.get(algorithm) == key.curve_name
    return isinstance(key, OKPKey) and algorithm == "EdDSA" and key.curve_name in {"Ed25519", "Ed448"}
