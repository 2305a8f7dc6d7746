"""Signing a browser itself in, at a real provider."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import Refused
from gateway.identity.browser_sessions import BrowserSession, BrowserSessions
from gateway.identity.oidc.sign_in import BroughtBack, BrowserFlow, OidcSignIn
from tests.gateway.identity.conftest import HOME, House, certificate_request
from tests.gateway.identity.oidc.conftest import ALICE, Browsers, Replicas
from tests.gateway.identity.oidc.hostile import hostile_issuer
from tests.gateway.identity.oidc.world import settings
from tests.oidc_provider.running import SECRET, Browser, OidcProvider, answer_in

pytestmark = pytest.mark.parametrize("database_server", ["sqlite"], indirect=True)

REDIRECT = "https://gate.example.org/sign-in/callback"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OidcProvider]:
    provider = OidcProvider(tmp_path_factory.mktemp("provider"), web_redirect=REDIRECT)
    provider.start()
    provider.says({"u-1": ALICE})
    yield provider
    provider.stop()


@pytest.fixture
def provider(running: OidcProvider) -> OidcProvider:
    return running


@pytest.fixture
def oidc(provider: OidcProvider, replicas: Replicas, tmp_path: Path) -> OidcSignIn:
    (tmp_path / "secret").write_text(SECRET)
    client = {"client_id": "web", "client_secret_file": tmp_path / "secret"}
    return replicas(corp=settings(provider.issuer, **client))


@pytest.fixture
def sessions(house: House) -> BrowserSessions:
    return BrowserSessions(house.database, house.changes, house.time)


async def begin(oidc: OidcSignIn, *, again: bool = False) -> BrowserFlow:
    return await oidc.begin_web("corp", REDIRECT, HOME, again=again, keep={"to": "/requests/oi-1"})


async def finish(
    oidc: OidcSignIn, flow: BrowserFlow, came_back_to: str, sessions: BrowserSessions, **changed: str
) -> tuple[BrowserSession, Any]:
    answer = answer_in(came_back_to) | changed
    brought = BroughtBack(answer["code"], answer["state"], answer.get("iss", ""))
    return await oidc.complete_web(flow.handle, brought, HOME, sessions.admit)


@pytest.mark.rule("R31")
async def test_a_browser_gets_a_session(
    house: House, oidc: OidcSignIn, browser: Browser, sessions: BrowserSessions
) -> None:
    flow = await begin(oidc)
    came_back_to = browser.sign_in(flow.authorization_url, "u-1")
    assert came_back_to.startswith(REDIRECT)
    session, kept = await finish(oidc, flow, came_back_to, sessions)
    assert (session.user_id, session.provider, kept["to"]) == ("alice", "corp", "/requests/oi-1")
    found = await sessions.caller(session.secret, HOME)
    assert found is not None
    assert found[1].user.groups == {"sre", "dba"}
    with pytest.raises(Refused, match="SIGN_IN_OVER"):
        await finish(oidc, flow, came_back_to, sessions)
    assert (await house.events("sign_in.succeeded"))[-1].details["flow"] == "web"


async def test_again_is_proven_again(
    oidc: OidcSignIn, browser: Browser, sessions: BrowserSessions, provider: OidcProvider
) -> None:
    flow = await begin(oidc)
    await finish(oidc, flow, browser.sign_in(flow.authorization_url, "u-1"), sessions)
    # The provider remembers this browser, and asks all the same.
    flow = await begin(oidc, again=True)
    assert "prompt=login" in flow.authorization_url
    assert "max_age=0" in flow.authorization_url
    first = browser.visit(flow.authorization_url)
    assert first.is_redirect
    assert "code=" not in first.headers["location"]
    session, _ = await finish(oidc, flow, browser.sign_in(flow.authorization_url, "u-1"), sessions)
    assert session.proven_at is not None


@pytest.mark.parametrize("seconds_old", [None, "soon", 120, 3600])
async def test_a_provider_that_does_not_ask_again_is_refused(
    house: House, replicas: Replicas, sessions: BrowserSessions, seconds_old: Any
) -> None:
    with hostile_issuer() as issuer:
        oidc = replicas(corp=settings(issuer.issuer))
        flow = await begin(oidc, again=True)
        asked = answer_in(flow.authorization_url)
        now = int(house.time().timestamp())
        claims = {"iss": issuer.issuer, "aud": "jitgate", "sub": "u-9", "iat": now, "exp": now + 60}
        claims |= {"nonce": asked["nonce"], "preferred_username": "mallory", "groups": []}
        if seconds_old is not None:
            claims["auth_time"] = "soon" if seconds_old == "soon" else now - seconds_old
        issuer.token = issuer.signed(claims)
        with pytest.raises(Refused, match="did not ask for the sign-in anew"):
            await oidc.complete_web(flow.handle, BroughtBack("code", asked["state"]), HOME, sessions.admit)


async def test_a_session_is_as_old_as_the_proof(
    house: House, replicas: Replicas, sessions: BrowserSessions
) -> None:
    """The provider may have asked for the password this morning."""
    with hostile_issuer() as issuer:
        oidc = replicas(corp=settings(issuer.issuer))
        now = int(house.time().timestamp())
        proven: list[Any] = []
        for auth_time in (now - 7200, None):
            flow = await begin(oidc)
            asked = answer_in(flow.authorization_url)
            claims = {"iss": issuer.issuer, "aud": "jitgate", "sub": "u-9", "iat": now, "exp": now + 60}
            claims |= {"nonce": asked["nonce"], "preferred_username": "dora", "groups": []}
            issuer.token = issuer.signed(claims if auth_time is None else claims | {"auth_time": auth_time})
            brought = BroughtBack("code", asked["state"])
            session, _ = await oidc.complete_web(flow.handle, brought, HOME, sessions.admit)
            proven.append(session.proven_at)
    assert proven[0] == house.time().replace(microsecond=0) - timedelta(hours=2)
    assert proven[1] is None


@pytest.mark.parametrize("changed", [{"state": "x"}, {"code": "x"}, {"iss": "https://other.example.org"}])
async def test_an_answer_that_is_not_ours_ends_the_sign_in(
    oidc: OidcSignIn, browser: Browser, sessions: BrowserSessions, changed: dict[str, str]
) -> None:
    flow = await begin(oidc)
    came_back_to = browser.sign_in(flow.authorization_url, "u-1")
    with pytest.raises(Refused, match="SIGN_IN_FAILED"):
        await finish(oidc, flow, came_back_to, sessions, **changed)
    with pytest.raises(Refused, match="SIGN_IN_OVER"):
        await finish(oidc, flow, came_back_to, sessions)


async def test_kinds_of_sign_in_are_not_mixed(
    oidc: OidcSignIn, browser: Browser, sessions: BrowserSessions, browsers: Browsers
) -> None:
    """A session can't be had by what was begun for a certificate, nor the other way round."""
    flow = await begin(oidc)
    answer = answer_in(browser.sign_in(flow.authorization_url, "u-1"))
    with pytest.raises(Refused, match="SIGN_IN_OVER"):
        await oidc.complete_browser(flow.handle, answer["code"], answer["state"], answer.get("iss", ""), HOME)
    begun = await oidc.begin_browser("corp", certificate_request(), 45678, HOME)
    with pytest.raises(Refused, match="SIGN_IN_OVER"):
        await oidc.complete_web(begun.handle, BroughtBack("code", "state"), HOME, sessions.admit)


async def test_an_operator_may_leave_pages_out(replicas: Replicas, provider: OidcProvider) -> None:
    oidc = replicas(corp=settings(provider.issuer, flows=["browser", "device"]))
    with pytest.raises(Refused, match="PROVIDER_UNKNOWN"):
        await begin(oidc)
