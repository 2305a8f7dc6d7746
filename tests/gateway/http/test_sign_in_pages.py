"""Signing in and out with a browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.access.world import World
from tests.gateway.http.web import Web, fields, running
from tests.gateway.identity.oidc.conftest import ALICE
from tests.gateway.identity.oidc.world import settings
from tests.oidc_provider.running import SECRET, OidcProvider
from tests.oidc_provider.running import Browser as ProvidersPages

pytestmark = pytest.mark.parametrize("database_server", ["sqlite"], indirect=True)

SESSION = "__Host-jitgate-session"


async def test_a_password_makes_a_session_for_pages(web: Web) -> None:
    browser = web.browser()
    page = await browser.open("/requests")
    assert page.status_code == 303
    answer = await browser.sign_in("sam", to="/requests/oi-000000000000")
    assert (answer.status_code, answer.headers["location"]) == (303, "/requests/oi-000000000000")
    cookie = next(line for line in answer.headers.get_list("set-cookie") if line.startswith(SESSION))
    for part in ("HttpOnly", "Secure", "SameSite=lax", "Path=/", "Max-Age=1800"):
        assert part in cookie
    assert "Domain" not in cookie
    assert (await browser.open("/requests")).status_code == 200
    assert (await browser.open("/sign-in")).headers["location"] == "/requests"
    web.world.clock.advance(minutes=30)
    assert (await browser.open("/requests")).status_code == 303


async def test_signing_out_ends_it_everywhere(web: Web) -> None:
    browser = web.browser()
    page = await browser.follow(await browser.sign_in("sam"))
    stolen = dict(browser.client.cookies)
    assert (await browser.client.get("/sign-out")).status_code == 405
    assert (await browser.client.post("/sign-out")).status_code == 400
    assert (await browser.client.post("/sign-out", data={"csrf": "x"})).status_code == 403
    answer = await browser.send(page, "/sign-out")
    assert "You are signed out" in answer.text
    thief = web.browser()
    thief.client.cookies.update(stolen)
    assert (await thief.open("/requests")).status_code == 303


@pytest.mark.rule("R31")
async def test_a_lock_ends_it(web: Web) -> None:
    browser = web.browser()
    await browser.follow(await browser.sign_in("sam"))
    await web.locks.lock_user(await web.world.caller("root"), "sam", "left")
    assert (await browser.open("/requests")).status_code == 303
    answer = await browser.sign_in("sam")
    assert answer.status_code == 403
    assert "sam is locked: left" in answer.text


async def test_wrong_passwords_say_nothing_and_wait(web: Web) -> None:
    browser = web.browser()
    answers = [await browser.sign_in(user, "wrong") for user in ("sam", "nobody", "\x00", "x" * 2000)]
    assert {answer.status_code for answer in answers} == {401}
    assert all("user or password is wrong" in answer.text for answer in answers)
    assert all(SESSION not in str(answer.headers) for answer in answers)
    for _ in range(3):
        last = await browser.sign_in("sam", "wrong")
    assert last.status_code == 401
    answer = await browser.sign_in("sam")
    assert answer.status_code == 429
    assert "too many failed sign-ins" in answer.text


async def test_nobody_is_signed_in_by_another_site(web: Web) -> None:
    browser, other = web.browser(), web.browser()
    page = await browser.open("/sign-in")
    sent = fields(page) | {"user": "sam", "password": "correct horse battery"}
    assert (await other.client.post("/sign-in/password", data=sent)).status_code == 403
    await other.open("/sign-in")
    assert (await other.client.post("/sign-in/password", data=sent)).status_code == 403
    evil = {"origin": "https://evil.example.org"}
    assert (await browser.client.post("/sign-in/password", data=sent, headers=evil)).status_code == 403
    assert (await browser.client.post("/sign-in/password", data=sent)).status_code == 303


@pytest.mark.parametrize(
    "to",
    ["https://evil.example.org", "//evil.example.org", "/\\evil.example.org", "/a//b", "/a?b=//c", "\r\nX: y", ""],
)
async def test_nobody_is_led_away_after_signing_in(web: Web, to: str) -> None:
    answer = await web.browser().sign_in("sam", to=to)
    assert (answer.status_code, answer.headers["location"]) == (303, "/requests")


async def test_old_and_made_up_cookies_are_nobody(web: Web) -> None:
    for value in ("x", "x" * 4000, "ü".encode().decode("latin-1")):
        client = web.browser().client
        answer = await client.get("/requests", headers={b"cookie": f"{SESSION}={value}".encode("latin-1")})
        assert answer.status_code == 303


@pytest.fixture
def provider(world: World, tmp_path: Path) -> Iterator[tuple[Web, OidcProvider]]:
    web = Web(world, tmp_path)
    provider = OidcProvider(tmp_path, web_redirect=f"{web.url}/sign-in/callback")
    provider.says({"u-1": ALICE | {"preferred_username": "carol"}})
    provider.start()
    (tmp_path / "secret").write_text(SECRET)
    said = settings(provider.issuer, client_id="web", client_secret_file=tmp_path / "secret", title="Example & Co")
    web.provider("corp", said)
    yield web, provider
    provider.stop()


@pytest.mark.rule("R31")
async def test_an_identity_provider_signs_somebody_in(provider: tuple[Web, OidcProvider]) -> None:
    web, real = provider
    at_provider = ProvidersPages(real.issuer)
    async with running(web):
        browser = web.browser()
        page = await browser.open("/sign-in", params={"to": "/requests/oi-000000000000"})
        assert "Continue with Example &amp; Co" in page.text
        leaving = await browser.send(page, "/sign-in/provider", provider="corp")
        assert leaving.status_code == 200
        address = leaving.text.partition('class="button" href="')[2].partition('"')[0].replace("&amp;", "&")
        came_back_to = at_provider.sign_in(address, "u-1")
        # Somebody else's browser has not begun it.
        assert (await web.browser().open(came_back_to)).status_code == 401
        answer = await browser.open(came_back_to)
        assert (answer.status_code, answer.headers["location"]) == (303, "/requests/oi-000000000000")
        page = await browser.open("/requests")
        assert "carol" in page.text
        assert (await browser.open(came_back_to)).status_code == 401  # it works once
        page = await browser.open("/sign-in", params={"again": "1"})
        assert "Password" not in page.text
        leaving = await browser.send(page, "/sign-in/provider", provider="corp")
        assert "prompt=login" in leaving.text
        refused = await browser.open("/sign-in/callback?error=access_denied&state=x")
        assert "did not sign you in: access_denied" in refused.text
        page = await browser.open("/requests")
        answer = await browser.send(page, "/sign-out")
        assert f"{real.issuer}/session/end" in answer.text
    at_provider.close()


async def test_a_provider_that_is_down_is_told(web: Web) -> None:
    web.provider("gone", settings("http://127.0.0.1:9"))
    browser = web.browser()
    page = await browser.open("/sign-in")
    answer = await browser.send(page, "/sign-in/provider", provider="gone")
    assert answer.status_code == 503
    assert "can&#39;t be used" in answer.text
    answer = await browser.send(page, "/sign-in/provider", provider="nobody")
    assert answer.status_code == 404
