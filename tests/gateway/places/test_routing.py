"""Recordings of accounts in buckets, under keys and in roles of their own, found again by their sessions' rows."""

import asyncio
import dataclasses
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs

import pytest
import structlog
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from gateway.nodes.ports import UpstreamKind
from gateway.places import keys_told
from gateway.places.keys_told import KeysTold
from gateway.places.model import Allowance, AllowanceKind, Place
from gateway.places.pool import Opened, Pool
from gateway.places.routing import PlacedKeys, PlacedStore, Places
from gateway.sessions.model import Session
from gateway.store import allowances, events, recording_places, sessions, tables
from gateway.store.database import Database
from recorder.errors import KeyRefused, KeyUnavailable, RecordingFailed, StoreUnavailable, UnfitStore
from recorder.key_providers.local_file import LocalKeyFile
from recorder.model import Event, Kind, SessionInfo, encryption_context, manifest_name, prefix_of
from recorder.object_stores.local_folder import LocalFolder
from recorder.playback import Playback
from recorder.service import Recorder
from recorder.signing import LocalSigner
from recorder.verification import Opening, verify
from tests.aws.making import TWICE, kms_client, new_bucket, new_key, s3_client
from tests.aws.servers import ENVIRONMENT, REGION
from tests.aws.trouble import Answer, Call, Troubled, kms_error, none, sts_error, troubled
from tests.gateway.places.examples import OWNER, PLAYBACK, WRITER

pytestmark = pytest.mark.rule("R26")
STARTED = datetime(2026, 3, 2, 9, tzinfo=UTC)
LONGEST_LOCK_DAYS = 400
SHOP, OWN = "s-" + "a" * 20, "s-" + "b" * 20


@pytest.fixture(scope="module")
def cloud(moto: str) -> Iterator[Troubled]:
    """Every service behind one address, found as AWS's tools find another endpoint."""
    with pytest.MonkeyPatch.context() as patch, troubled(moto) as proxy:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        for service in ("S3", "KMS", "STS"):
            patch.setenv(f"AWS_ENDPOINT_URL_{service}", proxy.url)
        yield proxy


class World:
    """A database with sessions, the gateway's own store and key on this disk, and a pool over the cloud."""

    def __init__(self, folder: Path, cloud: Troubled) -> None:
        self.folder = folder
        self.cloud = cloud
        self.database = Database(f"sqlite:///{folder}/jitgate.db")
        self.own = Opened(LocalFolder(folder / "objects"), LocalKeyFile.create(folder / "keys"))
        self.pool = Pool(self.own, longest_lock_days=LONGEST_LOCK_DAYS, store_patience=TWICE, key_patience=TWICE)
        self.places = Places(self.database, self.pool)
        self.store, self.keys = (
            PlacedStore(self.places),
            PlacedKeys(self.places, KeysTold(self.database, lambda: STARTED)),
        )
        self.signer = LocalSigner.create(folder / "signing.pem")

    def recorder(self) -> Recorder:
        return Recorder(self.folder / "spool", self.store, self.keys, self.signer, clock=lambda: STARTED)

    async def build(self) -> None:
        async with self.database.transaction() as tx:
            await tx.connection.run_sync(tables.metadata.create_all)

    async def place(self, account: str = "shop", **changes: object) -> Place:
        """A place with a bucket and a key that nobody else has."""
        async with s3_client(self.cloud.url) as s3, kms_client(self.cloud.url) as kms:
            bucket = await new_bucket(s3, ObjectLockEnabledForBucket=True)
            key = await new_key(kms)
        place = Place(
            account=account,
            bucket=bucket,
            owner=OWNER,
            bucket_region=REGION,
            key=key,
            role=WRITER,
            external_id="from-jitgate",
            playback_role=PLAYBACK,
        )
        return dataclasses.replace(place, **changes)  # type: ignore[arg-type]  # the test names the fields

    async def begin(self, session_id: str, place: Place | None, account: str = "shop") -> SessionInfo:
        """A session with its row, as admission leaves it."""
        info = SessionInfo(session_id, "oi-0123456789ab", "alice", "i-0123456789abcdef0", account=account)
        session = Session(
            id=session_id,
            request_id=info.request_id,
            account=account,
            region="default",
            user_id=info.user,
            node_id=info.node,
            node_name="web-1",
            login="deploy",
            kind=UpstreamKind.SHELL,
            command="",
            source_address="192.0.2.1",
            replica="r",
            started_at=STARTED,
            ends_at=STARTED,
        )
        async with self.database.transaction() as tx:
            await sessions.add(tx.connection, session)
            if place is not None:
                await recording_places.add(tx.connection, session_id, place)
        return info


@pytest.fixture
async def world(tmp_path: Path, cloud: Troubled) -> AsyncIterator[World]:
    made = World(tmp_path, cloud)
    await made.build()
    cloud.calls.clear()
    yield made
    cloud.trouble = none
    await made.pool.close()
    await made.database.close()


def name_of(info: SessionInfo, name: str = "0001-000000.seg") -> str:
    return prefix_of(info, STARTED) + name


async def put(world: World, name: str, data: bytes = b"sealed") -> None:
    assert (await world.store.put_if_absent(name, data, hashlib.sha256(data).hexdigest())).created


def actor(call: Call) -> str:
    return call.headers.get("authorization", "").partition("Credential=")[2].partition("/")[0]


def output_of(events: list[Event]) -> bytes:
    return b"".join(event.payload for event in events if event.kind is Kind.OUTPUT)


async def test_each_session_is_where_its_row_says_in_the_roles_of_its_account(world: World) -> None:
    place = await world.place()
    shop, own = await world.begin(SHOP, place), await world.begin(OWN, None)
    world.cloud.calls.clear()
    for info in (shop, own):
        await put(world, name_of(info))
        assert await world.store.get(name_of(info)) == b"sealed"
        assert await world.store.get_range(name_of(info), 2, 2) == b"al"
        found = [each.name async for each in world.store.list(prefix_of(info, STARTED))]
        assert found == [name_of(info)]
    assert [path.name for path in (world.folder / "objects").rglob("*.seg")] == ["0001-000000.seg"]
    on_s3 = [call for call in world.cloud.calls if call.path.startswith(f"/{place.bucket}")]
    assert {call.headers.get("x-amz-expected-bucket-owner") for call in on_s3} == {OWNER}
    assert ENVIRONMENT["AWS_ACCESS_KEY_ID"] not in {actor(call) for call in on_s3}
    assumed = [parse_qs(call.body.decode()) for call in world.cloud.calls if b"AssumeRole" in call.body]
    assert {(body["RoleArn"][0], body["RoleSessionName"][0], body["ExternalId"][0]) for body in assumed} == {
        (WRITER, "jitgate-shop", "from-jitgate")
    }
    await world.store.delete(name_of(own))
    assert [each.name async for each in world.store.list("shop/")] == [name_of(shop)]


async def test_data_keys_are_made_by_the_writer_and_opened_by_playback(world: World) -> None:
    place = await world.place()
    shop = encryption_context(await world.begin(SHOP, place))
    own = encryption_context(await world.begin(OWN, None))
    made, local = await world.keys.generate_data_key(shop), await world.keys.generate_data_key(own)
    assert (made.provider, local.provider) == ("aws-kms", "local-file")
    assert await world.keys.unwrap(made.wrapped, shop) == made.plaintext
    assert await world.keys.unwrap(local.wrapped, own) == local.plaintext
    acted = {
        call.operation: actor(call)
        for call in world.cloud.calls
        if call.operation in {"GenerateDataKey", "Decrypt"}
    }
    assert acted["GenerateDataKey"] != acted["Decrypt"]
    for wrapped, context in ((made.wrapped, own), (local.wrapped, shop)):
        with pytest.raises(KeyRefused):
            await world.keys.unwrap(wrapped, context)


async def test_recordings_are_made_recovered_played_and_verified_in_their_places(world: World) -> None:
    """Two accounts and the gateway's own; each data key serves one session."""
    there = {SHOP: await world.place(), "s-" + "c" * 20: await world.place("bank"), OWN: None}
    infos = {
        name: await world.begin(name, place, place.account if place else "home") for name, place in there.items()
    }
    first = world.recorder()
    await first.start()
    for info in infos.values():
        (await first.open(info)).output(info.session_id.encode(), 0)
    for recording in first._live.values():
        recording.abandon()  # as by kill -9
    await first.stop()
    second = world.recorder()
    recovery = await second.start()
    assert {each.session.session_id for each in recovery.finished} == set(infos)
    wrapped = set()
    for manifest in recovery.finished:
        info = infos[manifest.session.session_id]
        context = encryption_context(info)
        playback = await Playback.open(manifest, world.store, world.keys, context)
        assert output_of([each async for each in playback.events()]) == info.session_id.encode()
        data = await world.store.get(manifest_name(manifest.prefix))
        public_key = world.signer.public_key
        assert (await verify(data, world.store, [public_key], opening=Opening(world.keys, context))).intact
        wrapped.add(manifest.epochs[0].wrapped_key)
    assert len(wrapped) == len(infos)
    await second.stop()
    async with s3_client(world.cloud.url) as client:
        for name, place in there.items():
            if place is not None:
                page = await client.call("list_objects_v2", Bucket=place.bucket, Prefix=place.account)
                assert len(page["Contents"]) == 2
                assert all(name in each["Key"] for each in page["Contents"])
    assert all(OWN in str(path) for path in (world.folder / "objects").rglob("*.*"))
    listed = [each.name async for each in world.store.list("")]
    assert listed == sorted(listed)
    assert len(listed) == 2 * len(there)


async def test_two_places_in_one_bucket_list_each_object_once(world: World) -> None:
    place = await world.place()
    shop = await world.begin(SHOP, place)
    await world.begin(OWN, dataclasses.replace(place, retention_mode="governance", retention_days=1))
    await put(world, name_of(shop))
    assert [each.name async for each in world.store.list("shop/")] == [name_of(shop)]


async def test_retention_goes_with_each_object_also_in_the_gateways_own_bucket(world: World) -> None:
    place = await world.place(retention_mode="compliance", retention_days=400)
    shop = await world.begin(SHOP, place)
    await put(world, name_of(shop))
    async with s3_client(world.cloud.url) as client:
        kept = await client.call("head_object", Bucket=place.bucket, Key=name_of(shop))
    assert kept["ObjectLockMode"] == "COMPLIANCE"
    local = Place(account="shop", retention_mode="governance", retention_days=1)
    with pytest.raises(UnfitStore, match="needs a bucket"):
        await world.pool.examine(local)
    async with world.pool.using(dataclasses.replace(place, retention_mode="", retention_days=0)) as own:
        pool = Pool(own, longest_lock_days=LONGEST_LOCK_DAYS)
        async with pool.using(local) as opened:
            data = b"kept"
            await opened.store.put_if_absent("a", data, hashlib.sha256(data).hexdigest())
    async with s3_client(world.cloud.url) as client:
        assert (await client.call("head_object", Bucket=place.bucket, Key="a"))["ObjectLockMode"] == "GOVERNANCE"


@pytest.mark.parametrize(
    ("mode", "chosen", "days"), [("compliance", 36500, 400), ("governance", 401, 400), ("compliance", 399, 399)]
)
async def test_a_place_from_before_the_bound_takes_all_it_is_given_under_a_shorter_lock(
    world: World, mode: str, chosen: int, days: int
) -> None:
    shop = await world.begin(SHOP, await world.place(retention_mode=mode, retention_days=chosen))
    with structlog.testing.capture_logs() as logged:
        for name in ("0001-000000.seg", "0001-000001.seg"):
            await put(world, name_of(shop, name))
    place = await world.places.of(SHOP)
    assert place is not None
    assert place.retention_days == chosen  # a place never changes
    async with s3_client(world.cloud.url) as client:
        kept = await client.call("head_object", Bucket=place.bucket, Key=name_of(shop, "0001-000001.seg"))
    assert kept["ObjectLockMode"] == mode.upper()
    assert (kept["ObjectLockRetainUntilDate"] - kept["LastModified"]).total_seconds() == pytest.approx(
        days * 86400, abs=600
    )
    told = [(each["chosen_days"], each["days"]) for each in logged if each["event"].endswith("lock_shortened")]
    assert told == ([(chosen, days)] if chosen > days else [])  # once, not with each object


async def test_a_place_is_examined_as_recordings_will_use_it(world: World) -> None:
    place = await world.place(retention_mode="governance", retention_days=1)
    await world.pool.examine(place)
    async with s3_client(world.cloud.url) as client:
        without_lock = await new_bucket(client)
    with pytest.raises(UnfitStore, match="put-object-lock-configuration"):
        await world.pool.examine(dataclasses.replace(place, bucket=without_lock))
    with pytest.raises(StoreUnavailable, match="no such bucket"):
        await world.pool.examine(dataclasses.replace(place, bucket="nowhere-at-all", retention_mode=""))
    with pytest.raises(KeyRefused, match="no such key"):
        await world.pool.examine(dataclasses.replace(place, key=place.key[:-12] + "0" * 12))

    def closed(call: Call, ask: Callable[[], Answer]) -> Answer:
        said = "User is not authorized to perform: sts:AssumeRole"
        return sts_error("AccessDenied", said) if b"AssumeRole" in call.body else ask()

    world.cloud.trouble = closed
    with pytest.raises((StoreUnavailable, KeyUnavailable), match="sts:AssumeRole"):
        await world.pool.examine(dataclasses.replace(place, role=WRITER + "-2"))


async def test_a_key_that_fails_is_told_once_and_counted_each_time_and_so_is_its_return(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    counter = metrics.get_meter("test", meter_provider=provider).create_counter("keys")
    monkeypatch.setattr(keys_told, "_counter", counter)
    place = await world.place()
    shop = encryption_context(await world.begin(SHOP, place))

    async def turns(code: str, problem: str) -> None:
        world.cloud.trouble = lambda call, ask: kms_error(code) if call.operation else ask()
        for _ in range(2):
            with pytest.raises(KeyUnavailable) as caught:
                await world.keys.generate_data_key(shop)
            assert caught.value.problem == problem

    await turns("DisabledException", "disabled")
    await turns("ThrottlingException", "throttled")
    await turns("KMSInvalidStateException", "unusable")
    world.cloud.trouble = none
    for _ in range(2):
        await world.keys.generate_data_key(shop)
    with pytest.raises(KeyRefused):  # this call's own fault tells nothing of the key
        await world.keys.unwrap(b"nonsense", shop)
    async with world.database.read() as connection:
        found = [event for _, event in await events.page(connection, [("shop", "*")], events.Filter(), 10)]
    assert [(each.type, each.details.get("problem"), each.details["key"]) for each in reversed(found)] == [
        ("recording_key.failed", "disabled", place.key),
        ("recording_key.failed", "throttled", place.key),
        ("recording_key.failed", "unusable", place.key),
        ("recording_key.works", None, place.key),
    ]
    data = reader.get_metrics_data()
    assert data is not None
    points = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    counted = {(point.attributes or {})["outcome"]: point.value for point in points}  # type: ignore[union-attr]  # a counter's
    assert counted == {"disabled": 2, "throttled": 2, "unusable": 2, "ok": 2, "other": 1}
    provider.shutdown()


async def test_a_key_that_may_wrap_and_not_unwrap_is_told_of_once(world: World) -> None:
    place = await world.place()
    shop = encryption_context(await world.begin(SHOP, place))
    key = await world.keys.generate_data_key(shop)
    world.cloud.trouble = lambda call, ask: (
        kms_error("DisabledException") if call.operation == "Decrypt" else ask()
    )
    for _ in range(3):
        await world.keys.generate_data_key(shop)
        with pytest.raises(KeyUnavailable):
            await world.keys.unwrap(key.wrapped, shop)
    async with world.database.read() as connection:
        found = [event for _, event in await events.page(connection, [("shop", "*")], events.Filter(), 10)]
    assert [(each.type, each.details["operation"]) for each in found] == [("recording_key.failed", "unwrap")]


async def test_a_key_behind_an_alias_may_have_been_another_of_the_account(world: World) -> None:
    def key(account: str, name: str, region: str = REGION) -> Allowance:
        arn = f"arn:aws:kms:{region}:{OWNER}:{name}"
        return Allowance(account, AllowanceKind.KEY, arn, changed_at=STARTED)

    alias, former = key("shop", "alias/recordings"), key("shop", "key/former")
    allowed = [alias, former, key("bank", "key/theirs"), key("shop", "key/far", "eu-west-1")]
    async with world.database.transaction() as tx:
        for each in allowed:
            await allowances.put(tx.connection, each)
    await world.begin(SHOP, Place(account="shop", key=alias.name, role=WRITER, playback_role=WRITER))
    await world.begin(OWN, Place(account="shop", key=former.name, role=WRITER, playback_role=WRITER))
    by_alias, by_id = await world.places.to_open(SHOP), await world.places.to_open(OWN)
    assert by_alias is not None
    assert by_id is not None
    assert (by_alias.former_keys, by_id.former_keys) == ((former.name,), ())


async def test_without_the_database_recordings_wait_and_none_begins(world: World) -> None:
    place = await world.place()
    info = await world.begin(SHOP, place)
    await put(world, name_of(info))
    recorder = world.recorder()
    await recorder.start()
    (world.folder / "jitgate.db").rename(world.folder / "away.db")
    await world.database.engine.dispose()
    (world.folder / "jitgate.db").mkdir()
    assert await world.store.get(name_of(info)) == b"sealed"  # known already
    with pytest.raises(StoreUnavailable, match="looked up"):
        await world.store.get(name_of(info).replace(SHOP, OWN))
    with pytest.raises(KeyUnavailable, match="looked up"):
        await world.keys.unwrap(b"wrapped", {"session": OWN})
    with pytest.raises(StoreUnavailable, match="looked up"):
        [each async for each in world.store.list("")]
    with pytest.raises(RecordingFailed, match="looked up"):
        await recorder.open(dataclasses.replace(info, session_id=OWN))
    await recorder.stop()


async def test_places_are_kept_open_up_to_a_bound_and_never_closed_in_use(world: World) -> None:
    pool = Pool(world.own, longest_lock_days=LONGEST_LOCK_DAYS, limit=1, key_patience=TWICE)
    first, second = (Place(account=name, key=f"arn:aws:kms:{REGION}:{OWNER}:key/{name}") for name in ("a1", "b2"))
    async with pool.using(first) as used:
        async with pool.using(second):
            assert len(pool._lending._entries) == 2
        assert set(pool._lending._entries) == {first}
        async with pool.using(first) as again:
            assert again is used
    async with pool.using(second):
        pass
    assert set(pool._lending._entries) == {second}
    async with pool.using(first) as anew:
        assert anew is not used
    users = [asyncio.create_task(_use(pool, Place(account=f"a{number}", key=first.key))) for number in range(20)]
    await asyncio.gather(*users)
    assert len(pool._lending._entries) == 1
    await pool.close()
    assert not pool._lending._entries


async def _use(pool: Pool, place: Place) -> None:
    async with pool.using(place):
        await asyncio.sleep(0)
