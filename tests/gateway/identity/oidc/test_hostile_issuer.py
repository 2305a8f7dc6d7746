"""What must prove nobody: tokens, keys and documents of an issuer that lies (R31)."""

import base64
import hashlib
import warnings
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc.jwk import OKPKey, RSAKey

from gateway.errors import Refused
from gateway.identity.oidc import sign_in
from gateway.identity.oidc.sign_in import BrowserFlow, OidcSignIn
from gateway.identity.signed_in import SignedIn
from tests.gateway.identity.conftest import HOME, House, certificate_request
from tests.gateway.identity.oidc.conftest import Replicas
from tests.gateway.identity.oidc.hostile import Hostile, elliptic_key, hostile_issuer, other_key
from tests.gateway.identity.oidc.world import begin, settings
from tests.oidc_provider.running import answer_in

pytestmark = pytest.mark.parametrize("database_server", ["sqlite"], indirect=True)

DISCOVERY = "/.well-known/openid-configuration"


@pytest.fixture
def issuer() -> Iterator[Hostile]:
    with hostile_issuer() as made:
        yield made


@pytest.fixture
def oidc(issuer: Hostile, replicas: Replicas) -> OidcSignIn:
    return replicas(corp=settings(issuer.issuer))


def claims(house: House, issuer: Hostile, flow: BrowserFlow | None, **changed: Any) -> dict[str, Any]:
    """An honest token's, with what is changed; None takes a claim away."""
    now = int(house.time().timestamp())
    honest = {
        "iss": issuer.issuer,
        "aud": "jitgate",
        "sub": "u-1",
        "iat": now,
        "exp": now + 300,
        "preferred_username": "alice",
        "groups": ["sre"],
    }
    if flow is not None:
        honest["nonce"] = answer_in(flow.authorization_url)["nonce"]
    return {name: value for name, value in (honest | changed).items() if value is not None}


async def finish(oidc: OidcSignIn, flow: BrowserFlow) -> SignedIn:
    state = answer_in(flow.authorization_url)["state"]
    return await oidc.complete_browser(flow.handle, "code", state, "", HOME)


async def test_an_honest_token_is_taken(house: House, oidc: OidcSignIn, issuer: Hostile) -> None:
    flow = await begin(oidc)
    issuer.token = issuer.signed(claims(house, issuer, flow))
    assert (await finish(oidc, flow)).user.id == "alice"
    sent = issuer.forms[0]
    challenge = base64.urlsafe_b64encode(hashlib.sha256(sent["code_verifier"].encode()).digest()).rstrip(b"=")
    assert answer_in(flow.authorization_url)["code_challenge"] == challenge.decode()


MINUTE = 60
CLAIMS: dict[str, tuple[dict[str, Any], str]] = {
    "another issuer": ({"iss": "https://login.example.com"}, "another issuer's"),
    "the issuer but for a slash": ({}, "another issuer's"),
    "no issuer": ({"iss": None}, "another issuer's"),
    "another audience": ({"aud": "payroll"}, "somebody else"),
    "no audience": ({"aud": None}, "somebody else"),
    "an audience that is no list": ({"aud": {"jitgate": 1}}, "somebody else"),
    "several audiences and no party": ({"aud": ["jitgate", "payroll"]}, "who asked"),
    "another party": ({"aud": ["jitgate", "payroll"], "azp": "payroll"}, "another party"),
    "one audience and another party": ({"azp": "payroll"}, "another party"),
    "another nonce": ({"nonce": "n" * 43}, "another sign-in"),
    "no nonce": ({"nonce": None}, "another sign-in"),
    "a nonce that is no text": ({"nonce": 1}, "another sign-in"),
    "expired": ({"exp": -2 * MINUTE, "iat": -7 * MINUTE}, "expired"),
    "no expiry": ({"exp": None}, "when it ends"),
    "an expiry that is text": ({"exp": "tomorrow"}, "no time"),
    "an expiry beyond all times": ({"exp": 1e300}, "no time"),
    "an expiry that is no number": ({"exp": float("nan")}, "no time"),
    "made in the future": ({"iat": 2 * MINUTE}, "future"),
    "not valid yet": ({"nbf": 2 * MINUTE}, "future"),
    "no time of making": ({"iat": None}, "when it was made"),
    "made long ago": ({"iat": -60 * MINUTE}, "too long ago"),
    "the hash of another access token": ({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}, "another access token"),
}


@pytest.mark.rule("R31")
@pytest.mark.parametrize("what", CLAIMS)
async def test_claims_that_prove_nobody(house: House, oidc: OidcSignIn, issuer: Hostile, what: str) -> None:
    changed, why = CLAIMS[what]
    now = int(house.time().timestamp())
    relative = {
        name: now + value if name in {"exp", "iat", "nbf"} and isinstance(value, int) else value
        for name, value in changed.items()
    }
    if what == "the issuer but for a slash":
        relative["iss"] = f"{issuer.issuer}/"
    flow = await begin(oidc)
    issuer.token = issuer.signed(claims(house, issuer, flow, **relative))
    with pytest.raises(Refused, match=why) as refused:
        await finish(oidc, flow)
    assert refused.value.reason == "SIGN_IN_FAILED"
    (failed,) = await house.events()
    assert (failed.type, failed.details["method"]) == ("sign_in.failed", "oidc corp")
    assert why in failed.details["why"]


async def test_clocks_may_be_a_little_apart(house: House, oidc: OidcSignIn, issuer: Hostile) -> None:
    now = int(house.time().timestamp())
    for changed in ({"exp": now - 50, "iat": now - 350}, {"iat": now + 50, "nbf": now + 50}):
        flow = await begin(oidc)
        issuer.token = issuer.signed(claims(house, issuer, flow, **changed))
        assert (await finish(oidc, flow)).user.id == "alice"


@pytest.mark.rule("R31")
@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "HS256"])
async def test_a_token_without_a_signature(
    house: House, oidc: OidcSignIn, issuer: Hostile, algorithm: str
) -> None:
    flow = await begin(oidc)
    issuer.token = issuer.unsigned(claims(house, issuer, flow), algorithm)
    with pytest.raises(Refused, match="not allowed"):
        await finish(oidc, flow)


@pytest.mark.rule("R31")
async def test_the_public_key_is_no_secret(house: House, oidc: OidcSignIn, issuer: Hostile) -> None:
    flow = await begin(oidc)
    issuer.token = issuer.by_public_key(claims(house, issuer, flow))
    with pytest.raises(Refused, match="'HS256', which is not allowed"):
        await finish(oidc, flow)


async def test_a_symmetric_key_in_the_key_set_is_no_key(house: House, oidc: OidcSignIn, issuer: Hostile) -> None:
    issuer.keys = [{"kty": "oct", "k": "c2VjcmV0", "kid": "one", "alg": "RS256"}]
    flow = await begin(oidc)
    issuer.token = issuer.signed(claims(house, issuer, flow))
    with pytest.raises(Refused, match="no signing key"):
        await finish(oidc, flow)


@pytest.mark.parametrize(
    "described",
    [{"use": "enc"}, {"alg": "PS256"}, {"n": "AQAB"}, {"kty": "EC"}],
    ids=lambda item: next(iter(item)),
)
async def test_a_key_for_something_else(
    house: House, oidc: OidcSignIn, issuer: Hostile, described: dict[str, str]
) -> None:
    issuer.keys = [issuer.keys[0] | described, "no key", {}]  # type: ignore[list-item]  # that is the point
    flow = await begin(oidc)
    issuer.token = issuer.signed(claims(house, issuer, flow))
    with pytest.raises(Refused, match="no signing key"):
        await finish(oidc, flow)


async def test_a_weak_key(house: House, oidc: OidcSignIn, issuer: Hostile) -> None:
    with warnings.catch_warnings(action="ignore"):
        issuer.key = RSAKey.import_key(rsa.generate_private_key(65537, 1024), {"kid": "one"})
    issuer.keys = [dict(issuer.key.as_dict(private=False))]
    flow = await begin(oidc)
    issuer.token = issuer.signed(claims(house, issuer, flow))
    with pytest.raises(Refused, match="no signing key"):
        await finish(oidc, flow)


async def test_the_signature_of_another_key(house: House, oidc: OidcSignIn, issuer: Hostile) -> None:
    for token in (
        issuer.signed(claims(house, issuer, None), other_key()),
        issuer.signed(claims(house, issuer, None)) + "A",
        issuer.signed(claims(house, issuer, None)).rpartition(".")[0] + ".",
        issuer.unsigned(claims(house, issuer, None), "RS256"),
    ):
        flow = await begin(oidc)
        issuer.token = token
        with pytest.raises(Refused, match="signature does not hold"):
            await finish(oidc, flow)


async def test_a_token_brings_no_key_along(house: House, oidc: OidcSignIn, issuer: Hostile) -> None:
    """Headers that name keys (jwk, jku, x5c) are not looked at."""
    key = other_key()
    flow = await begin(oidc)
    issuer.token = issuer.signed(claims(house, issuer, flow), key, jwk=key.as_dict(private=False))
    with pytest.raises(Refused, match="signature does not hold"):
        await finish(oidc, flow)


async def test_other_algorithms_that_are_allowed(house: House, oidc: OidcSignIn, issuer: Hostile) -> None:
    okp = OKPKey.generate_key("Ed25519", {"kid": "ed"})
    for key, algorithm in ((elliptic_key(), "ES256"), (okp, "EdDSA")):
        issuer.keys = [dict(key.as_dict(private=False))]
        digest = hashlib.sha256 if algorithm == "ES256" else hashlib.sha512
        half = digest(issuer.access_token.encode()).digest()
        at_hash = base64.urlsafe_b64encode(half[: len(half) // 2]).rstrip(b"=").decode()
        house.time.forward(seconds=31)
        flow = await begin(oidc)
        with warnings.catch_warnings(action="ignore"):  # the library would rather have Ed25519 than EdDSA
            issuer.token = issuer.signed(claims(house, issuer, flow, at_hash=at_hash), key, algorithm)
        assert (await finish(oidc, flow)).user.id == "alice"


async def test_a_key_id_may_be_missing_where_one_key_could_be_meant(
    house: House, oidc: OidcSignIn, issuer: Hostile
) -> None:
    flow = await begin(oidc)
    issuer.token = issuer.signed(claims(house, issuer, flow), kid=None)
    assert (await finish(oidc, flow)).user.id == "alice"
    issuer.keys.append(dict(other_key("two").as_dict(private=False)))
    house.time.forward(minutes=11)
    flow = await begin(oidc)
    issuer.token = issuer.signed(claims(house, issuer, flow), kid=None)
    with pytest.raises(Refused, match="no signing key"):
        await finish(oidc, flow)


async def test_a_flood_of_unknown_keys_asks_the_issuer_once(
    house: House, oidc: OidcSignIn, issuer: Hostile
) -> None:
    for number in range(10):
        flow = await begin(oidc)
        issuer.token = issuer.signed(claims(house, issuer, flow), other_key(f"k-{number}"))
        with pytest.raises(Refused, match="no signing key"):
            await finish(oidc, flow)
    assert issuer.asked["/keys"] == 1  # they were fetched a moment ago
    house.time.forward(seconds=31)
    flow = await begin(oidc)
    with pytest.raises(Refused, match="no signing key"):
        await finish(oidc, flow)
    assert issuer.asked["/keys"] == 2


async def test_a_withdrawn_key_is_not_taken_for_long(house: House, oidc: OidcSignIn, issuer: Hostile) -> None:
    flow = await begin(oidc)
    issuer.token = issuer.signed(claims(house, issuer, flow))
    await finish(oidc, flow)
    issuer.keys = [dict(other_key("two").as_dict(private=False))]
    house.time.forward(minutes=10)
    flow = await begin(oidc)
    issuer.token = issuer.signed(claims(house, issuer, flow))
    with pytest.raises(Refused, match="no signing key"):
        await finish(oidc, flow)


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "..", "eyJ", "\u00e9", "a" * 70_000, None, 7, ["a"]])
async def test_what_is_no_token(oidc: OidcSignIn, issuer: Hostile, token: Any) -> None:
    flow = await begin(oidc)
    issuer.says("/token", {"access_token": "a", "id_token": token})
    with pytest.raises(Refused, match="SIGN_IN_FAILED"):
        await finish(oidc, flow)


async def test_a_huge_token_is_not_verified(house: House, oidc: OidcSignIn, issuer: Hostile) -> None:
    flow = await begin(oidc)
    issuer.token = issuer.signed(claims(house, issuer, flow, filler="x" * 60_000))
    with pytest.raises(Refused, match="too long"):
        await finish(oidc, flow)


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        (DISCOVERY, 200, b"<html>"),
        (DISCOVERY, 200, b"[]"),
        (DISCOVERY, 200, b"[" * 100_000),
        (DISCOVERY, 200, b" " * 600_000),
        (DISCOVERY, 500, b"{}"),
        (DISCOVERY, 302, b"{}"),
        (DISCOVERY, 200, b"{}"),
        ("/token", 500, b"{}"),
        ("/token", 302, b"{}"),
        ("/token", 200, b"null"),
        ("/keys", 200, b'{"keys": {}}'),
        ("/keys", 404, b"{}"),
    ],
)
async def test_an_answer_that_makes_no_sense(
    house: House, oidc: OidcSignIn, issuer: Hostile, path: str, status: int, body: bytes
) -> None:
    issuer.says(path, body, status)

    async def whole() -> None:
        flow = await begin(oidc)
        issuer.token = issuer.signed(claims(house, issuer, flow))
        await finish(oidc, flow)

    with pytest.raises(Refused, match="PROVIDER_UNAVAILABLE"):
        await whole()
    assert not issuer.asked.get("/elsewhere")


@pytest.mark.parametrize(
    "changed",
    [
        {"issuer": "https://login.example.com"},
        {"token_endpoint": "http://192.0.2.1/token"},
        {"token_endpoint": "ftp://127.0.0.1/token"},
        {"token_endpoint": None},
        {"jwks_uri": "http://example.com/keys"},
        {"jwks_uri": "http://user@127.0.0.1/keys"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": 7},
        {"code_challenge_methods_supported": ["plain"]},
    ],
)
async def test_a_discovery_that_must_not_be_followed(
    oidc: OidcSignIn, issuer: Hostile, changed: dict[str, Any]
) -> None:
    issuer.says(DISCOVERY, issuer.discovery(**changed))
    with pytest.raises(Refused, match="PROVIDER_UNAVAILABLE"):
        await begin(oidc)


@pytest.mark.parametrize(
    "changed",
    [
        {"verification_uri": "http://evil.example/verify"},
        {"verification_uri": "https://evil.example/\x1b[2J"},
        {"verification_uri_complete": "javascript:1"},
        {"user_code": "A" * 65},
        {"user_code": "\x1b[2J"},
        {"user_code": ""},
        {"device_code": None},
    ],
)
async def test_a_device_flow_that_must_not_be_shown(
    oidc: OidcSignIn, issuer: Hostile, changed: dict[str, Any]
) -> None:
    issuer.says("/device", issuer.device(**changed))
    with pytest.raises(Refused, match="PROVIDER_UNAVAILABLE"):
        await oidc.begin_device("corp", certificate_request(), HOME)


async def test_a_provider_sets_the_pace_of_a_device(house: House, oidc: OidcSignIn, issuer: Hostile) -> None:
    issuer.says("/device", issuer.device(interval=100_000, expires_in=100_000))
    flow = await oidc.begin_device("corp", certificate_request(), HOME)
    assert flow.interval == timedelta(minutes=1)
    assert flow.expires_at == house.time() + sign_in.LIFETIME
    issuer.says("/device", issuer.device(interval="soon", expires_in=-1))
    flow = await oidc.begin_device("corp", certificate_request(), HOME)
    assert flow.interval == timedelta(seconds=5)
    issuer.says("/token", {"error": "slow_down"}, 400)
    house.time.forward(seconds=5)
    assert await oidc.complete_device(flow.handle, HOME) == timedelta(seconds=10)
    house.time.forward(seconds=9)
    assert await oidc.complete_device(flow.handle, HOME) == timedelta(seconds=1)
    issuer.says("/token", {"error": "authorization_pending"}, 400)
    house.time.forward(seconds=1)
    assert await oidc.complete_device(flow.handle, HOME) == timedelta(seconds=10)
    issuer.says("/token", {"error": "expired_token"}, 400)
    house.time.forward(seconds=10)
    with pytest.raises(Refused, match="not finished in time"):
        await oidc.complete_device(flow.handle, HOME)


async def test_userinfo_about_somebody_else(house: House, replicas: Replicas, issuer: Hostile) -> None:
    oidc = replicas(corp=settings(issuer.issuer, userinfo=True))
    for said in ({"sub": "u-2", "groups": ["admins"]}, {"groups": ["admins"]}):
        issuer.says("/userinfo", said)
        flow = await begin(oidc)
        issuer.token = issuer.signed(claims(house, issuer, flow))
        with pytest.raises(Refused, match="somebody else"):
            await finish(oidc, flow)
    # What is signed wins over what is not.
    issuer.says("/userinfo", {"sub": "u-1", "groups": ["admins"], "name": "Alice"})
    flow = await begin(oidc)
    issuer.token = issuer.signed(claims(house, issuer, flow))
    user = (await finish(oidc, flow)).user
    assert (sorted(user.groups), user.display_name) == (["sre"], "Alice")


@pytest.mark.rule("R31")
@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"groups": None}, "groups claim groups is missing"),
        ({"groups": {"sre": True}}, "no list of names"),
        ({"groups": ["sre", 7]}, "no list of names"),
        ({"groups": [f"g{n}" for n in range(101)]}, "more than 100"),
        ({"groups": None, "_claim_names": {"groups": "src1"}}, "is missing"),
        ({"sub": None}, "names no subject"),
        ({"sub": ""}, "names no subject"),
        ({"sub": "x" * 256}, "names no subject"),
        ({"sub": 7}, "names no subject"),
        ({"preferred_username": None}, "missing or no text"),
        ({"preferred_username": "Alice"}, "no user id"),
        ({"preferred_username": "../alice"}, "no user id"),
        ({"preferred_username": "alice\n"}, "no user id"),
    ],
)
async def test_claims_that_cannot_be_mapped(
    house: House, oidc: OidcSignIn, issuer: Hostile, changed: dict[str, Any], why: str
) -> None:
    flow = await begin(oidc)
    issuer.token = issuer.signed(claims(house, issuer, flow, **changed))
    with pytest.raises(Refused, match=why) as refused:
        await finish(oidc, flow)
    assert refused.value.reason == "CLAIM_UNUSABLE"
    assert [event.type for event in await house.events()] == ["sign_in.refused"]


async def test_failures_slow_the_next_ones_down(oidc: OidcSignIn, issuer: Hostile) -> None:
    for _ in range(21):
        with pytest.raises(Refused, match="SIGN_IN_OVER"):
            await oidc.complete_device("guess", HOME)
    for attempt in (oidc.complete_device("guess", HOME), begin(oidc)):
        with pytest.raises(Refused, match="SIGN_IN_BACKOFF"):
            await attempt
    assert issuer.asked == {}


async def test_one_source_cannot_fill_the_table(
    oidc: OidcSignIn, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_in, "MAXIMUM_OF_SOURCE", 3)
    for _ in range(3):
        await begin(oidc)
    with pytest.raises(Refused, match="SIGN_IN_BUSY"):
        await begin(oidc)
    await oidc.begin_browser("corp", certificate_request(), 1234, "192.0.2.99")
    house.time.forward(minutes=10)  # what is over makes room
    await begin(oidc)


@pytest.mark.parametrize("request_", [b"", b"no request", b"x" * 5000])
async def test_a_key_that_cannot_be_certified_does_not_reach_the_provider(
    oidc: OidcSignIn, issuer: Hostile, request_: bytes
) -> None:
    with pytest.raises(Refused, match="INVALID_FIELD"):
        await oidc.begin_browser("corp", request_, 1234, HOME)
    with pytest.raises(Refused, match="INVALID_FIELD"):
        await oidc.begin_device("corp", request_, HOME)
    assert issuer.asked == {}


async def test_a_provider_or_flow_that_is_not_there(replicas: Replicas, issuer: Hostile) -> None:
    oidc = replicas(corp=settings(issuer.issuer, flows=["browser"]))
    with pytest.raises(Refused, match="PROVIDER_UNKNOWN"):
        await begin(oidc, "other")
    with pytest.raises(Refused, match="PROVIDER_UNKNOWN"):
        await oidc.begin_device("corp", certificate_request(), HOME)
