"""Every command as a process: what it asks of the gateway, what it prints, how it ends."""

import json
import shlex
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from typer.testing import CliRunner

from clients.cli import app
from jitgate.v1 import access_pb2, recording_pb2
from jitgate.v1 import administration_pb2 as administration
from jitgate.v1 import session_pb2 as session
from tests.clients.conftest import Jit
from tests.clients.refusal import Refusal
from tests.clients.standin import StandIn, write_profile

SESSION = "s-" + "0" * 20
HOSTILE = "evil\x1b[2J\u202eno"

COMMANDS = [
    "login", "logout", "whoami", "doctor",
    "request", "cancel", "return", "token", "shell", "exec",
    "requests list", "requests show", "requests watch", "approve", "deny", "revoke",
    "users list", "users add", "users update", "users remove", "lock", "unlock",
    "roles list", "roles grant", "roles revoke",
    "nodes list", "nodes show", "nodes add", "nodes update", "nodes tag", "nodes remove", "nodes check",
    "nodes trust",
    "policies put", "policies list", "policies show", "policies validate", "policies explain", "policies delete",
    "sessions list", "sessions terminate",
    "recordings list", "recordings show", "recordings play", "recordings export", "recordings verify",
    "recordings download", "recordings inventory", "targets list", "targets enable", "targets disable",
    "preferences show", "preferences set", "events list",
    "allowances list", "allowances add", "allowances remove",
    "scim create", "scim list", "scim delete",
]  # fmt: skip


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_command_explains_itself(command: str) -> None:
    if not app.app.registered_commands:
        app._add_commands()
    shown = CliRunner().invoke(app.app, [*command.split(), "--help"], prog_name="jit")
    assert shown.exit_code == 0
    assert "Usage: jit" in shown.output
    assert len(shown.output.splitlines()) > 5


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (("whoami",), "identity"),
        (("nodes", "list"), "nodes"),
        (("requests", "list"), "requests"),
        (("users", "list"), "users"),
        (("roles", "list"), "grants"),
        (("policies", "list"), "policies"),
        (("sessions", "list"), "sessions"),
        (("recordings", "list"), "recordings"),
        (("targets", "list"), "targets"),
        (("allowances", "list"), "allowances"),
        (("scim", "list"), "scim_tokens"),
        (("events", "list"), "events"),
        (("doctor",), "parts"),
        (("request", "web-1", "--reason", "x"), "request"),
    ],
)
def test_json_is_the_answer_of_the_contract(jit: Jit, arguments: tuple[str, ...], path: str) -> None:
    done = jit(*arguments, "--output", "json")
    assert done.returncode == 0
    assert path in json.loads(done.stdout)
    assert jit(*arguments, JIT_OUTPUT="json").stdout.startswith("{")


def test_the_guides_own_steps(jit: Jit) -> None:
    made = json.loads(jit("request", "db-1", "--reason", "restore", "--output", "json").stdout)["request"]
    assert made["status"] == "ACCESS_REQUEST_STATUS_PENDING"
    hint = f"jit recordings list --request {made['id']}"
    assert hint not in jit("requests", "show", made["id"]).stdout  # there is no recording before a window
    waiting = jit("token", made["id"])
    assert (waiting.returncode, waiting.stdout) == (6, "")
    assert jit("approve", made["id"], "--comment", "fine", profile="bob").returncode == 0
    assert hint in jit("requests", "show", made["id"]).stdout
    assert jit(*shlex.split(hint)[1:]).returncode == 0
    token = jit("token", made["id"])
    assert token.stdout.startswith("jgt_")
    assert len(token.stdout.splitlines()) == 1
    assert jit("exec", "db-1", "--", "echo in", JIT_ACCESS_TOKEN=token.stdout.strip()).stdout == "in\n"
    assert "Returned" in jit("return", made["id"]).stdout


def test_nothing_of_others_reaches_the_approvers_terminal_raw(server: StandIn, jit: Jit) -> None:
    made = jit("request", "db-1", "--reason", HOSTILE)
    listed = jit("requests", "list", profile="bob")
    shown = jit("requests", "show", "oi-000000000000", profile="bob")
    for text in (made.stdout, listed.stdout, shown.stdout, shown.stderr):
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert "evil\\x1b[2J\\u202eno" in shown.stdout

    def refuse(*_: Any) -> None:
        raise Refusal(grpc.StatusCode.NOT_FOUND, "X", HOSTILE, HOSTILE)

    server.world.answers["GetAccessRequest"] = refuse
    assert "\x1b" not in jit("requests", "show", "oi-000000000000").stderr


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        ("INVALID_ARGUMENT", 2),
        ("UNAUTHENTICATED", 3),
        ("PERMISSION_DENIED", 4),
        ("NOT_FOUND", 5),
        ("DEADLINE_EXCEEDED", 6),
        ("UNAVAILABLE", 7),
        ("FAILED_PRECONDITION", 1),
        ("ALREADY_EXISTS", 1),
        ("INTERNAL", 1),
    ],
)
def test_a_refusal_is_two_lines_and_an_exit_code(server: StandIn, jit: Jit, code: str, exit_code: int) -> None:
    def refuse(*_: Any) -> None:
        raise Refusal(grpc.StatusCode[code], "SOME_REASON", "it is so", "do that")

    server.world.answers["WhoAmI"] = refuse
    done = jit("whoami")
    assert (done.returncode, done.stdout, done.stderr) == (exit_code, "", "error: it is so\ndo that\n")


def test_a_retry_is_said_in_seconds(server: StandIn, jit: Jit) -> None:
    def refuse(*_: Any) -> None:
        later = RetryInfo()
        later.retry_delay.seconds = 30
        raise Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "SLOWER", "too often", details=(later,))

    server.world.answers["WhoAmI"] = refuse
    assert jit("whoami").stderr == "error: too often\nTry again in 30 seconds.\n"


def test_usage_errors_end_with_2(jit: Jit) -> None:
    for arguments in (
        ("nodes", "frob"),
        ("requests", "show"),
        ("exec", "web-1"),
        ("shell",),
        ("nodes", "add", "a", "b"),
    ):
        done = jit(*arguments)
        assert done.returncode == 2, arguments
        assert "Traceback" not in done.stderr


def test_nobody_signed_in(jit: Jit) -> None:
    done = jit("whoami", profile="nobody")
    assert (done.returncode, done.stderr) == (3, "error: you are not signed in\nSign in: jit login\n")


def test_an_expired_sign_in(server: StandIn, home: Path, jit: Jit) -> None:
    write_profile(server, home, "alice", expires_at=1)
    done = jit("whoami")
    assert (done.returncode, done.stderr) == (3, "error: your sign-in has expired\nSign in: jit login\n")
    assert jit("exec", "web-1", "--", "true").returncode == 255


@pytest.mark.parametrize("content", ["", "{", "[]", '{"user_id": 1}'])
def test_a_damaged_profile(home: Path, jit: Jit, content: str) -> None:
    (home / "default" / "profile.json").write_text(content)
    done = jit("whoami")
    assert done.returncode == 3
    assert "is damaged" in done.stderr


@pytest.mark.parametrize("name", ["../bob", "a b", ".hidden"])
def test_a_profile_name_stays_a_name(jit: Jit, name: str) -> None:
    assert jit("whoami", profile=name).returncode == 2


def test_a_gateway_that_is_not_there(server: StandIn, home: Path, jit: Jit) -> None:
    write_profile(server, home, "alice", gateway_address="127.0.0.1:1")
    done = jit("nodes", "list")
    assert done.returncode == 7
    assert "can't be reached" in done.stderr


def test_request_waits_and_tells_the_outcome(server: StandIn, jit: Jit) -> None:
    server.world.answers["StartAccessRequest"] = lambda caller, request: _decided_soon(server, caller, request)
    done = jit("request", "db-1", "--reason", "x", "--wait")
    assert done.returncode == 0
    assert "Approved" in done.stdout


def _decided_soon(server: StandIn, caller: str, request: Any) -> Any:
    answer = access_pb2.StartAccessRequestResponse()
    answer.CopyFrom(server.world.StartAccessRequest(caller, request))
    server.world.approve(answer.request.id)
    return answer


def test_a_failed_request_names_the_conflict(server: StandIn, jit: Jit) -> None:
    made = access_pb2.AccessRequest(
        id="oi-00000000000c",
        node_name="web-1",
        status=access_pb2.ACCESS_REQUEST_STATUS_FAILED,
        status_reason="conflict",
    )
    made.conflict.add(name="databases", tags=["Environment=prod"])
    made.conflict.add(name="everything", tags=["Owner"])
    server.world.answers["StartAccessRequest"] = lambda *_: access_pb2.StartAccessRequestResponse(request=made)
    done = jit("request", "web-1", "--reason", "x")
    assert done.returncode == 1
    assert "databases targets Environment=prod" in done.stderr
    assert "everything targets Owner" in done.stderr


def test_listings_go_on_page_by_page(server: StandIn, jit: Jit) -> None:
    def pages(_: str, request: administration.ListEventsRequest) -> administration.ListEventsResponse:
        begin = int(request.page.token or 0)
        events = [
            administration.Event(sequence=number) for number in range(begin, begin + min(request.page.size, 3))
        ]
        following = str(begin + 3) if begin < 6 else ""
        return administration.ListEventsResponse(events=events, next_page_token=following)

    server.world.answers["ListEvents"] = pages
    everything = json.loads(jit("events", "list", "--limit", "0", "--output", "json").stdout)
    assert len(everything["events"]) == 9
    some = jit("events", "list", "--limit", "5")
    assert len(some.stdout.splitlines()) == 6
    assert "--limit" in some.stderr


def test_times_are_dates_or_ages(server: StandIn, jit: Jit) -> None:
    assert jit("events", "list", "--after", "2026-01-31", "--before", "12h").returncode == 0
    assert server.world.asked("ListEvents")[0].HasField("before")
    assert jit("events", "list", "--after", "yesterday").returncode == 2


def test_sessions_are_listed_and_terminated(server: StandIn, jit: Jit) -> None:
    live = session.Session(id=SESSION, user_id="alice", login="ops", node_name="web-1", command=HOSTILE)
    server.world.answers["ListSessions"] = lambda *_: session.ListSessionsResponse(sessions=[live])
    shown = jit("sessions", "list", "--live").stdout
    assert "ops@web-1" in shown
    assert "\x1b" not in shown
    assert jit("sessions", "terminate", SESSION, "--reason", "enough").returncode == 0
    assert server.world.asked("TerminateSession")[0].reason == "enough"


def test_export_writes_a_whole_file_or_none(server: StandIn, jit: Jit, tmp_path: Path) -> None:
    async def export(_: str, request: recording_pb2.ExportRecordingRequest, context: Any) -> Any:
        yield recording_pb2.ExportRecordingResponse(chunk=b"first ")
        if request.format == recording_pb2.EXPORT_FORMAT_RAW:
            raise Refusal(grpc.StatusCode.DATA_LOSS, "GAP", "an object is missing")
        yield recording_pb2.ExportRecordingResponse(chunk=b"second")

    server.world.answers["ExportRecording"] = export
    file = tmp_path / "out.cast"
    assert jit("recordings", "export", SESSION, "-o", str(file)).returncode == 0
    assert file.read_bytes() == b"first second"
    assert file.stat().st_mode & 0o777 == 0o600
    assert jit("recordings", "export", SESSION, "--format", "text").stdout == "first second"
    broken = tmp_path / "broken"
    assert jit("recordings", "export", SESSION, "--format", "raw", "-o", str(broken)).returncode == 1
    assert list(tmp_path.glob("broken*")) == []


def test_download_keeps_to_its_folder(server: StandIn, jit: Jit, tmp_path: Path) -> None:
    async def download(*_: Any) -> Any:
        for name, chunk in (("manifest.json", b"{"), ("", b"}"), ("e1/000.seg", b"abc")):
            yield recording_pb2.DownloadRecordingResponse(name=name, chunk=chunk)

    async def escape(*_: Any) -> Any:
        yield recording_pb2.DownloadRecordingResponse(name="../../evil", chunk=b"x")

    server.world.answers["DownloadRecording"] = download
    assert jit("recordings", "download", SESSION, str(tmp_path / "d")).returncode == 0
    assert (tmp_path / "d" / "manifest.json").read_bytes() == b"{}"
    assert (tmp_path / "d" / "e1_000.seg").read_bytes() == b"abc"
    server.world.answers["DownloadRecording"] = escape
    assert jit("recordings", "download", SESSION, str(tmp_path / "e")).returncode == 1
    assert list(tmp_path.rglob("*evil*")) == []


@pytest.mark.rule("R27")
def test_a_deleted_recording_says_when_by_whom_and_what_remains(server: StandIn, jit: Jit) -> None:
    gone = recording_pb2.RecordingDeletion(actor_id="root", reason="a customer asked", manifest_sha256="ab" * 32)
    item = recording_pb2.Recording(
        session_id=SESSION, status=recording_pb2.RECORDING_STATUS_DELETING, stored_bytes=512, deletion=gone
    )
    world = server.world
    world.answers["ListRecordings"] = lambda *_: recording_pb2.ListRecordingsResponse(recordings=[item])
    world.answers["GetRecording"] = lambda *_: recording_pb2.GetRecordingResponse(recording=item)
    assert "deleting, wanted by root" in jit("recordings", "list").stdout
    assert "512 B, encrypted" in jit("recordings", "show", SESSION).stdout
    item.status = recording_pb2.RECORDING_STATUS_DELETED
    item.deletion.deleted_at.FromJsonString("2026-11-28T09:30:00Z")
    item.deletion.actor_id = ""
    assert "by the retention" in jit("recordings", "list").stdout
    shown = jit("recordings", "show", SESSION).stdout
    for said in ("by the retention", "a customer asked", "ab" * 32, "nothing; it was 512 B"):
        assert said in shown


@pytest.mark.rule("R27")
def test_verify_says_what_is_wrong(server: StandIn, jit: Jit) -> None:
    good = recording_pb2.VerifyRecordingResponse(intact=True, objects=3, signing_key_id="k1")
    bad = recording_pb2.VerifyRecordingResponse(intact=False, problems=["object 2: another hash"])
    server.world.answers["VerifyRecording"] = lambda *_: good
    assert "intact: 3 objects" in jit("recordings", "verify", SESSION).stdout
    server.world.answers["VerifyRecording"] = lambda *_: bad
    done = jit("recordings", "verify", SESSION)
    assert done.returncode == 1
    assert "object 2: another hash" in done.stdout
