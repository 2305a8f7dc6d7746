"""Sessions of browsers."""

from datetime import timedelta

import pytest

from gateway.errors import Refused
from gateway.identity.browser_sessions import LONGEST, BrowserSession, BrowserSessions
from gateway.identity.model import Role
from gateway.identity.sign_in import PasswordProof
from tests.gateway.identity.conftest import HOME, PASSWORD, House, role


@pytest.fixture
def sessions(house: House) -> BrowserSessions:
    return BrowserSessions(house.database, house.changes, house.time)


async def begin(house: House, sessions: BrowserSessions, user_id: str = "bob") -> BrowserSession:
    return await house.sign_in.by_password(PasswordProof(user_id, PASSWORD), HOME, sessions.admit)


@pytest.mark.rule("R31")
async def test_a_session_is_somebody_until_it_ends(house: House, sessions: BrowserSessions) -> None:
    admin = await house.administrator()
    await house.person(admin, "bob", role("bob", Role.APPROVER))
    session = await begin(house, sessions)
    found = await sessions.caller(session.secret, "192.0.2.99")
    assert found is not None
    kept, caller = found
    assert kept == session
    assert (caller.user.id, caller.source_address, caller.key_hash) == ("bob", "192.0.2.99", "")
    assert caller.grants == (role("bob", Role.APPROVER),)
    assert caller.signed_in_at == session.proven_at == house.time()
    house.time.forward(minutes=29, seconds=59)
    assert await sessions.caller(session.secret, HOME) is not None
    house.time.forward(seconds=1)
    assert await sessions.caller(session.secret, HOME) is None
    told = (await house.events("sign_in.succeeded"))[-1]
    assert (told.subject, told.details["until"]) == ("bob", session.expires_at.isoformat())


async def test_signing_out_ends_it(house: House, sessions: BrowserSessions) -> None:
    await house.person(await house.administrator(), "bob")
    one, other = await begin(house, sessions), await begin(house, sessions)
    await sessions.end(one.secret)
    assert await sessions.caller(one.secret, HOME) is None
    assert await sessions.caller(other.secret, HOME) is not None
    await sessions.end(one.secret)


@pytest.mark.rule("R31")
async def test_a_lock_ends_it_for_good(house: House, sessions: BrowserSessions) -> None:
    admin = await house.administrator()
    await house.person(admin, "bob")
    session = await begin(house, sessions)
    house.time.forward(seconds=1)
    await house.locks.lock_user(admin, "bob", "lost laptop")
    assert await sessions.caller(session.secret, HOME) is None
    house.time.forward(seconds=1)
    await house.locks.unlock_user(admin, "bob")
    assert await sessions.caller(session.secret, HOME) is None
    assert await sessions.caller((await begin(house, sessions)).secret, HOME) is not None


async def test_a_removal_ends_it(house: House, sessions: BrowserSessions) -> None:
    admin = await house.administrator()
    await house.person(admin, "bob")
    session = await begin(house, sessions)
    await house.directory.remove(admin, "bob")
    assert await sessions.caller(session.secret, HOME) is None


async def test_nobody_comes_in_by_what_is_stored_or_made_up(house: House, sessions: BrowserSessions) -> None:
    await house.person(await house.administrator(), "bob")
    session = await begin(house, sessions)
    assert session.secret.encode() not in await house.stored()
    assert session.secret not in repr(session)
    for secret in ("", "x", session.secret[:-1], session.secret + "x", "\ud800", "ü" * 5000):
        assert await sessions.caller(secret, HOME) is None


async def test_wrong_passwords_wait_here_as_elsewhere(house: House, sessions: BrowserSessions) -> None:
    await house.person(await house.administrator(), "bob")
    for _ in range(4):
        with pytest.raises(Refused, match="SIGN_IN_FAILED"):
            await house.sign_in.by_password(PasswordProof("bob", "wrong password"), HOME, sessions.admit)
    with pytest.raises(Refused, match="SIGN_IN_BACKOFF"):
        await begin(house, sessions)
    with pytest.raises(Refused, match="SIGN_IN_BACKOFF"):
        await house.password("bob", PASSWORD)


def test_no_session_is_longer_than_half_an_hour(house: House) -> None:
    with pytest.raises(ValueError, match="30 minutes"):
        BrowserSessions(house.database, house.changes, house.time, LONGEST + timedelta(seconds=1))
