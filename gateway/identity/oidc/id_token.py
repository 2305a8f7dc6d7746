"""Whether an ID token proves somebody (OpenID Connect Core 1.0, 3.1.3.7)."""

import base64
import hashlib
import hmac
import json
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import Key
from joserfc.jws import JWSRegistry

from gateway.identity.oidc.errors import ProofRefused
from gateway.identity.oidc.signing_keys import SigningKeys

_MAXIMUM_CHARACTERS = 64 * 1024
_MAXIMUM_KEY_ID = 256
# A token is made for this sign-in: one that was made much earlier was made for something else.
_MAXIMUM_AGE = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a token must say. `nonce` is None where the flow has none (RFC 8628)."""

    issuer: str
    client_id: str
    nonce: str | None
    skew: timedelta


class _Registry(JWSRegistry):
    # Providers may put a certificate chain into the header; nobody reads it.
    max_header_length = 16 * 1024
    max_payload_length = _MAXIMUM_CHARACTERS


async def verify(token: str, keys: SigningKeys, algorithms: Collection[str]) -> tuple[dict[str, Any], str]:
    """The claims and the algorithm of a token that is signed with one of the provider's keys.

    Raises ProofRefused, ProviderUnavailable (the keys can't be fetched).
    """
    if not 0 < len(token) <= _MAXIMUM_CHARACTERS or not token.isascii():
        raise ProofRefused("the ID token is too long")
    try:
        header = jws.extract_compact(token.encode("ascii"), registry=_Registry()).headers()
    except (JoseError, ValueError, RecursionError):
        raise ProofRefused("the ID token can't be read") from None
    algorithm, key_id = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise ProofRefused(f"the ID token is signed with {str(algorithm)[:32]!r}, which is not allowed")
    if key_id is not None and (not isinstance(key_id, str) or len(key_id) > _MAXIMUM_KEY_ID):
        raise ProofRefused("the ID token's key id is none")
    return _claims(token, await keys.find(key_id, algorithm), algorithm), algorithm


def _claims(token: str, key: Key, algorithm: str) -> dict[str, Any]:
    registry = _Registry(algorithms=[algorithm], strict_check_header=False)
    try:
        with warnings.catch_warnings(action="ignore"):  # the library would rather have Ed25519 than EdDSA
            payload = jws.deserialize_compact(token.encode("ascii"), key, registry=registry).payload
        claims = json.loads(payload)
    except (JoseError, ValueError, TypeError, RecursionError):
        raise ProofRefused("the ID token's signature does not hold") from None
    if not isinstance(claims, dict):
        raise ProofRefused("the ID token holds no claims")
    return claims


def check(claims: Mapping[str, Any], expected: Expected, now: datetime) -> None:
    """Raises ProofRefused unless the token was made by that issuer, for us, for this sign-in, and holds now."""
    if claims.get("iss") != expected.issuer:
        raise ProofRefused("the ID token is another issuer's")
    audience = claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list) or expected.client_id not in audiences:
        raise ProofRefused("the ID token is for somebody else")
    party = claims.get("azp")
    if party is None and len(audiences) > 1:
        raise ProofRefused("the ID token is for several and does not say who asked for it")
    if party is not None and party != expected.client_id:
        raise ProofRefused("the ID token was made for another party")
    _check_times(claims, expected.skew, now)
    if expected.nonce is not None:
        nonce = claims.get("nonce")
        if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), expected.nonce.encode()):
            raise ProofRefused("the ID token was made for another sign-in")


def proven_at(claims: Mapping[str, Any]) -> datetime | None:
    """When the person last proved who they are to the provider; None: it does not say."""
    try:
        return _moment(claims, "auth_time")
    except ProofRefused:
        return None


def check_proven_since(claims: Mapping[str, Any], since: datetime) -> None:
    """Raises ProofRefused unless the person proved it since then (OpenID Connect Core 1.0, 3.1.2.1, max_age)."""
    at = proven_at(claims)
    if at is None or at < since.replace(microsecond=0):
        raise ProofRefused("it did not ask for the sign-in anew")


def check_access_token(claims: Mapping[str, Any], access_token: str, algorithm: str) -> None:
    """The hash of the access token, where the ID token has one. Raises ProofRefused."""
    said = claims.get("at_hash")
    if said is None:
        return
    bits = "512" if algorithm == "EdDSA" else algorithm[2:]
    digest = hashlib.new(f"sha{bits}", access_token.encode()).digest()
    wanted = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=")
    if not isinstance(said, str) or not hmac.compare_digest(said.encode(), wanted):
        raise ProofRefused("the ID token belongs to another access token")


def _check_times(claims: Mapping[str, Any], skew: timedelta, now: datetime) -> None:
    expires_at, issued_at = _moment(claims, "exp"), _moment(claims, "iat")
    if expires_at is None or issued_at is None:
        raise ProofRefused("the ID token does not say when it was made and when it ends")
    if now >= expires_at + skew:
        raise ProofRefused("the ID token has expired; compare the clocks of gateway and provider")
    if now < issued_at - skew or now < (_moment(claims, "nbf") or issued_at) - skew:
        raise ProofRefused("the ID token comes from the future; compare the clocks of gateway and provider")
    if now > issued_at + _MAXIMUM_AGE + skew:
        raise ProofRefused("the ID token was made too long ago")


def _moment(claims: Mapping[str, Any], name: str) -> datetime | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ProofRefused(f"the ID token's {name} is no time")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError, OSError):
        raise ProofRefused(f"the ID token's {name} is no time") from None
