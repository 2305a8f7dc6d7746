"""A real gateway whose recordings are in S3 under keys of KMS: it records, plays, verifies, and survives both."""

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from tests.aws.making import kms_client, logs_client, new_bucket, new_key, s3_client
from tests.aws.servers import ACCOUNT, ENVIRONMENT, REGION
from tests.aws.trouble import Answer, Call, Troubled, kms_error, none, s3_error, troubled
from tests.e2e.live import Live, run
from tests.e2e.stage import Stage
from tests.processes import GatewayProcess, wait_for

pytestmark = pytest.mark.rule("R27")
Ask = Callable[[], Answer]


@dataclass
class Cloud:
    """S3 and KMS behind one address that fails as a test says."""

    proxy: Troubled
    bucket: str
    key_id: str

    def kms_calls(self, operation: str) -> list[dict[str, Any]]:
        return [json.loads(call.body) for call in self.proxy.calls if call.operation == operation]

    def objects(self, session_id: str, prefix: str = "audit/") -> list[str]:
        return asyncio.run(self._objects(session_id, prefix))

    async def _objects(self, session_id: str, prefix: str) -> list[str]:
        async with s3_client(self.proxy.url) as client:
            page = await client.call("list_objects_v2", Bucket=self.bucket, Prefix=prefix)
            return [each["Key"] for each in page.get("Contents", ()) if session_id in each["Key"]]

    async def make(self) -> None:
        async with s3_client(self.proxy.url) as s3, kms_client(self.proxy.url) as kms:
            self.bucket = await new_bucket(s3, ObjectLockEnabledForBucket=True)
            self.key_id = await new_key(kms)


@pytest.fixture(scope="module")
def cloud(moto: str) -> Iterator[Cloud]:
    with pytest.MonkeyPatch.context() as patch, troubled(moto) as proxy:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        made = Cloud(proxy, "", "")
        asyncio.run(made.make())
        yield made


@pytest.fixture(autouse=True)
def at_peace(cloud: Cloud) -> Iterator[None]:
    yield
    cloud.proxy.trouble = none


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, cloud: Cloud) -> Iterator[GatewayProcess]:
    s3 = {
        "BUCKET": cloud.bucket,
        "PREFIX": "audit/",
        "REGION": REGION,
        "ENDPOINT_URL": cloud.proxy.url,
        "PATH_STYLE": "true",
        "EXPECTED_BUCKET_OWNER": f'"{ACCOUNT}"',
        "OBJECT_LOCK_MODE": "governance",
        "OBJECT_LOCK_DAYS": "30",
    }
    kms = {
        "KEY_ID": cloud.key_id,
        "REGION": REGION,
        "ENDPOINT_URL": cloud.proxy.url,
        "PLAYBACK_ROLE_ARN": f"arn:aws:iam::{ACCOUNT}:role/jitgate-playback",
    }
    environment = {
        **ENVIRONMENT,
        # What accounts choose is found as AWS's own tools find it.
        **{f"AWS_ENDPOINT_URL_{service}": cloud.proxy.url for service in ("STS", "S3", "KMS", "CLOUDWATCH_LOGS")},
        "JITGATE_RECORDINGS__ORGANIZATION": "acme",
        "JITGATE_RECORDINGS__STORE": "s3",
        "JITGATE_RECORDINGS__KEY_PROVIDER": "aws_kms",
        "JITGATE_RECORDINGS__LONGEST_OBJECT_LOCK_DAYS": "60",
        **{f"JITGATE_RECORDINGS__S3__{name}": value for name, value in s3.items()},
        **{f"JITGATE_RECORDINGS__KMS__{name}": value for name, value in kms.items()},
    }
    environment["JITGATE_SESSION_LOG__TARGET"] = "stdout"
    process = GatewayProcess(tmp_path_factory.mktemp("gateway"), environment=environment)
    process.start()
    yield process
    process.stop()


def store_down(call: Call, ask: Ask) -> Answer:
    return ask() if call.operation else s3_error(503, "ServiceUnavailable")


def both_down(call: Call, _ask: Ask) -> Answer:
    return kms_error("DisabledException") if call.operation else s3_error(503, "SlowDown")


def key_disabled(call: Call, ask: Ask) -> Answer:
    return kms_error("DisabledException", "is disabled.") if call.operation else ask()


def complete(on: Stage, session_id: str, seconds: float = 45) -> dict[str, Any]:
    """The recording, once it is."""

    def found() -> dict[str, Any] | None:
        recording: dict[str, Any] = on.dave.call("RecordingService/GetRecording", session_id=session_id)[
            "recording"
        ]
        assert recording["status"] != "RECORDING_STATUS_QUARANTINED", recording
        return recording if recording["status"] == "RECORDING_STATUS_COMPLETE" else None

    return wait_for(found, seconds, "the recording")


def played(on: Stage, session_id: str) -> bytes:
    answers = on.dave.client.receive(
        "RecordingService/ExportRecording", session_id=session_id, format="EXPORT_FORMAT_RAW"
    )
    return b"".join(answer.chunk for answer in answers)


def diagnoses(on: Stage) -> dict[str, dict[str, Any]]:
    parts = on.administrator.call("AdministrationService/Diagnose")["parts"]
    return {each["part"]: each for each in parts}


def test_a_session_is_recorded_played_and_verified(on: Stage, cloud: Cloud) -> None:
    live = run(on.alice.client, on.token(), "seq 20000")
    assert live.output.endswith(b"\n20000\n")
    complete(on, live.id)
    assert played(on, live.id) == live.output
    verified = on.dave.call("RecordingService/VerifyRecording", session_id=live.id)
    assert verified["intact"], verified
    stored = cloud.objects(live.id)
    assert len(stored) == 2
    assert all(key.startswith("audit/default/default/") for key in stored)
    assert not (on.gateway.data_dir / "recordings").exists()
    contexts = [each["EncryptionContext"] for each in cloud.kms_calls("GenerateDataKey")]
    (mine,) = (each for each in contexts if each.get("session") == live.id)
    assert (mine["purpose"], mine["account"], mine["region"]) == ("recording", "default", "default")
    assert mine["organization"] == "acme"
    opened = [each["EncryptionContext"] for each in cloud.kms_calls("Decrypt")]
    assert mine in opened
    owners = {
        call.headers.get("x-amz-expected-bucket-owner")
        for call in cloud.proxy.calls
        if call.path.startswith(f"/{cloud.bucket}/audit/")
    }
    assert owners == {ACCOUNT}


def test_playback_acts_in_a_role_of_its_own(on: Stage, cloud: Cloud) -> None:
    live = run(on.alice.client, on.token(), "echo roles")
    complete(on, live.id)
    cloud.proxy.calls.clear()
    run(on.alice.client, on.token(), "echo more")
    assert played(on, live.id) == b"roles\n"
    by = {
        call.operation: call.headers["authorization"].partition("Credential=")[2].partition("/")[0]
        for call in cloud.proxy.calls
        if call.operation
    }
    assert by["GenerateDataKey"] == ENVIRONMENT["AWS_ACCESS_KEY_ID"]
    assert by["Decrypt"] != by["GenerateDataKey"]


def test_the_doctor_tries_both_out(on: Stage, cloud: Cloud) -> None:
    found = diagnoses(on)
    assert found["recordings"]["healthy"], found
    assert found["recording key"]["healthy"], found
    assert found["signing key"]["healthy"], found
    assert cloud.bucket in found["recordings"]["message"]
    assert cloud.key_id in found["recording key"]["message"]
    cloud.proxy.trouble = key_disabled
    found = diagnoses(on)
    assert "enable" in found["recording key"]["message"]
    assert not found["recording key"].get("healthy")
    assert found["recordings"]["healthy"]
    cloud.proxy.trouble = lambda call, ask: ask() if call.operation else s3_error(403, "AccessDenied")
    found = diagnoses(on)
    assert "not allowed" in found["recordings"]["message"]
    assert "spool" in found["recordings"]["what_to_do"]


def test_a_disabled_key_lets_nobody_in_and_keeps_nobody_from_finishing(on: Stage, cloud: Cloud) -> None:
    token = on.token()
    with Live(on.alice.client, token, command="read line; echo said $line") as live:
        live.until_open()
        cloud.proxy.trouble = key_disabled
        with Live(on.alice.client, token, command="echo unrecorded") as late:
            assert late.until_over() == ("UNAVAILABLE", "RECORDING_FAILED")
        assert late.output == b""
        said = on.alice.person.run("exec", "web-1", "--reason", "look", "--", "echo unrecorded")
        assert (said.returncode, said.stdout) == (255, b"")
        assert "is disabled; enable it" in said.stderr.decode()
        live.send(b"good\n")
        live.until_over()
    assert live.output == b"said good\n"
    complete(on, live.id)
    cloud.proxy.trouble = none
    assert played(on, live.id) == b"said good\n"


def test_a_store_down_at_close_gets_the_recording_when_it_is_back(on: Stage, cloud: Cloud) -> None:
    with Live(on.alice.client, on.token(), command="read line; echo said $line") as live:
        live.until_open()
        cloud.proxy.trouble = store_down
        live.send(b"this\n")
        live.until_over()

    wait_for(lambda: "503" in reason(on, live.id) or "Unavailable" in reason(on, live.id), 60, "the reason")
    assert on.is_alive()
    cloud.proxy.trouble = none
    complete(on, live.id, 60)
    assert played(on, live.id) == b"said this\n"


def prefer(on: Stage, **changed: Any) -> None:
    on.administrator.call("AdministrationService/PutPreferences", preferences=changed)


@pytest.mark.rule("R26")
def test_an_account_is_recorded_in_its_own_bucket_and_found_there_for_good(on: Stage, cloud: Cloud) -> None:
    theirs = Cloud(cloud.proxy, "", "")
    asyncio.run(theirs.make())
    role = f"arn:aws:iam::{ACCOUNT}:role/theirs"
    bucket = {"kind": "ALLOWANCE_KIND_BUCKET", "name": theirs.bucket, "owner": ACCOUNT, "aws_region": REGION}
    chosen = {"bucket": theirs.bucket, "key": theirs.key_id, "role": role}
    with pytest.raises(grpc.RpcError, match="is not allowed for account default"):
        prefer(on, recording_place=chosen)
    for each in (
        bucket,
        {"kind": "ALLOWANCE_KIND_KEY", "name": theirs.key_id},
        {"kind": "ALLOWANCE_KIND_ROLE", "name": role, "external_id": "ours"},
    ):
        on.administrator.call("AllowanceService/Allow", allowance=each)
    prefer(on, recording_place=chosen)
    assert diagnoses(on)["recordings of accounts"]["healthy"]
    with Live(on.alice.client, on.token(), command="echo theirs; sleep 60") as live:
        live.until_output(b"theirs\n")
        prefer(on)  # while it goes on
        cloud.proxy.trouble = store_down
        on.gateway.kill()
    cloud.proxy.trouble = none
    on.gateway.start()
    complete(on, live.id)
    assert not cloud.objects(live.id)
    assert len(theirs.objects(live.id, prefix="")) == 2
    assert played(on, live.id) == b"theirs\n"
    assert on.dave.call("RecordingService/VerifyRecording", session_id=live.id)["intact"]

    prefer(on, recording_place=chosen)
    on.administrator.call("AllowanceService/Disallow", kind=bucket["kind"], name=theirs.bucket)
    with Live(on.alice.client, on.token(), command="echo nowhere") as late:
        assert late.until_over() == ("UNAVAILABLE", "RECORDING_FAILED")
    found = diagnoses(on)["recordings of accounts"]
    assert "not allowed for account default" in found["message"]
    prefer(on)
    assert played(on, live.id) == b"theirs\n"


@pytest.mark.rule("R26")
def test_preferences_lock_nothing_for_longer_than_the_operator_says(on: Stage, cloud: Cloud) -> None:
    jit = on.administrator.person
    refused = jit.run("preferences", "set", "--retention", "compliance:61")
    assert refused.returncode != 0
    assert "must be at most 60 days" in refused.stderr.decode()
    assert "recordings.longest_object_lock_days" in refused.stderr.decode()
    assert "as the store says" in jit.run("preferences", "show").stdout.decode()
    try:
        set_ = jit.run("preferences", "set", "--retention", "compliance:60")
        assert "compliance, 60 days" in set_.stdout.decode(), set_.stderr
        live = run(on.alice.client, on.token(), "echo locked")
        complete(on, live.id)
        assert {asyncio.run(locked(cloud, key)) for key in cloud.objects(live.id)} == {("COMPLIANCE", 60)}
    finally:
        prefer(on)


async def locked(cloud: Cloud, key: str) -> tuple[str, int]:
    """Mode and days of an object's lock."""
    async with s3_client(cloud.proxy.url) as client:
        kept = await client.call("head_object", Bucket=cloud.bucket, Key=key)
    left = kept["ObjectLockRetainUntilDate"] - kept["LastModified"]
    return kept["ObjectLockMode"], round(left.total_seconds() / 86400)


def reason(on: Stage, session_id: str) -> str:
    recording = on.dave.call("RecordingService/GetRecording", session_id=session_id)["recording"]
    return str(recording.get("status_reason", ""))


def test_a_gateway_killed_in_the_middle_with_both_down_loses_nothing(on: Stage, cloud: Cloud) -> None:
    with Live(on.alice.client, on.token(), command="seq 5000; sleep 60") as live:
        live.until_output(b"\n5000\n")
        cloud.proxy.trouble = both_down
        on.gateway.kill()
    on.gateway.start()  # it serves, though neither answers
    assert on.is_alive()
    found = diagnoses(on)
    assert not found["recording key"].get("healthy")
    assert not found["recordings"].get("healthy")
    on.gateway.stop()
    cloud.proxy.trouble = none
    on.gateway.start()
    complete(on, live.id)
    output = played(on, live.id)
    lost = len(live.output) - len(output)
    print(f"killed with S3 and KMS down: {max(lost, 0)} of {len(live.output)} bytes lost")
    assert output.startswith(bytes(live.output))
    assert on.dave.call("RecordingService/VerifyRecording", session_id=live.id)["intact"]
    assert run(on.alice.client, on.token(), "echo again").output == b"again\n"


def test_no_data_key_is_in_any_log(on: Stage, cloud: Cloud) -> None:
    """Nor are AWS's own secrets."""
    text = on.gateway.log.read_text() + on.gateway.out.read_text()
    assert "Plaintext" not in text
    assert ENVIRONMENT["AWS_SECRET_ACCESS_KEY"] not in text


@pytest.mark.rule("R26")
def test_output_goes_to_a_log_group_while_the_session_runs(on: Stage, cloud: Cloud) -> None:
    group, role = "/jitgate/sessions", f"arn:aws:iam::{ACCOUNT}:role/logs"
    arn = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}"
    for kind, name in (("LOG_GROUP", arn), ("ROLE", role)):
        allowance = {"kind": f"ALLOWANCE_KIND_{kind}", "name": name}
        on.administrator.call("AllowanceService/Allow", allowance=allowance)
    chosen = {"recording_place": {"role": role}, "log_sessions": True, "log_group": arn}
    with pytest.raises(grpc.RpcError, match="there is no such log group"):
        prefer(on, **chosen)
    asyncio.run(make_group(cloud, group))
    prefer(on, **chosen)
    assert diagnoses(on)["session logs"]["healthy"]
    try:
        with Live(on.alice.client, on.token(), command="echo seen; read line; echo said $line") as live:
            live.until_output(b"seen\n")
            lines = wait_for(lambda: logged(cloud, group, live.id, "output"), 30, "the first line")
            assert [line.get("output") for line in lines] == [None, "seen\n"]
            live.send(b"good\n")
            live.until_over()
        lines = wait_for(lambda: logged(cloud, group, live.id, "end"), 30, "the last line")
        assert "".join(line.get("output", "") for line in lines) == "seen\nsaid good\n"
        assert {(line["user"], line["command"].partition(";")[0]) for line in lines} == {("alice", "echo seen")}
        assert lines[-1]["status"] == 0
    finally:
        prefer(on)


@pytest.mark.rule("R26")
def test_output_goes_to_standard_output_where_no_group_is_named(on: Stage) -> None:
    def told(session_id: str, kind: str) -> list[dict[str, Any]]:
        """Whole lines of a session, once there is one of that type; the first start says other things as well."""
        said = [json.loads(line) for line in on.gateway.out.read_text().split("\n")[:-1] if line.startswith("{")]
        lines = [line for line in said if line["session"] == session_id]
        return lines if any(line["type"] == kind for line in lines) else []

    assert diagnoses(on)["session logs"]["healthy"]
    prefer(on, log_sessions=True)
    try:
        with Live(on.alice.client, on.token(), command="echo seen; read line; echo said $line") as live:
            live.until_output(b"seen\n")
            lines = wait_for(lambda: told(live.id, "output"), 30, "the first line")
            assert [line.get("output") for line in lines] == [None, "seen\n"]
            live.send(b"good\n")
            live.until_over()
        lines = wait_for(lambda: told(live.id, "end"), 30, "the last line")
        assert [line["number"] for line in lines] == list(range(1, len(lines) + 1))
        assert "".join(line.get("output", "") for line in lines) == "seen\nsaid good\n"
        assert {line["user"] for line in lines} == {"alice"}
    finally:
        prefer(on)
    unlogged = run(on.alice.client, on.token(), "echo quiet")
    complete(on, unlogged.id)
    assert unlogged.id not in on.gateway.out.read_text()


async def make_group(cloud: Cloud, group: str) -> None:
    async with logs_client(cloud.proxy.url) as client:
        await client.call("create_log_group", logGroupName=group)


def logged(cloud: Cloud, group: str, session_id: str, kind: str) -> list[dict[str, Any]]:
    """The session's lines, once there is one of that type."""

    async def found() -> list[dict[str, Any]]:
        async with logs_client(cloud.proxy.url) as client:
            page = await client.call("filter_log_events", logGroupName=group, filterPattern=f'"{session_id}"')
            return [json.loads(event["message"]) for event in page["events"]]

    lines = sorted(asyncio.run(found()), key=lambda line: int(line["number"]))
    return lines if any(line["type"] == kind for line in lines) else []
