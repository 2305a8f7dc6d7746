"""The signed inventory of recordings over a real gRPC server, and what it is good for."""

import hashlib
from pathlib import Path

import grpc
import pytest

from gateway.identity.model import Role, RoleGrant
from jitgate.v1 import recording_pb2 as pb
from jitgate.v1.common_pb2 import Scope
from recorder.comparison import Verdict
from recorder.errors import KeyUnavailable
from recorder.inventory import Deletion, Inventory, check_inventory
from recorder.offline import check
from tests.gateway.api.test_recording import Shelf, refusal, shelf

__all__ = ["shelf"]


async def taken(shelf: Shelf, **narrowed: str) -> Inventory:
    request = (
        pb.InventoryRecordingsRequest(scope=Scope(**narrowed)) if narrowed else pb.InventoryRecordingsRequest()
    )
    data = b"".join([answer.chunk async for answer in shelf.stub.InventoryRecordings(request)])
    return check_inventory(data, [shelf.rig.signer.public_key])


@pytest.mark.rule("R27")
async def test_an_inventory_lists_what_is_complete_and_what_is_not_yet(shelf: Shelf) -> None:
    complete = await shelf.record()
    stay = await shelf.rig.stay()
    live = await stay.opened()
    inventory = await taken(shelf)
    listed = {entry.session_id: entry for entry in inventory.recordings}  # of the same moment in no order of ours
    assert listed.keys() == {complete, live}
    first, second = listed[complete], listed[live]
    manifest = next((shelf.rig.folder / "objects").rglob("manifest-*.json"))
    assert (first.status, second.status) == ("complete", "recording")
    assert first.folder == manifest.parent.relative_to(shelf.rig.folder / "objects").as_posix() + "/"
    assert first.manifest_sha256 == hashlib.sha256(manifest.read_bytes()).hexdigest()
    assert (second.folder, second.manifest_sha256) == (None, None)
    assert await shelf.rig.world.events("recordings") == ["recording.inventoried"]


@pytest.mark.rule("R27")
async def test_a_store_is_checked_against_it_and_what_is_gone_is_missed(shelf: Shelf) -> None:
    session_id = await shelf.record()
    inventory = await taken(shelf)
    objects: Path = shelf.rig.folder / "objects"
    keys = [shelf.rig.signer.public_key]
    assert [each.verdict for each in await check(objects, keys, inventory)] == [Verdict.INTACT]
    for path in [*objects.rglob("*.*")]:
        path.unlink()
    for path in sorted(objects.rglob("*"), reverse=True):
        path.rmdir()
    (gone,) = await check(objects, keys, inventory)
    assert (gone.session_id, gone.verdict) == (session_id, Verdict.MISSING)


@pytest.mark.rule("R27")
async def test_what_was_deleted_is_told_and_not_missed(shelf: Shelf) -> None:
    session_id = await shelf.record()
    (before,) = (await taken(shelf)).recordings
    rig = shelf.rig
    await rig.deletions.delete(await rig.world.caller("root"), session_id, "a customer asked")
    (going,) = (await taken(shelf)).recordings
    assert (going.status, going.manifest_sha256, going.deletion) == ("deleting", None, None)
    assert await rig.deletions.sweep() == 1
    inventory = await taken(shelf)
    (entry,) = inventory.recordings
    assert (entry.status, entry.folder, entry.manifest_sha256) == ("deleted", None, before.manifest_sha256)
    assert entry.deletion == Deletion(rig.world.clock(), "root", "a customer asked")
    (gone,) = await check(rig.folder / "objects", [rig.signer.public_key], inventory)
    assert (gone.session_id, gone.verdict, gone.passed) == (session_id, Verdict.DELETED, True)


@pytest.mark.rule("R27")
@pytest.mark.rule("R32")
async def test_it_holds_what_the_caller_may_see_and_says_so(shelf: Shelf) -> None:
    await shelf.record()
    await shelf.rig.world.grant(RoleGrant("user", "mallory", Role.AUDITOR, "other", "default"))
    assert len((await taken(shelf, account="default", region="default")).recordings) == 1
    elsewhere = await taken(shelf, account="other")
    assert elsewhere.recordings == ()
    shelf.who = "mallory"
    theirs = await taken(shelf)
    assert [(scope.account, scope.region) for scope in theirs.scopes] == [("other", "default")]
    assert theirs.recordings == ()
    nothing = await taken(shelf, account="default")
    assert (nothing.scopes, nothing.recordings) == ((), ())
    before = await shelf.rig.world.rows()
    shelf.who = "alice"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await taken(shelf)
    assert refusal(caught.value) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_PERMITTED")
    assert await shelf.rig.world.rows() == before


async def test_without_the_key_there_is_none(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(self: object, message: bytes) -> bytes:
        raise KeyUnavailable("KMS does not answer")

    monkeypatch.setattr(type(shelf.rig.signer), "sign", away)
    before = await shelf.rig.world.rows()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await taken(shelf)
    assert refusal(caught.value) == (grpc.StatusCode.UNAVAILABLE, "KEY_UNAVAILABLE")
    assert await shelf.rig.world.rows() == before


async def test_one_that_nobody_could_read_is_not_made(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.sessions.inventory.MAX_BYTES", 100)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await taken(shelf)
    assert refusal(caught.value) == (grpc.StatusCode.FAILED_PRECONDITION, "INVENTORY_TOO_LARGE")
