"""What is not in its store yet: shown truly, told once, tried again when somebody asks (R27)."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tenacity import wait_fixed

from gateway.errors import Kind, Refused
from gateway.identity.model import Role, RoleGrant
from gateway.nodes.ports import Exited
from gateway.sessions.model import RecordingStatus
from gateway.store.uploads import Upload
from recorder.model import Quarantined, prefix_of, segment_name
from recorder.recording import Recording
from tests.gateway.access.world import World
from tests.gateway.sessions.client import DEADLINE, until
from tests.gateway.sessions.conftest import Rig

pytestmark = pytest.mark.rule("R27")
ANYWHERE = ("", "")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recorder.uploading._PATIENCE", wait_fixed(0.02))


async def eventually(look: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not await look():
            await asyncio.sleep(0.02)


async def listed(rig: Rig, who: str = "ada") -> list[Upload]:
    found, more = await rig.uploads.find(await rig.world.caller(who), ANYWHERE, 100)
    assert not more
    return found


async def told(rig: Rig, session_id: str) -> list[str]:
    return [each for each in await rig.world.events(session_id) if each.startswith("recording.")]


async def say_and_exit(rig: Rig) -> str:
    stay = await rig.stay()
    session_id = await stay.opened()
    rig.node().say(b"hello")
    rig.node().exits(Exited(0))
    await stay.over()
    await rig.ended(session_id)
    return session_id


def live(rig: Rig) -> Recording:
    (each,) = rig.watch.live
    assert each.recording is not None
    return each.recording


async def set_aside(rig: Rig) -> tuple[str, str]:
    """A session whose recording is in quarantine, and the name of the object that is in its way."""
    stay = await rig.stay()
    session_id = await stay.opened()
    recording = live(rig)
    rig.node().say(b"hello")
    name = segment_name(prefix_of(recording.session, recording.uploader.chain.head.started_at), 1, 0)
    strange = b"not what the spool holds"
    await rig.store.put_if_absent(name, strange, _sha256(strange))
    rig.node().exits(Exited(0))
    await stay.over()

    async def is_aside() -> bool:
        found = await rig.recording(session_id)
        return found is not None and found.status is RecordingStatus.QUARANTINED

    await eventually(is_aside)
    return session_id, name


async def test_a_store_that_is_away_and_comes_back(rig: Rig) -> None:
    rig.store.is_away = True
    session_id = await say_and_exit(rig)
    await eventually(lambda: failing(rig, session_id))
    (upload,) = await listed(rig)
    assert (upload.session_id, upload.status, upload.replica) == (session_id, RecordingStatus.UPLOADING, "r-1")
    assert (upload.user_id, upload.node_name) == ("alice", "web-1")
    assert (upload.stored, upload.waiting) == (0, 1)
    assert upload.spool_bytes > 0
    assert upload.failure == "the store is away"
    assert upload.waiting_since == upload.failing_since == upload.reported_at == rig.world.clock()
    assert upload.next_try_at is not None
    rig.store.is_away = False
    await rig.recorded(session_id)
    assert await listed(rig) == []
    assert await told(rig, session_id) == ["recording.upload_failed", "recording.completed"]


async def test_what_waits_shows_within_the_scopes_of_who_asks(rig: Rig) -> None:
    rig.store.is_away = True
    session_id = await say_and_exit(rig)
    await eventually(lambda: failing(rig, session_id))
    ada = await rig.world.caller("ada")
    for role in (Role.AUDITOR, Role.NODE_ADMINISTRATOR):
        for account, region, seen in (
            ("default", "default", [session_id]),
            ("*", "*", [session_id]),
            ("default", "elsewhere", []),
            ("elsewhere", "default", []),
        ):
            caller = replace(ada, grants=(RoleGrant("user", "ada", role, account, region),))
            found, more = await rig.uploads.find(caller, ANYWHERE, 100)
            assert ([each.session_id for each in found], more) == (seen, False), (role, account, region)
    assert await rig.uploads.find(replace(ada, grants=()), ANYWHERE, 100) == ([], False)
    rig.store.is_away = False
    await rig.recorded(session_id)


async def failing(rig: Rig, session_id: str) -> bool:
    return "recording.upload_failed" in await told(rig, session_id)


async def test_each_outage_is_told_once(rig: Rig) -> None:
    stay = await rig.stay()
    session_id = await stay.opened()
    for outage in range(1, 3):
        rig.store.is_away = True
        rig.node().say(b"hello")
        live(rig).hand_over()

        async def is_told(times: int = outage) -> bool:
            return (await told(rig, session_id)).count("recording.upload_failed") == times

        await eventually(is_told)
        # One that goes on shows while it makes no progress.
        await rig.uploads.look()
        (upload,) = await listed(rig)
        assert (upload.status, upload.stored, upload.waiting) == (RecordingStatus.RECORDING, outage - 1, 1)
        rig.store.is_away = False
        await until(lambda: live(rig).uploader.waiting == 0)
        assert await listed(rig) == []
    rig.node().exits(Exited(0))
    await stay.over()
    await rig.recorded(session_id)
    assert (await told(rig, session_id)).count("recording.upload_failed") == 2


async def test_what_another_gateway_has_shows_as_it_said_last(rig: Rig, world: World, tmp_path: Path) -> None:
    rig.store.is_away = True
    session_id = await say_and_exit(rig)
    await eventually(lambda: failing(rig, session_id))
    await rig.uploads.look()
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    other = Rig(world, folder, replica="r-2")
    async with other.running():
        (upload,) = await listed(other)
        assert (upload.session_id, upload.replica, upload.waiting) == (session_id, "r-1", 1)
    rig.store.is_away = False
    await rig.recorded(session_id)


async def test_what_a_dead_gateway_left_is_its_next_starts(rig: Rig, world: World, tmp_path: Path) -> None:
    rig.store.is_away = True
    session_id = await say_and_exit(rig)
    await eventually(lambda: failing(rig, session_id))
    await rig.die()
    await rig.recorder.stop(0)
    after = Rig(world, tmp_path, replica="r-3")
    after.store.is_away = True
    async with after.running():
        (upload,) = await listed(after)
        assert (upload.replica, upload.stored, upload.waiting, upload.failure) == (
            "r-3",
            0,
            1,
            "the store is away",
        )
        assert (await told(after, session_id)).count("recording.upload_failed") == 1
        after.store.is_away = False
        await after.recorder._recover()
        await after.recorded(session_id)
        assert await listed(after) == []


async def test_what_is_in_quarantine_blocks_no_other_and_is_tried_again_on_request(rig: Rig) -> None:
    session_id, name = await set_aside(rig)
    await rig.recorded(await say_and_exit(rig))
    (upload,) = await listed(rig)
    assert (upload.status, upload.replica) == (RecordingStatus.QUARANTINED, "r-1")
    assert "holds" in upload.failure or "segment" in upload.failure
    for _ in range(2):
        await rig.uploads.look()
    assert await told(rig, session_id) == ["recording.quarantined"]

    ada = await rig.world.caller("ada")
    administrator = replace(ada, grants=(RoleGrant("user", "ada", Role.ORGANIZATION_ADMINISTRATOR, "*", "*"),))
    nobody = replace(ada, grants=())
    for caller, kind, reason in (
        (nobody, Kind.NOT_FOUND, "RECORDING_NOT_FOUND"),
        (ada, Kind.PERMISSION_DENIED, "NOT_PERMITTED"),
    ):
        with pytest.raises(Refused) as refused:
            await rig.uploads.retry(caller, session_id)
        assert (refused.value.kind, refused.value.reason) == (kind, reason)
    # Not cured yet: it goes back into quarantine, and that is told.
    await rig.uploads.retry(administrator, session_id)
    (upload,) = await listed(rig)
    assert (upload.status, upload.is_retried) == (RecordingStatus.UPLOADING, True)
    await rig.uploads._try_again()
    (upload,) = await listed(rig)
    assert (upload.status, upload.is_retried) == (RecordingStatus.QUARANTINED, False)
    await rig.store.delete(name)
    await rig.uploads.retry(administrator, session_id)
    await rig.uploads._try_again()
    assert (await rig.recorded(session_id)).output_bytes == 5
    assert await listed(rig) == []
    assert await told(rig, session_id) == [
        "recording.quarantined",
        "recording.retried",
        "recording.quarantined",
        "recording.retried",
        "recording.completed",
    ]
    with pytest.raises(Refused) as refused:
        await rig.uploads.retry(administrator, session_id)
    assert refused.value.reason == "NOT_QUARANTINED"


async def test_a_quarantine_that_the_database_did_not_hear_of(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def deaf(spool: Quarantined) -> None:
        raise OSError("the database is away")

    monkeypatch.setattr(rig.index, "quarantined", deaf)
    stay = await rig.stay()
    session_id = await stay.opened()
    rig.node().say(b"hello")
    recording = live(rig)
    name = segment_name(prefix_of(recording.session, recording.uploader.chain.head.started_at), 1, 0)
    await rig.store.put_if_absent(name, b"strange", _sha256(b"strange"))
    rig.node().exits(Exited(0))
    await stay.over()
    await until(lambda: list((rig.folder / "spool").glob("quarantine/*/reason.txt")))
    assert await told(rig, session_id) == []
    monkeypatch.undo()
    await rig.uploads.look()
    assert await told(rig, session_id) == ["recording.quarantined"]


async def test_a_retry_that_was_killed_half_way(rig: Rig, world: World, tmp_path: Path) -> None:
    session_id, name = await set_aside(rig)
    ada = await rig.world.caller("ada")
    administrator = replace(ada, grants=(RoleGrant("user", "ada", Role.ORGANIZATION_ADMINISTRATOR, "*", "*"),))
    await rig.uploads.retry(administrator, session_id)
    await rig.store.delete(name)
    # Killed after the spool was moved back, before anything else.
    (aside,) = (rig.folder / "spool" / "quarantine").iterdir()
    back = rig.folder / "spool" / "w-0000000000000000"
    back.mkdir()
    aside.rename(back / session_id)
    await rig.die()
    after = Rig(world, tmp_path, replica="r-3")
    async with after.running():
        await after.recorded(session_id)
        await after.uploads._try_again()
        assert await listed(after) == []
    assert (await told(after, session_id))[-1] == "recording.completed"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
