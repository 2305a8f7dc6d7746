"""Recordings that retention or an administrator deletes: crash safe, told, and a tombstone stays (R27)."""

import hashlib
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.errors import Kind, Refused
from gateway.identity.model import Role, RoleGrant
from gateway.nodes.ports import Exited
from gateway.sessions import deletion
from gateway.sessions.deletion import Deletions
from gateway.sessions.model import RecordingStatus, SessionRecording
from gateway.store import deletions, recording_tables, recordings, requests
from recorder.errors import StoreUnavailable, StoreUnreachable
from recorder.ports import ObjectInfo
from recorder.service import Recorder
from recorder.spool import SessionFolder
from tests.gateway.sessions.client import until
from tests.gateway.sessions.conftest import Rig

pytestmark = pytest.mark.rule("R27")
WHY = "a customer's data was on the screen"


async def recorded(rig: Rig) -> str:
    stay = await rig.stay()
    session_id = await stay.opened()
    rig.node().say(b"hello")
    rig.node().exits(Exited(0))
    await stay.over()
    await rig.recorded(session_id)
    await rig.ended(session_id)
    return session_id


async def objects(rig: Rig) -> list[str]:
    return [each.name async for each in rig.store.list("")]


async def found(rig: Rig, session_id: str) -> SessionRecording:
    recording = await rig.recording(session_id)
    assert recording is not None
    return recording


async def told(rig: Rig, session_id: str) -> list[str]:
    return [each for each in await rig.world.events(session_id) if each.startswith("recording.delet")]


async def manifest(rig: Rig, session_id: str) -> bytes | None:
    async with rig.world.database.read() as connection:
        return await recordings.manifest_of(connection, session_id)


async def put_manifest(connection: AsyncConnection, session_id: str, data: bytes | None) -> None:
    rows = recording_tables.recordings
    await connection.execute(rows.update().where(rows.c.session_id == session_id).values(manifest=data))


def a_year(rig: Rig, days: int = 365) -> Deletions:
    """The worker of another gateway on the same database, with a retention."""
    world = rig.world
    return Deletions(
        world.database,
        rig.store,
        world.changes,
        world.clock,
        retention=timedelta(days=days),
        monotonic=world.clock.monotonic,
    )


async def test_what_was_kept_long_enough_is_deleted_and_its_tombstone_stays(rig: Rig) -> None:
    session_id = await recorded(rig)
    data = await manifest(rig, session_id)
    assert data is not None
    before = await found(rig, session_id)
    worker = a_year(rig)
    rig.world.clock.advance(days=364)
    assert (await worker.mark_old(), await worker.sweep()) == (0, 0)
    assert await objects(rig)
    rig.world.clock.advance(days=2)
    assert (await worker.mark_old(), await worker.sweep()) == (1, 1)
    assert await objects(rig) == []
    after = await found(rig, session_id)
    assert after.status is RecordingStatus.DELETED
    assert (after.stored_bytes, after.output_bytes) == (before.stored_bytes, before.output_bytes)
    gone = after.deletion
    assert gone is not None
    assert (gone.actor_id, gone.reason) == ("", "kept for 365 days")
    assert gone.deleted_at == rig.world.clock()
    assert gone.manifest_sha256 == hashlib.sha256(data).hexdigest()
    assert await manifest(rig, session_id) is None  # it holds the wrapped key
    assert await told(rig, session_id) == ["recording.deleting", "recording.deleted"]


async def test_what_the_store_does_not_list_goes_as_well(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an object does that another program hid behind a delete marker."""
    session_id = await recorded(rig)
    worker = a_year(rig)

    async def nothing(prefix: str) -> AsyncIterator[ObjectInfo]:
        for _ in ():
            yield ObjectInfo(prefix, 0)

    with monkeypatch.context() as patched:
        patched.setattr(rig.store, "list", nothing)
        rig.world.clock.advance(days=366)
        assert (await worker.mark_old(), await worker.sweep()) == (1, 1)
    assert await objects(rig) == []
    assert (await found(rig, session_id)).status is RecordingStatus.DELETED


async def test_a_clock_that_was_set_deletes_nothing(rig: Rig) -> None:
    await recorded(rig)
    passed = [0.0]
    world = rig.world
    worker = Deletions(
        world.database,
        rig.store,
        world.changes,
        world.clock,
        retention=timedelta(days=365),
        monotonic=lambda: passed[0],
    )
    world.clock.advance(days=500)
    passed[0] += 3601
    assert await worker.mark_old() == 0
    world.clock.advance(hours=2)
    passed[0] += 7200
    assert await worker.mark_old() == 1


async def test_without_a_retention_nothing_gets_too_old(rig: Rig) -> None:
    await recorded(rig)
    rig.world.clock.advance(days=4000)
    assert (await rig.deletions.mark_old(), await rig.deletions.sweep()) == (0, 0)
    with pytest.raises(ValueError, match="365"):
        a_year(rig, 364)


async def test_an_administrator_deletes_and_everybody_hears_why(rig: Rig) -> None:
    session_id = await recorded(rig)
    root = await rig.world.caller("root")
    wanted = await rig.deletions.delete(root, session_id, WHY)
    assert wanted.status is RecordingStatus.DELETING
    with pytest.raises(Refused) as twice:
        await rig.deletions.delete(root, session_id, WHY)
    assert twice.value.reason == "BEING_DELETED"
    assert await rig.deletions.sweep() == 1
    with pytest.raises(Refused) as again:
        await rig.deletions.delete(root, session_id, WHY)
    assert again.value.reason == "RECORDING_DELETED"
    await rig.world.grant(RoleGrant("user", "ada", Role.AUDITOR, "*", "*"))
    ada = await rig.world.caller("ada")
    for looking in (rig.library.play, rig.library.verify):
        with pytest.raises(Refused, match=f"by root: {WHY}") as refusal:
            await looking(ada, session_id)
        assert refusal.value.reason == "RECORDING_DELETED"
    listed, _ = await rig.library.find(ada, recordings.Filter(), 10)
    assert [each.deletion and each.deletion.reason for each in listed] == [WHY]


@pytest.mark.parametrize("role", [Role.AUDITOR, Role.NODE_ADMINISTRATOR, Role.APPROVER])
async def test_nobody_else_deletes(rig: Rig, role: Role) -> None:
    session_id = await recorded(rig)
    await rig.world.grant(RoleGrant("user", "ada", role, "*", "*"))
    with pytest.raises(Refused) as refusal:
        await rig.deletions.delete(await rig.world.caller("ada"), session_id, WHY)
    assert refusal.value.kind is Kind.NOT_FOUND
    assert (await found(rig, session_id)).status is RecordingStatus.COMPLETE
    assert await told(rig, session_id) == []


async def test_what_is_live_is_not_deleted(rig: Rig) -> None:
    stay = await rig.stay()
    session_id = await stay.opened()
    with pytest.raises(Refused) as refusal:
        await rig.deletions.delete(await rig.world.caller("root"), session_id, WHY)
    assert refusal.value.reason == "NOT_COMPLETE"
    rig.node().exits(Exited(0))
    await stay.over()


class Killed(BaseException):
    """Where kill -9 hits."""


def dying_after(count: int, work: Callable[..., object]) -> Callable[..., object]:
    done = [0]

    async def dies(*given: object, **more: object) -> object:
        if done[0] == count:
            raise Killed
        done[0] += 1
        return await work(*given, **more)  # type: ignore[misc]  # all that is given here is async

    return dies


@pytest.mark.parametrize("kept", [0, 1, 2])
async def test_killed_between_objects_it_goes_on(rig: Rig, monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    session_id = await recorded(rig)
    names = await objects(rig)
    assert len(names) >= 2
    await rig.deletions.delete(await rig.world.caller("root"), session_id, WHY)
    with monkeypatch.context() as patched:
        if kept < 2:
            patched.setattr(rig.store, "delete", dying_after(kept, rig.store.delete))
        else:  # all are gone, and the database does not know
            patched.setattr(deletions, "done", dying_after(0, deletions.done))
        with pytest.raises(Killed):
            await rig.deletions.sweep()
    left = await objects(rig)
    assert not left or any("manifest" in name for name in left)
    assert (await found(rig, session_id)).status is RecordingStatus.DELETING
    assert await told(rig, session_id) == ["recording.deleting"]
    assert await a_year(rig).sweep() == 1
    assert await objects(rig) == []
    assert await told(rig, session_id) == ["recording.deleting", "recording.deleted"]


async def test_what_the_store_refuses_waits_is_told_once_and_goes_on(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = await recorded(rig)
    await rig.deletions.delete(await rig.world.caller("root"), session_id, WHY)
    tries = []

    async def locked(name: str) -> None:
        tries.append(name)
        raise StoreUnavailable("AccessDenied: it is retained")

    with monkeypatch.context() as patched:
        patched.setattr(rig.store, "delete", locked)
        for _ in range(2):
            assert await rig.deletions.sweep() == 0
        assert len(tries) == 1
        rig.world.clock.advance(minutes=1)
        await rig.deletions.sweep()
        rig.world.clock.advance(minutes=1)
        await rig.deletions.sweep()
        assert len(tries) == 2
    waiting = await found(rig, session_id)
    assert (waiting.status, waiting.status_reason) == (RecordingStatus.DELETING, "AccessDenied: it is retained")
    rig.world.clock.advance(minutes=1)
    assert await rig.deletions.sweep() == 1
    assert (await found(rig, session_id)).status_reason == ""
    assert await told(rig, session_id) == ["recording.deleting", "recording.deletion_failed", "recording.deleted"]


async def test_a_store_that_does_not_answer_holds_other_accounts_up_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call to a bucket that nobody can reach may take minutes."""
    root = await rig.world.caller("root")
    sessions = [await recorded(rig) for _ in range(4)]
    elsewhere = sessions[-1]
    for session_id in sessions:
        await rig.deletions.delete(root, session_id, WHY)
        rig.world.clock.advance(seconds=1)
    rows = recording_tables.recordings
    async with rig.world.database.transaction() as tx:
        mine = rows.update().where(rows.c.session_id == elsewhere)
        await tx.connection.execute(mine.values(account="444455556666"))
    delete, tries = rig.store.delete, []

    async def unreachable(name: str) -> None:
        if elsewhere not in name:
            tries.append(name)
            raise StoreUnreachable("no answer within 120 seconds")
        await delete(name)

    monkeypatch.setattr(deletion, "_BATCH", 1)
    with monkeypatch.context() as patched:
        patched.setattr(rig.store, "delete", unreachable)
        assert await rig.deletions.sweep() == 1
        assert len(tries) == 1
        assert (await found(rig, elsewhere)).status is RecordingStatus.DELETED
        assert await rig.deletions.sweep() == 0
        assert len(tries) == 2
    rig.world.clock.advance(minutes=1)
    assert await rig.deletions.sweep() == 3


async def test_what_is_retained_holds_nothing_of_its_account_up(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    root = await rig.world.caller("root")
    sessions = [await recorded(rig) for _ in range(3)]
    for session_id in sessions:
        await rig.deletions.delete(root, session_id, WHY)
        rig.world.clock.advance(seconds=1)
    delete = rig.store.delete

    async def locked(name: str) -> None:
        if sessions[0] in name or sessions[1] in name:
            raise StoreUnavailable("AccessDenied: it is retained")
        await delete(name)

    monkeypatch.setattr(rig.store, "delete", locked)
    assert await rig.deletions.sweep() == 1
    assert (await found(rig, sessions[2])).status is RecordingStatus.DELETED


async def test_a_spool_that_was_left_brings_nothing_back_for_good(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the manifest was stored and indexed, and before its spool went: the spool is finished again."""
    stay = await rig.stay()
    session_id = await stay.opened()
    rig.node().say(b"hello")
    with monkeypatch.context() as patched:
        patched.setattr(SessionFolder, "remove", lambda _folder: None)
        rig.node().exits(Exited(0))
        await stay.over()
        await rig.recorded(session_id)
        await until(lambda: not rig.recorder._live)  # its spool goes after the index has heard of it
    await rig.ended(session_id)
    first = await manifest(rig, session_id)
    root = await rig.world.caller("root")
    await rig.deletions.delete(root, session_id, WHY)
    assert await rig.deletions.sweep() == 1
    (left,) = (rig.folder / "spool").glob("w-*/s-*")
    assert SessionFolder(left).head().session.session_id == session_id
    dead = rig.folder / "spool" / "w-0000000000000000"
    dead.mkdir()
    left.rename(dead / session_id)
    spool, clock = rig.folder / "spool", rig.world.clock
    another = Recorder(spool, rig.store, rig.keys, rig.signer, observer=rig.index, clock=clock)
    recovery = await another.start()
    await another.stop()
    assert [each.session.session_id for each in recovery.finished] == [session_id]
    assert await objects(rig)
    assert (await found(rig, session_id)).status is RecordingStatus.DELETING
    assert await rig.deletions.sweep() == 1
    assert await objects(rig) == []
    assert await manifest(rig, session_id) is None
    after = await found(rig, session_id)
    assert after.status is RecordingStatus.DELETED
    assert after.deletion is not None
    assert first is not None
    assert (after.deletion.actor_id, after.deletion.reason) == ("root", WHY)
    assert after.deletion.manifest_sha256 == hashlib.sha256(first).hexdigest()
    assert await told(rig, session_id) == ["recording.deleting", "recording.deleted", "recording.deleted"]


async def test_a_purged_request_leaves_the_recording_that_points_at_it(rig: Rig) -> None:
    session_id = await recorded(rig)
    before = await found(rig, session_id)
    world = rig.world
    world.clock.advance(days=1)
    async with world.database.transaction() as tx:
        assert await requests.purge(tx.connection, [before.request_id])
    assert (await found(rig, session_id)) == before
    await rig.deletions.delete(await world.caller("root"), session_id, WHY)
    assert await rig.deletions.sweep() == 1
    assert (await found(rig, session_id)).request_id == before.request_id


async def test_without_a_manifest_nothing_is_begun(rig: Rig) -> None:
    session_id = await recorded(rig)
    async with rig.world.database.transaction() as tx:
        await put_manifest(tx.connection, session_id, None)
    with pytest.raises(Refused, match="NOT_COMPLETE"):
        await a_year(rig).delete(await rig.world.caller("root"), session_id, WHY)
    rig.world.clock.advance(days=366)
    assert await a_year(rig).mark_old() == 0
    assert (await found(rig, session_id)).status is RecordingStatus.COMPLETE


async def test_another_sessions_manifest_deletes_nothing(rig: Rig) -> None:
    session_id, other = await recorded(rig), await recorded(rig)
    before = await objects(rig)
    async with rig.world.database.transaction() as tx:
        await put_manifest(tx.connection, session_id, await recordings.manifest_of(tx.connection, other))
        assert await deletions.begin(tx.connection, session_id, actor_id="", reason=WHY, now=rig.world.clock())
    assert await rig.deletions.sweep() == 0
    assert await objects(rig) == before
