"""Whether an activity comes from the Bot Framework and is for our bot: its token, checked as Microsoft asks.

Issuer, audience, signature by a key of the moment that is endorsed for Teams, times with five minutes of skew, and
the service's address, which must be the one in the activity: we answer there, with a token of ours.
"""

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from notifiers.chat import Incoming, NotFromThere, Proof
from notifiers.errors import TryAgain
from notifiers.teams import activity as activities
from notifiers.teams.settings import TeamsSettings
from notifiers.teams.signing_keys import SigningKeys

SKEW_SECONDS: Final = 300.0
_ALGORITHM = "RS256"
_LONGEST = 8 << 10
_LAST_MOMENT = 1 << 33
"""In the year 2242: what a date can hold, and a token can mean."""


class _Registry(jws.JWSRegistry):
    max_header_length = _LONGEST
    max_payload_length = _LONGEST


class BotTokens:
    """`clock` is that of the world, in seconds since 1970."""

    def __init__(self, settings: TeamsSettings, keys: SigningKeys, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._keys = keys
        self._clock = clock

    async def prove(self, incoming: Incoming) -> Proof:
        """Teams sends many activities with one token: each counts once for as long as the token holds. Raises
        NotFromThere."""
        activity = activities.read(incoming.body)
        scheme, _, token = incoming.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not 0 < len(token) <= _LONGEST or not token.isascii():
            raise NotFromThere("there is no token")
        try:
            endorsed = await self._keys.find(_key_id(token))
        except TryAgain as unavailable:
            raise NotFromThere(f"the keys of tokens can't be fetched: {unavailable}") from None
        if endorsed is None:
            raise NotFromThere("the token's key is unknown")
        ends = self._check(_claims(token, endorsed.key), activity.service_url)
        if activity.channel_id != activities.CHANNEL_ID or activity.channel_id not in endorsed.channels:
            raise NotFromThere("the token's key does not speak for Teams")
        once = hashlib.sha256(token.encode() + b"\n" + incoming.body).hexdigest()
        return Proof(once, datetime.fromtimestamp(ends, UTC) + timedelta(seconds=2 * SKEW_SECONDS))

    def _check(self, claims: Mapping[str, Any], service_url: str) -> float:
        """Until when the token holds, in seconds since 1970, not counting the skew."""
        if claims.get("iss") != self._settings.issuer:
            raise NotFromThere("the token is another issuer's")
        if claims.get("aud") != self._settings.app_id:
            raise NotFromThere("the token is for another bot")
        said = claims.get("serviceurl", claims.get("serviceUrl"))
        if not isinstance(said, str) or not hmac.compare_digest(said.encode(), service_url.encode()):
            raise NotFromThere("the token is for another service's address than the activity")
        begins, ends = _moment(claims, "nbf"), _moment(claims, "exp")
        if not begins - SKEW_SECONDS <= self._clock() < ends + SKEW_SECONDS:
            raise NotFromThere("the token does not hold at this time; compare the clocks")
        return ends


def _key_id(token: str) -> str:
    try:
        header = jws.extract_compact(token.encode("ascii"), registry=_Registry()).headers()
    except (JoseError, ValueError, RecursionError):
        raise NotFromThere("the token can't be read") from None
    key_id = header.get("kid")
    if header.get("alg") != _ALGORITHM or not isinstance(key_id, str):
        raise NotFromThere("the token is not signed as the Bot Framework does")
    return key_id


def _claims(token: str, key: RSAKey) -> Mapping[str, Any]:
    registry = _Registry(algorithms=[_ALGORITHM], strict_check_header=False)
    try:
        claims = json.loads(jws.deserialize_compact(token.encode("ascii"), key, registry=registry).payload)
    except (JoseError, ValueError, TypeError, RecursionError):
        raise NotFromThere("the token's signature does not hold") from None
    if not isinstance(claims, dict):
        raise NotFromThere("the token holds no claims")
    return claims


def _moment(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _LAST_MOMENT:
        raise NotFromThere(f"the token does not say its {name}")
    return float(value)
