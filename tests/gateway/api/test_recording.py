"""RecordingService over a real gRPC server: real recordings, real objects in a folder."""

import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from sqlalchemy import select

from gateway.api.interceptor import Guard
from gateway.api.permissions import required_permissions
from gateway.api.recording import CHUNK_BYTES, RecordingService
from gateway.identity.caller import Caller
from gateway.identity.model import Role, RoleGrant
from gateway.nodes.ports import Exited, UpstreamKind
from gateway.sessions.inventory import Inventories
from gateway.store import tables
from jitgate.v1 import recording_pb2 as pb
from jitgate.v1.common_pb2 import PageRequest, Scope
from jitgate.v1.recording_pb2_grpc import RecordingServiceStub, add_RecordingServiceServicer_to_server
from policy.model import PolicyKind
from recorder.manifest import check_manifest
from recorder.model import Quarantined
from recorder.object_stores.local_folder import LocalFolder
from recorder.verification import verify
from tests.gateway.access.world import AUTO, WEB, World
from tests.gateway.sessions.client import data, eof, resize, until
from tests.gateway.sessions.conftest import Rig


@dataclass
class Shelf:
    """A library behind a server; `who` is whom the certificate would prove."""

    rig: Rig
    stub: Any
    who: str = "ada"

    async def authenticate(self, certificate: bytes, address: str) -> Caller:
        return await self.rig.world.caller(self.who)

    async def record(self, output: bytes = b"hello\r\n", **more: Any) -> str:
        """A finished session of alice's that was recorded; its id."""
        stay = await self.rig.stay(credit=8 << 20, **more)
        session_id = await stay.opened()
        node = self.rig.node()
        stay.client.say(resize(100, 40), data(b"secret words\n"), eof())
        await until(lambda: node.eof)
        for at in range(0, len(output), 200_000):
            node.say(output[at : at + 200_000])
        node.say(b"warning\n", stderr=True)
        node.exits(Exited(2))
        await stay.over()
        await self.rig.recorded(session_id)
        return session_id

    async def export(self, session_id: str, form: "pb.ExportFormat.ValueType") -> bytes:
        call = self.stub.ExportRecording(pb.ExportRecordingRequest(session_id=session_id, format=form))
        return b"".join([message.chunk async for message in call])

    async def events(self, session_id: str, start: float = 0) -> list[pb.RecordedEvent]:
        begin = Duration()
        begin.FromMicroseconds(int(start * 1e6))
        call = self.stub.PlayRecording(pb.PlayRecordingRequest(session_id=session_id, start=begin))
        return [event async for message in call for event in message.events]

    def objects(self) -> list[Path]:
        return sorted(path for path in (self.rig.folder / "objects").rglob("*.seg"))


@pytest.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[Shelf]:
    world = World(tmp_path)
    await world.build()
    await world.put(PolicyKind.AUTO, AUTO)
    rig = Rig(world, tmp_path)
    await rig.prefer()
    shelf = Shelf(rig, None)
    required = required_permissions([pb.DESCRIPTOR.services_by_name["RecordingService"]])
    server = grpc.aio.server(interceptors=(Guard(required, shelf.authenticate),))
    inventories = Inventories(world.database, rig.signer, world.clock)
    add_RecordingServiceServicer_to_server(RecordingService(rig.library, inventories, rig.deletions), server)
    port = server.add_insecure_port("127.0.0.1:0")
    async with rig.running():
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            shelf.stub = RecordingServiceStub(channel)
            yield shelf
        await server.stop(1)
    await world.database.close()


async def opened(shelf: Shelf, session_id: str) -> list[tuple[str, bool]]:
    """What was played and exported of a session, and whether what was typed was in it, as the audit log has it."""
    async with shelf.rig.world.database.read() as connection:
        query = select(tables.events.c.type, tables.events.c.details).order_by(tables.events.c.sequence)
        rows = await connection.execute(query.where(tables.events.c.subject == session_id))
        return [(row.type, row.details["input_content"]) for row in rows if "input_content" in row.details]


def refusal(error: grpc.aio.AioRpcError) -> tuple[grpc.StatusCode, str]:
    details = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    assert isinstance(details, bytes)
    info = ErrorInfo()
    assert Status.FromString(details).details[0].Unpack(info)
    return error.code(), info.reason


@pytest.mark.rule("R27")
async def test_a_recording_is_listed_played_exported_and_all_of_it_is_told(shelf: Shelf) -> None:
    session_id = await shelf.record(kind=UpstreamKind.EXEC, command="make")
    (listed,) = (await shelf.stub.ListRecordings(pb.ListRecordingsRequest(node="web-1"))).recordings
    assert (listed.session_id, listed.user_id, listed.node_id, listed.status) == (
        session_id,
        "alice",
        WEB,
        pb.RECORDING_STATUS_COMPLETE,
    )
    assert (listed.output_bytes, listed.input_bytes, listed.gaps) == (15, 13, 0)
    assert listed.stored_bytes > 0

    events = await shelf.events(session_id)
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds == ["resize", "input_length", "output", "error_output", "exit"]
    assert events[2].output == b"hello\r\n"
    assert events[1].input_length == 13
    assert events[4].exit == "status 2"

    lines = (await shelf.export(session_id, pb.EXPORT_FORMAT_ASCIICAST_V2)).decode().splitlines()
    assert json.loads(lines[0])["version"] == 2
    assert "hello" in (await shelf.export(session_id, pb.EXPORT_FORMAT_TEXT)).decode()
    assert await shelf.export(session_id, pb.EXPORT_FORMAT_RAW) == b"hello\r\n"
    assert b"secret" not in b"".join(path.read_bytes() for path in shelf.objects())
    told = await shelf.rig.world.events(session_id)
    assert told.count("recording.played") == 1
    assert told.count("recording.exported") == 3
    assert await shelf.rig.world.events("recordings") == ["recording.listed"]


async def test_a_large_recording_in_messages_of_bounded_size(shelf: Shelf) -> None:
    output = bytes(range(256)) * 8000
    session_id = await shelf.record(output)
    call = shelf.stub.ExportRecording(
        pb.ExportRecordingRequest(session_id=session_id, format=pb.EXPORT_FORMAT_RAW)
    )
    chunks = [message.chunk async for message in call]
    assert b"".join(chunks) == output
    assert max(map(len, chunks)) <= CHUNK_BYTES
    assert len(chunks) < 12
    call = shelf.stub.PlayRecording(pb.PlayRecordingRequest(session_id=session_id))
    sizes = [sum(len(event.output) for event in message.events) async for message in call]
    assert sum(sizes) == len(output)
    assert max(sizes) <= CHUNK_BYTES


async def test_playing_from_a_moment_begins_with_the_terminals_size(shelf: Shelf) -> None:
    session_id = await shelf.record()
    everything = await shelf.events(session_id)
    last = everything[-1].at.ToMicroseconds() / 1e6
    late = await shelf.events(session_id, last)
    assert (late[0].resize.columns, late[0].resize.rows) == (100, 40)
    assert late[-1].exit == "status 2"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await shelf.events(session_id, -1)
    assert refusal(caught.value) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")


@pytest.mark.rule("R27")
async def test_typed_content_shows_only_where_asked_for_and_allowed(shelf: Shelf) -> None:
    await shelf.rig.prefer(record_input_content=True)
    session_id = await shelf.record()

    async def typed() -> tuple[list[bytes], list[int], bool]:
        shown = await shelf.events(session_id)
        exported = await shelf.export(session_id, pb.EXPORT_FORMAT_ASCIICAST_V2)
        contents = [event.input for event in shown if event.HasField("input")]
        lengths = [event.input_length for event in shown if event.HasField("input_length")]
        return contents, lengths, b"secret words" in exported

    # An auditor who may export sees lengths; so does one whose second role is of another Region.
    await shelf.rig.world.grant(RoleGrant("user", "ada", Role.INPUT_READER, "default", "elsewhere"))
    assert await typed() == ([], [13], False)
    assert await opened(shelf, session_id) == [("recording.played", False), ("recording.exported", False)]

    await shelf.rig.world.grant(RoleGrant("user", "ada", Role.INPUT_READER))
    assert await typed() == ([b"secret words\n"], [], True)
    assert (await opened(shelf, session_id))[2:] == [("recording.played", True), ("recording.exported", True)]

    # The role alone opens nothing.
    await shelf.rig.world.grant(RoleGrant("user", "mallory", Role.INPUT_READER))
    shelf.who = "mallory"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await shelf.events(session_id)
    assert refusal(caught.value) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_PERMITTED")


@pytest.mark.rule("R27")
async def test_who_looks_at_a_recording_without_playing_it_is_told_too(shelf: Shelf) -> None:
    session_id = await shelf.record()
    before = await shelf.rig.world.events(session_id)
    await shelf.stub.GetRecording(pb.GetRecordingRequest(session_id=session_id))
    async for _ in shelf.stub.DownloadRecording(pb.DownloadRecordingRequest(session_id=session_id)):
        pass
    await shelf.stub.VerifyRecording(pb.VerifyRecordingRequest(session_id=session_id))
    told = await shelf.rig.world.events(session_id)
    assert told[len(before) :] == ["recording.shown", "recording.downloaded", "recording.verified"]


@pytest.mark.rule("R27")
@pytest.mark.rule("R32")
async def test_others_find_no_recording(shelf: Shelf) -> None:
    session_id = await shelf.record()
    await shelf.rig.world.grant(RoleGrant("user", "mallory", Role.AUDITOR, "other", "default"))
    before = await shelf.rig.world.events(session_id)
    for who, expected in (
        ("alice", (grpc.StatusCode.PERMISSION_DENIED, "NOT_PERMITTED")),
        ("root", (grpc.StatusCode.PERMISSION_DENIED, "NOT_PERMITTED")),
        ("mallory", (grpc.StatusCode.NOT_FOUND, "RECORDING_NOT_FOUND")),
    ):
        shelf.who = who
        for attempt in (
            lambda: shelf.events(session_id),
            lambda: shelf.export(session_id, pb.EXPORT_FORMAT_RAW),
            lambda: shelf.stub.GetRecording(pb.GetRecordingRequest(session_id=session_id)),
            lambda: shelf.stub.VerifyRecording(pb.VerifyRecordingRequest(session_id=session_id)),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await attempt()
            assert refusal(caught.value) == expected
    assert not (await shelf.stub.ListRecordings(pb.ListRecordingsRequest())).recordings
    assert await shelf.rig.world.events(session_id) == before


async def test_what_is_not_finished_says_so(shelf: Shelf) -> None:
    stay = await shelf.rig.stay()
    session_id = await stay.opened()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await shelf.events(session_id)
    assert refusal(caught.value) == (grpc.StatusCode.FAILED_PRECONDITION, "STILL_RECORDING")
    assert "still being recorded" in str(caught.value.details())
    got = await shelf.stub.GetRecording(pb.GetRecordingRequest(session_id=session_id))
    assert got.recording.status == pb.RECORDING_STATUS_RECORDING
    assert got.manifest == b""
    await shelf.rig.index.waiting(session_id, "the object store is away", 30)
    got = await shelf.stub.GetRecording(pb.GetRecordingRequest(session_id=session_id))
    assert got.recording.status_reason == "the object store is away"
    await shelf.rig.index.quarantined(Quarantined(session_id, "/spool/quarantine/x", "the spool is damaged"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await shelf.export(session_id, pb.EXPORT_FORMAT_RAW)
    assert refusal(caught.value) == (grpc.StatusCode.FAILED_PRECONDITION, "RECORDING_QUARANTINED")
    assert "the spool is damaged" in str(caught.value.details())
    assert "recording.quarantined" in await shelf.rig.world.events(session_id)


async def test_a_recording_of_a_session_that_nobody_knows_is_left_alone(shelf: Shelf) -> None:
    before = await shelf.rig.world.rows()
    await shelf.rig.index.quarantined(Quarantined(f"s-{7:020x}", "/spool/quarantine/x", "why"))
    await shelf.rig.index.waiting(f"s-{7:020x}", "why", 30)
    assert await shelf.rig.world.rows() == before


@pytest.mark.rule("R27")
async def test_a_download_verifies_offline(shelf: Shelf, tmp_path: Path) -> None:
    session_id = await shelf.record(bytes(range(256)) * 4000)
    files: dict[str, bytes] = {}
    name = ""
    async for message in shelf.stub.DownloadRecording(pb.DownloadRecordingRequest(session_id=session_id)):
        name = message.name or name
        assert "/" not in name
        files[name] = files.get(name, b"") + message.chunk
    folder = tmp_path / "evidence"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    manifest = next(content for name, content in files.items() if name.startswith("manifest"))
    keys = [shelf.rig.signer.public_key]
    assert check_manifest(manifest, keys).session.session_id == session_id
    assert (await verify(manifest, LocalFolder(folder), keys, prefix="")).intact
    got = await shelf.stub.GetRecording(pb.GetRecordingRequest(session_id=session_id))
    assert got.manifest == manifest


@pytest.mark.rule("R27")
async def test_verify_on_the_wire_and_a_tampered_byte(shelf: Shelf) -> None:
    session_id = await shelf.record()
    request = pb.VerifyRecordingRequest(session_id=session_id)
    verified = await shelf.stub.VerifyRecording(request)
    assert verified.intact
    assert not verified.problems
    assert verified.signing_key_id == shelf.rig.signer.key_id
    assert isinstance(load_pem_public_key(verified.public_key.encode()), Ed25519PublicKey)
    (segment,) = shelf.objects()
    content = bytearray(segment.read_bytes())
    content[-1] ^= 1
    segment.chmod(0o600)
    segment.write_bytes(content)
    verified = await shelf.stub.VerifyRecording(request)
    assert not verified.intact
    assert any(segment.name in problem for problem in verified.problems)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await shelf.events(session_id)
    assert refusal(caught.value) == (grpc.StatusCode.FAILED_PRECONDITION, "RECORDING_DAMAGED")


@pytest.mark.rule("R27")
async def test_a_manifest_that_was_exchanged_or_deleted_is_found(shelf: Shelf) -> None:
    first, second = await shelf.record(), await shelf.record(b"other\n")
    manifests = {path.parent.name: path for path in (shelf.rig.folder / "objects").rglob("manifest-*.json")}
    request = pb.VerifyRecordingRequest(session_id=first)
    manifests[first].chmod(0o600)
    shutil.copyfile(manifests[second], manifests[first])
    verified = await shelf.stub.VerifyRecording(request)
    assert not verified.intact
    assert any("not the manifest that the gateway knows" in problem for problem in verified.problems)
    manifests[first].unlink()
    verified = await shelf.stub.VerifyRecording(request)
    assert verified.problems == [
        problem for problem in verified.problems if "missing" in problem and "manifest" in problem
    ]
    assert not verified.intact
    # Playing goes by the gateway's own copy, so both still play as what they are.
    assert [event.output for event in await shelf.events(first) if event.output] == [b"hello\r\n"]


async def test_pages_and_filters(shelf: Shelf) -> None:
    ids = {await shelf.record() for _ in range(3)}
    found: list[str] = []
    token = ""
    while True:
        page = await shelf.stub.ListRecordings(
            pb.ListRecordingsRequest(page=PageRequest(size=2, token=token), user_id="alice")
        )
        found += [recording.session_id for recording in page.recordings]
        token = page.next_page_token
        if not token:
            break
    assert len(found) == 3
    assert set(found) == ids
    requests: dict[str, set[str]] = {}
    for one in (await shelf.stub.ListRecordings(pb.ListRecordingsRequest())).recordings:
        requests.setdefault(one.access_request_id, set()).add(one.session_id)
    assert len(requests) > 1
    for request_id, theirs in requests.items():
        listed = await shelf.stub.ListRecordings(pb.ListRecordingsRequest(access_request_id=request_id))
        assert {one.session_id for one in listed.recordings} == theirs
    for empty in (
        pb.ListRecordingsRequest(user_id="bob"),
        pb.ListRecordingsRequest(node="db-1"),
        pb.ListRecordingsRequest(access_request_id="oi-000000000000"),
        pb.ListRecordingsRequest(scope=Scope(account="other")),
    ):
        assert not (await shelf.stub.ListRecordings(empty)).recordings


async def test_a_format_that_is_none(shelf: Shelf) -> None:
    session_id = await shelf.record()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await shelf.export(session_id, pb.EXPORT_FORMAT_UNSPECIFIED)
    assert refusal(caught.value) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
