"""Access tokens: made, handed out, checked (R24)."""

import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from approvals.model import CLOCK_TOLERANCE, Request, Status
from approvals.window import is_open, next_deadline
from gateway.access import ground
from gateway.access.model import AccessRequest, Token
from gateway.access.visibility import not_found, sees
from gateway.access.wrong_hands import WrongHands
from gateway.errors import Kind, Refused
from gateway.identity.caller import Caller
from gateway.identity.ports import Clock
from gateway.store import events, requests, targets, tokens
from gateway.store.database import Database, Transaction
from jitgate.v1 import annotations_pb2 as declared

LIFETIME = timedelta(hours=1)
MAX_ALIVE = 5
# For that long the holder of a dead token is told what became of it; then it is unknown.
REMEMBERED = timedelta(days=1)

_PREFIX = "jgt_"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BODY_LENGTH = 43  # 256 bits in base 62
_CHECKSUM_LENGTH = 6  # 32 bits
_FORM = re.compile(rf"{_PREFIX}[0-9A-Za-z]{{{_BODY_LENGTH + _CHECKSUM_LENGTH}}}", re.ASCII)
_RENEW = "Ask for another one: jit token --help"
_UNKNOWN = "No access token like this one was handed to you."


def new_token(random_bits: Callable[[int], int] = secrets.randbits) -> str:
    """256 random bits, with a prefix and a checksum by which scanners for leaked secrets know it."""
    body = _PREFIX + _base62(random_bits(256), _BODY_LENGTH)
    return body + _checksum(body)


def hash_of(token: str) -> str:
    """What is stored of it. A plain hash does, as 256 random bits cannot be guessed."""
    return hashlib.sha256(token.encode()).hexdigest()


def is_well_formed(token: str) -> bool:
    body, checksum = token[:-_CHECKSUM_LENGTH], token[-_CHECKSUM_LENGTH:]
    return _FORM.fullmatch(token) is not None and hmac.compare_digest(_checksum(body), checksum)


def _checksum(body: str) -> str:
    return _base62(binascii.crc32(body.encode()), _CHECKSUM_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


async def find(connection: AsyncConnection, token: str, caller: Caller) -> Token:
    """What is stored of a token of this caller's.

    Raises Refused TOKEN_MALFORMED (before anything is looked up) or TOKEN_UNKNOWN: also for a token of somebody
    else (a WrongHands), so that a stranger learns nothing from trying.
    """
    if not is_well_formed(token):
        raise Refused(
            Kind.INVALID_ARGUMENT,
            "TOKEN_MALFORMED",
            "This is no access token, or only a part of one.",
            "Copy it whole: it begins with jgt_ and its end is a checksum.",
        )
    found = await tokens.get(connection, hash_of(token))
    if found is None:
        raise Refused(Kind.PERMISSION_DENIED, "TOKEN_UNKNOWN", _UNKNOWN, _RENEW)
    if not hmac.compare_digest(found.user_id, caller.user.id):
        raise WrongHands("TOKEN_UNKNOWN", _UNKNOWN, _RENEW, found)
    return found


async def check(
    connection: AsyncConnection, token: str, caller: Caller, node_id: str, now: datetime
) -> tuple[Token, AccessRequest]:
    """The token and its request, when the token opens that node to this caller, from this client, now.

    Raises Refused as `find`, and TOKEN_OTHER_KEY (a WrongHands), TOKEN_OTHER_NODE, TOKEN_REVOKED, TOKEN_EXPIRED,
    ACCESS_ENDED.
    """
    found = await find(connection, token, caller)
    if not hmac.compare_digest(found.key_hash, caller.key_hash):
        message = "This access token was handed to another client of yours."
        raise WrongHands("TOKEN_OTHER_KEY", message, _RENEW, found)
    if found.node_id != node_id:
        raise _refused("TOKEN_OTHER_NODE", f"This access token opens {found.node_id}, not {node_id}.", found)
    request = await requests.get(connection, found.request_id)
    if request is None or not is_open(request.life, now):
        raise access_ended(found.request_id, request)
    if found.revoked_at is not None:
        raise _refused("TOKEN_REVOKED", "This access token was revoked: newer ones took its place.", found)
    if not found.created_at - CLOCK_TOLERANCE <= now < found.expires_at:
        raise _refused("TOKEN_EXPIRED", "This access token has expired.", found)
    return found, request


def access_ended(request_id: str, request: AccessRequest | None) -> Refused:
    """The window is not open: it was revoked, given back, or is over."""
    status = Status.EXPIRED if request is None else request.life.status
    # Approved and not open: the window is over and the gateway has not come round to saying so.
    shown = Status.EXPIRED if status is Status.APPROVED else status
    because = request.life.end_note if request is not None else ""
    return Refused(
        Kind.FAILED_PRECONDITION,
        "ACCESS_ENDED",
        f"{request_id} is {shown}" + (f": {because}" if because else "."),
        "Request access again: jit request --help",
        metadata={"request": request_id, "status": shown.value},
    )


def _refused(reason: str, message: str, token: Token) -> Refused:
    return Refused(Kind.PERMISSION_DENIED, reason, message, _RENEW, metadata={"request": token.request_id})


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token for its holder: the only time that its value is known."""

    value: str = field(repr=False)
    expires_at: datetime
    node_id: str


class AccessTokens:
    """Hands tokens out to the requester, in the window."""

    def __init__(
        self, database: Database, clock: Clock, random_bits: Callable[[int], int] = secrets.randbits
    ) -> None:
        self._database = database
        self._clock = clock
        self._random_bits = random_bits

    async def issue(self, caller: Caller, request_id: str) -> IssuedToken | Status:
        """A token bound to the calling client's key; the status where the window is not open.

        At most 5 are alive: a sixth revokes the oldest. Refusing it would lock a person out for up to an hour
        whose client lost its tokens; and nothing running is cut off, as only the start of a session needs one.
        Raises Refused: REQUEST_NOT_FOUND, NOT_REQUESTER, NOT_PERMITTED, USER_LOCKED, NODE_LOCKED, NODE_NOT_FOUND,
        ACCESS_DISABLED.
        """
        async with self._database.transaction() as tx:
            now = self._clock()
            request = await requests.lock(tx.connection, request_id)
            caller = await ground.afresh(tx.connection, caller, now)
            if request is None or not sees(caller, request):
                raise not_found(request_id)
            life = request.life
            if life.requester.user_id != caller.user.id:
                raise Refused(
                    Kind.PERMISSION_DENIED,
                    "NOT_REQUESTER",
                    f"{life.id} was made by {life.requester.user_id}; only the requester gets its tokens.",
                    "Make a request of your own: jit request --help",
                )
            caller.require(declared.PERMISSION_REQUEST_ACCESS, life.account, life.region)
            if not is_open(life, now):
                return Status.EXPIRED if life.status is Status.APPROVED else life.status
            await require_ground(tx.connection, life)
            return await self._issue(tx, caller, life, now)

    async def _issue(self, tx: Transaction, caller: Caller, life: Request, now: datetime) -> IssuedToken:
        await tokens.forget_dead(tx.connection, life.id, now - REMEMBERED)
        alive = await tokens.alive(tx.connection, life.id, now)
        surplus = alive[: max(0, len(alive) - MAX_ALIVE + 1)]
        await tokens.revoke(tx.connection, [token.hash for token in surplus], now)
        value = new_token(self._random_bits)
        expires_at = min(now + LIFETIME, next_deadline(life) or now)
        await tokens.add(
            tx.connection,
            Token(hash_of(value), life.id, caller.user.id, life.node_id, caller.key_hash, now, expires_at),
        )
        await events.append(
            tx.connection,
            events.Event(
                type="access_token.issued",
                at=now,
                subject=life.id,
                summary=f"{caller.user.id} got an access token for {life.node_id}",
                actor_id=caller.user.id,
                source_address=caller.source_address,
                account=life.account,
                region=life.region,
                details={
                    "node_id": life.node_id,
                    "key_hash": caller.key_hash,
                    "expires_at": expires_at.isoformat(),
                    "revoked": len(surplus),
                },
            ),
        )
        return IssuedToken(value, expires_at, life.node_id)


async def require_ground(connection: AsyncConnection, life: Request) -> None:
    """Raises Refused NODE_NOT_FOUND, NODE_LOCKED or ACCESS_DISABLED where an open window may not be used (R4)."""
    await ground.node_to_reach(connection, life.node_id, (life.account, life.region))
    if not await targets.is_enabled(connection, life.account, life.region):
        raise Refused(
            Kind.FAILED_PRECONDITION,
            "ACCESS_DISABLED",
            f"Just-in-time access is not enabled in account {life.account}, Region {life.region}.",
            "Ask an organization administrator: jit targets enable --help",
        )
