"""Signing in at a real provider, over HTTP."""

import asyncio
from datetime import timedelta

import pytest

from gateway.errors import Kind, Refused
from gateway.identity.oidc.sign_in import LIFETIME, DeviceFlow, OidcSignIn
from gateway.identity.signed_in import SignedIn
from tests.gateway.identity.conftest import HOME, House, certificate_request, leaf
from tests.gateway.identity.oidc.conftest import ALICE, BOB, CLAIMS, Browsers, Replicas
from tests.gateway.identity.oidc.world import begin, finish, settings, through_browser
from tests.oidc_provider.running import SECRET, Browser, OidcProvider, answer_in

pytestmark = pytest.mark.parametrize("database_server", ["sqlite"], indirect=True)


async def begin_device(oidc: OidcSignIn) -> DeviceFlow:
    return await oidc.begin_device("corp", certificate_request(), HOME)


async def poll(house: House, oidc: OidcSignIn, flow: DeviceFlow) -> SignedIn | timedelta:
    house.time.forward(seconds=6)
    return await oidc.complete_device(flow.handle, HOME)


@pytest.mark.rule("R31")
async def test_a_browser_proves_somebody(
    house: House, oidc: OidcSignIn, browser: Browser, provider: OidcProvider
) -> None:
    signed_in = await through_browser(oidc, browser, "u-1")
    user = signed_in.user
    assert (user.id, user.issuer, user.subject, user.display_name) == (
        "alice",
        provider.issuer,
        "u-1",
        "Alice Liddell",
    )
    assert user.groups == {"sre", "dba"}  # "on call" can be no group id
    assert user.attributes == {"employeeNumber": "4711", "costCenter": "R-7"}
    assert user.principal_tags == {"Team": "Platform"}
    assert user.membership_checked_at == house.time()
    assert signed_in.grants == ()  # a sign-in gives nobody a role
    assert signed_in.sign_out_url == f"{provider.issuer}/session/end?client_id=jitgate"
    caller = await house.authenticator.authenticate(leaf(signed_in), HOME)
    assert caller.user.id == "alice"
    created, succeeded = await house.events()
    assert (created.type, created.details["subject"], succeeded.type) == (
        "user.created",
        "u-1",
        "sign_in.succeeded",
    )
    assert (succeeded.details["provider"], succeeded.details["groups_left_out"]) == ("corp", 1)


async def test_a_device_proves_somebody_on_any_replica(
    house: House, oidc: OidcSignIn, browser: Browser, provider: OidcProvider, replicas: Replicas
) -> None:
    flow = await begin_device(oidc)
    assert await poll(house, oidc, flow) == flow.interval
    assert browser.sign_in(flow.verification_uri_complete, "u-2") == ""
    other = replicas(corp=settings(provider.issuer))
    signed_in = await poll(house, other, flow)
    assert isinstance(signed_in, SignedIn)
    assert (signed_in.user.id, signed_in.user.groups) == ("bob", frozenset())
    with pytest.raises(Refused, match="SIGN_IN_OVER"):
        await poll(house, oidc, flow)


async def test_who_asks_too_early_does_not_reach_the_provider(
    house: House, oidc: OidcSignIn, provider: OidcProvider
) -> None:
    flow = await begin_device(oidc)
    with provider.away():
        waits = await oidc.complete_device(flow.handle, HOME)
        assert waits == flow.interval
        with pytest.raises(Refused, match="PROVIDER_UNAVAILABLE"):
            await poll(house, oidc, flow)


async def test_a_denied_device_is_over(house: House, oidc: OidcSignIn, browser: Browser) -> None:
    flow = await begin_device(oidc)
    page = browser.visit(flow.verification_uri_complete).text
    xsrf = page.partition('name="xsrf" value="')[2].partition('"')[0]
    browser._client.post(flow.verification_uri, data={"xsrf": xsrf, "user_code": flow.user_code, "abort": "yes"})
    with pytest.raises(Refused, match="denied") as refused:
        await poll(house, oidc, flow)
    assert (refused.value.kind, refused.value.reason) == (Kind.UNAUTHENTICATED, "SIGN_IN_FAILED")
    with pytest.raises(Refused, match="SIGN_IN_OVER"):
        await poll(house, oidc, flow)
    assert [event.type for event in await house.events()] == ["sign_in.failed", "sign_in.failed"]


async def test_a_browser_sign_in_works_once(oidc: OidcSignIn, browser: Browser, house: House) -> None:
    flow = await begin(oidc)
    back = browser.sign_in(flow.authorization_url, "u-1")
    await finish(oidc, flow, back)
    with pytest.raises(Refused, match="SIGN_IN_OVER"):
        await finish(oidc, flow, back)


async def test_a_sign_in_that_takes_too_long_is_over(oidc: OidcSignIn, browser: Browser, house: House) -> None:
    flow = await begin(oidc)
    back = browser.sign_in(flow.authorization_url, "u-1")
    house.time.forward(seconds=LIFETIME.total_seconds())
    with pytest.raises(Refused, match="SIGN_IN_OVER"):
        await finish(oidc, flow, back)


async def test_what_another_sign_in_brought_back_is_refused(oidc: OidcSignIn, browser: Browser) -> None:
    one, other = await begin(oidc), await begin(oidc)
    back = answer_in(browser.sign_in(one.authorization_url, "u-1"))
    own_state = answer_in(other.authorization_url)["state"]
    with pytest.raises(Refused, match="another sign-in"):
        await oidc.complete_browser(other.handle, back["code"], back["state"], back["iss"], HOME)
    # With a state of its own, the code is still another sign-in's: PKCE and nonce are.
    third = await begin(oidc)
    state = answer_in(third.authorization_url)["state"]
    assert state != own_state
    with pytest.raises(Refused, match="invalid_grant"):
        await oidc.complete_browser(third.handle, back["code"], state, back["iss"], HOME)


@pytest.mark.parametrize("issuer", ["", "https://other.example"])
async def test_an_answer_of_another_provider_is_refused(oidc: OidcSignIn, browser: Browser, issuer: str) -> None:
    flow = await begin(oidc)
    back = answer_in(browser.sign_in(flow.authorization_url, "u-1"))
    with pytest.raises(Refused, match="another identity provider"):
        await oidc.complete_browser(flow.handle, back["code"], back["state"], issuer, HOME)


async def test_a_handle_of_one_kind_does_not_finish_the_other(oidc: OidcSignIn, house: House) -> None:
    browser_flow, device_flow = await begin(oidc), await begin_device(oidc)
    with pytest.raises(Refused, match="SIGN_IN_OVER"):
        await oidc.complete_device(browser_flow.handle, HOME)
    with pytest.raises(Refused, match="SIGN_IN_OVER"):
        await oidc.complete_browser(device_flow.handle, "code", "state", "", HOME)


@pytest.mark.parametrize("authentication", ["basic", "post"])
async def test_a_confidential_client_and_another_algorithm(
    house: House,
    provider: OidcProvider,
    browser: Browser,
    tmp_path_factory: pytest.TempPathFactory,
    authentication: str,
    replicas: Replicas,
) -> None:
    file = tmp_path_factory.mktemp("secret") / "secret"
    file.write_text(SECRET + "\n")
    said = settings(
        provider.issuer,
        client_id=authentication,
        client_secret_file=file,
        client_authentication=authentication,
    )
    oidc = replicas(corp=said)
    assert (await through_browser(oidc, browser, "u-1")).user.id == "alice"
    assert SECRET.encode() not in await house.stored()
    file.write_text("wrong")  # it is read at every use, so that it can be changed
    with pytest.raises(Refused, match="invalid_client"):
        await through_browser(oidc, browser, "u-1")
    file.unlink()
    with pytest.raises(Refused, match="can't be read"):
        await through_browser(oidc, browser, "u-1")


async def test_a_provider_that_rotates_its_keys(
    oidc: OidcSignIn, provider: OidcProvider, browsers: Browsers
) -> None:
    for _ in range(2):
        visitor = browsers(provider)
        assert (await through_browser(oidc, visitor, "u-1")).user.id == "alice"
        with provider.away():
            pass
        oidc_time = oidc._clock
        oidc_time.forward(seconds=31)  # type: ignore[attr-defined]  # asked about an unknown key not more often


async def test_a_provider_that_is_down(house: House, provider: OidcProvider, replicas: Replicas) -> None:
    with provider.away():
        oidc = replicas(corp=settings(provider.issuer))
        with pytest.raises(Refused, match="can't be reached") as refused:
            await begin(oidc)
        assert (refused.value.kind, refused.value.reason) == (Kind.UNAVAILABLE, "PROVIDER_UNAVAILABLE")
        with pytest.raises(Refused, match="PROVIDER_UNAVAILABLE"):
            await begin_device(oidc)
    house.time.forward(seconds=6)  # a failure stands for a moment, so that a hanging provider is not asked by all
    await begin(oidc)


async def test_claims_that_only_userinfo_has(
    house: House, tmp_path_factory: pytest.TempPathFactory, replicas: Replicas, browsers: Browsers
) -> None:
    provider = OidcProvider(tmp_path_factory.mktemp("userinfo"), claims_in_userinfo=True)
    provider.start()
    try:
        provider.says({"u-1": ALICE})
        visitor = browsers(provider)
        without = replicas(corp=settings(provider.issuer))
        with pytest.raises(Refused, match="groups claim groups is missing"):
            await through_browser(without, visitor, "u-1")
        with_userinfo = replicas(corp=settings(provider.issuer, userinfo=True, claims=CLAIMS))
        user = (await through_browser(with_userinfo, visitor, "u-1")).user
        assert (user.id, sorted(user.groups)) == ("alice", ["dba", "sre"])
        assert user.principal_tags == {"Team": "Platform"}
    finally:
        provider.stop()


async def test_no_token_code_or_handle_is_stored(house: House, oidc: OidcSignIn, browser: Browser) -> None:
    flow, device = await begin(oidc), await begin_device(oidc)
    sent = answer_in(flow.authorization_url)
    stored = await house.stored()
    for secret in (flow.handle, device.handle, sent["state"], sent["nonce"]):
        assert secret.encode() not in stored
    back = browser.sign_in(flow.authorization_url, "u-1")
    await finish(oidc, flow, back)
    stored = await house.stored()
    assert answer_in(back)["code"].encode() not in stored
    assert b"eyJ" not in stored  # how every JWT begins


@pytest.mark.rule("R31")
async def test_the_directory_follows_the_provider(
    house: House, oidc: OidcSignIn, browser: Browser, provider: OidcProvider, browsers: Browsers
) -> None:
    before = (await through_browser(oidc, browser, "u-1")).user
    await through_browser(oidc, browser, "u-1")
    assert house.endings.calls == []  # nothing changed
    house.time.forward(seconds=20)
    provider.says({"u-1": ALICE | {"preferred_username": "alicia", "groups": ["dba", "web"], "team": "Web"}})
    visitor = browsers(provider)
    after = (await through_browser(oidc, visitor, "u-1")).user
    assert after.id == before.id == "alice"  # the id of the first sign-in, for good
    assert after.groups == {"dba", "web"}
    assert after.principal_tags == {"Team": "Web"}
    assert after.membership_checked_at == house.time()
    assert house.endings.calls == [("groups_changed", "alice", "alice")]
    (updated,) = await house.events("user.updated")
    assert updated.details["before"]["groups"] == ["dba", "sre"]


@pytest.mark.rule("R31")
async def test_a_name_that_is_somebody_elses_is_refused(
    house: House, oidc: OidcSignIn, browser: Browser, provider: OidcProvider, browsers: Browsers
) -> None:
    admin = await house.administrator()
    await house.directory.create(admin, "alice")
    with pytest.raises(Refused, match="USER_ID_TAKEN"):
        await through_browser(oidc, browser, "u-1")
    provider.says({"u-1": BOB, "u-2": BOB})
    visitor = browsers(provider)
    await through_browser(oidc, visitor, "u-2")
    with pytest.raises(Refused, match="USER_ID_TAKEN"):
        await through_browser(oidc, browsers(provider), "u-1")
    told = await house.events("sign_in.refused")
    assert [(event.subject, event.details["reason"], event.details["subject"]) for event in told] == [
        ("", "USER_ID_TAKEN", "u-1")
    ] * 2


@pytest.mark.rule("R31")
async def test_locked_and_removed_people_stay_out(house: House, oidc: OidcSignIn, browser: Browser) -> None:
    admin = await house.administrator()
    await through_browser(oidc, browser, "u-1")
    await house.locks.lock_user(admin, "alice", "on leave")
    with pytest.raises(Refused, match="on leave"):
        await through_browser(oidc, browser, "u-1")
    await house.locks.unlock_user(admin, "alice")
    await through_browser(oidc, browser, "u-1")
    await house.directory.remove(admin, "alice")
    with pytest.raises(Refused, match="USER_REMOVED"):
        await through_browser(oidc, browser, "u-1")


async def test_without_create_users_only_known_people_come_in(
    house: House,
    oidc: OidcSignIn,
    browser: Browser,
    provider: OidcProvider,
    replicas: Replicas,
    browsers: Browsers,
) -> None:
    await through_browser(oidc, browser, "u-1")
    closed = replicas(corp=settings(provider.issuer, create_users=False))
    assert (await through_browser(closed, browser, "u-1")).user.id == "alice"
    visitor = browsers(provider)
    with pytest.raises(Refused, match="USER_UNKNOWN"):
        await through_browser(closed, visitor, "u-2")


async def test_of_two_who_finish_one_sign_in_at_once_one_does(
    oidc: OidcSignIn, browser: Browser, house: House
) -> None:
    flow = await begin(oidc)
    back = browser.sign_in(flow.authorization_url, "u-1")
    outcomes = await asyncio.gather(*(finish(oidc, flow, back) for _ in range(3)), return_exceptions=True)
    assert sum(isinstance(outcome, SignedIn) for outcome in outcomes) == 1
    assert [str(outcome)[:12] for outcome in outcomes if not isinstance(outcome, SignedIn)] == ["SIGN_IN_OVER"] * 2
    assert len(await house.events("sign_in.succeeded")) == 1


async def test_of_two_who_ask_for_a_device_at_once_one_reaches_the_provider(
    house: House, oidc: OidcSignIn, browser: Browser
) -> None:
    flow = await begin_device(oidc)
    browser.sign_in(flow.verification_uri_complete, "u-2")
    house.time.forward(seconds=6)
    asked = (oidc.complete_device(flow.handle, HOME) for _ in range(3))
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(outcome, SignedIn) for outcome in outcomes) == 1
    assert len(await house.events("sign_in.succeeded")) == 1


async def test_somebody_new_in_two_places_at_once_is_one_user(
    oidc: OidcSignIn, provider: OidcProvider, browsers: Browsers, house: House, replicas: Replicas
) -> None:
    other = replicas(corp=settings(provider.issuer, claims=CLAIMS))
    flows = [(place, await begin(place)) for place in (oidc, other)]
    back = [browsers(provider).sign_in(flow.authorization_url, "u-1") for _, flow in flows]
    signed_in = await asyncio.gather(
        *(finish(place, flow, where) for (place, flow), where in zip(flows, back, strict=True))
    )
    assert {each.user.subject for each in signed_in} == {"u-1"}
    assert len(await house.events("user.created")) == 1
