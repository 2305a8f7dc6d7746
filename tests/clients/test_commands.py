"""Every command as a process: what it asks of the gateway, what it prints, how it ends."""

import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct
from google.rpc.error_details_pb2 import RetryInfo
from typer.testing import CliRunner

from clients.cli import app
from jitgate.v1 import access_pb2, identity_pb2, node_pb2, policy_pb2, recording_pb2
from jitgate.v1 import administration_pb2 as administration
from jitgate.v1 import allowance_pb2 as allowance
from jitgate.v1 import scim_pb2 as scim
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
    waiting = jit("token", made["id"])
    assert (waiting.returncode, waiting.stdout) == (6, "")
    assert jit("approve", made["id"], "--comment", "fine", profile="bob").returncode == 0
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


@pytest.mark.rule("R12")
def test_findings_show_line_caret_and_what_to_write(server: StandIn, jit: Jit, tmp_path: Path) -> None:
    text = 'permit (principal, action, resource)\nwhen { principal.division == "x" };\n'
    at = text.index("principal.division")
    finding = policy_pb2.PolicyFinding(
        line=2, column=8, message="division is optional",
        write_instead="principal has division && principal.division",
        replace_start=at, replace_end=at + len("principal.division"),
    )  # fmt: skip
    file = tmp_path / "auto.cedar"
    file.write_text(text)
    findings = policy_pb2.PolicyFindings(findings=[finding])

    def refuse(*_: Any) -> None:
        raise Refusal(
            grpc.StatusCode.INVALID_ARGUMENT, "POLICY_INVALID", "the policy has 1 fault", details=(findings,)
        )

    server.world.answers["PutPolicy"] = refuse
    done = jit("policies", "put", str(file))
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0] == f"{file}:2:8: division is optional"
    assert lines[1] == '    2 │ when { principal.division == "x" };'
    assert lines[2] == "      │        ^^^^^^^^^^^^^^^^^^"
    assert lines[3] == "      = write instead: principal has division && principal.division"
    server.world.answers["ValidatePolicy"] = lambda *_: policy_pb2.ValidatePolicyResponse(findings=[finding])
    assert jit("policies", "validate", str(file)).returncode == 1
    assert json.loads(jit("policies", "validate", str(file), "--output", "json").stdout)["findings"]


@pytest.mark.parametrize(
    ("name", "arguments", "kind"),
    [
        ("a.cedar", (), "POLICY_KIND_AUTO"),
        ("a.cedar", ("--deny",), "POLICY_KIND_DENY"),
        ("a.yaml", (), "POLICY_KIND_MANUAL"),
        ("a.json", (), "POLICY_KIND_MANUAL"),
        ("a.txt", ("--kind", "manual"), "POLICY_KIND_MANUAL"),
    ],
)
def test_the_kind_follows_from_the_file(
    server: StandIn, jit: Jit, tmp_path: Path, name: str, arguments: tuple[str, ...], kind: str
) -> None:
    (tmp_path / name).write_text("text")
    assert jit("policies", "put", str(tmp_path / name), *arguments).returncode == 0
    asked = server.world.asked("PutPolicy")[0]
    assert (identity_pb2.PolicyKind.Name(asked.kind), asked.text) == (kind, "text")


def test_a_document_is_put_under_a_name_and_a_policy_shown_as_one(
    server: StandIn, jit: Jit, tmp_path: Path
) -> None:
    file = tmp_path / "a.json"
    file.write_text("{}")
    assert jit("policies", "put", str(file), "--name", "web").returncode == 0
    assert jit("policies", "validate", str(file), "--name", "web").returncode == 0
    assert [server.world.asked(call)[0].name for call in ("PutPolicy", "ValidatePolicy")] == ["web", "web"]
    jit("policies", "show", "web", "--form", "aws")
    jit("policies", "show", "web")
    assert [asked.form for asked in server.world.asked("GetPolicy")] == [
        policy_pb2.POLICY_FORM_AWS,
        policy_pb2.POLICY_FORM_UNSPECIFIED,
    ]
    assert jit("policies", "show", "web", "--form", "xml").returncode == 2


@pytest.mark.rule("R14")
def test_an_explanation_is_told_statement_by_statement(server: StandIn, jit: Jit) -> None:
    said = {
        "principal": {"id": "alice", "groups": ["sre"], "attributes": {"costCenter": "7"}, "principal_tags": {}},
        "node": {"id": "mi-1", "tags": {"Environment": "prod"}},
        "deny": {"effect": "no such policy", "version": None, "statements": [], "out_of_scope": 0, "why": ""},
        "auto": {
            "effect": "grants nothing",
            "version": 4,
            "why": "",
            "out_of_scope": 2,
            "statements": [
                {"id": "web", "line": 3, "text": "permit (", "match": "condition false", "why": "no tag Owner"}
            ],
        },
        "manual": [{"policy": "databases", "version": 2, "matched": True, "why": "targets Environment=prod"}],
    }
    answer = policy_pb2.ExplainResponse(
        outcome="needs_approval", summary="databases decides", explanation=ParseDict(said, Struct())
    )
    server.world.answers["Explain"] = lambda *_: answer
    shown = jit("policies", "explain", "alice", "web-1").stdout
    for part in (
        "needs approval: databases decides",
        "user alice in sre costCenter=7",
        "auto-approval policy, version 4: grants nothing",
        "line 3 web: condition false",
        "no tag Owner",
        "databases, version 2: targets Environment=prod",
    ):
        assert part in shown


def test_adding_a_node_prints_what_its_sshd_must_be_told(server: StandIn, jit: Jit, tmp_path: Path) -> None:
    trust = node_pb2.GetNodeTrustResponse(
        node_id="mi-" + "a" * 17,
        user_ca="ssh-ed25519 CA",
        sshd_config="TrustedUserCAKeys /x",
        principals="mi-a/ops",
    )
    checks = [
        node_pb2.NodeCheck(step="dial", passed=True, message="answers"),
        node_pb2.NodeCheck(step="host_key", passed=False, message="another key", what_to_do="Give the right one."),
    ]
    server.world.answers["GetNodeTrust"] = lambda *_: trust
    server.world.answers["AddNode"] = lambda _, request: node_pb2.AddNodeResponse(
        node=node_pb2.Node(id=request.id, name=request.name), checks=checks
    )
    key = tmp_path / "host.pub"
    key.write_text("ssh-ed25519 AAAA root@db\n")
    done = jit("nodes", "add", "db-9", "db9.internal:2222", "--host-key", str(key), "--tag", "Environment=prod")
    assert "TrustedUserCAKeys /x" in done.stderr
    assert "host key: another key" in done.stdout
    assert "Give the right one." in done.stdout
    assert done.returncode == 1
    asked = server.world.asked("AddNode")[0]
    assert (asked.id, asked.ssh.host, asked.ssh.port) == (trust.node_id, "db9.internal", 2222)
    assert list(asked.ssh.host_keys) == ["ssh-ed25519 AAAA root@db"]
    assert dict(asked.tags) == {"Environment": "prod"}


def test_changing_a_nodes_login_keeps_the_rest_of_its_endpoint(server: StandIn, jit: Jit) -> None:
    endpoint = node_pb2.SshEndpoint(host="db", port=2222, login="old", host_keys=["k"])
    server.world.answers["GetNode"] = lambda *_: node_pb2.GetNodeResponse(node=node_pb2.Node(ssh=endpoint))
    assert jit("nodes", "update", "db-1", "--login", "ops").returncode == 0
    asked = server.world.asked("UpdateNode")[0]
    assert (asked.ssh.host, asked.ssh.port, asked.ssh.login, list(asked.ssh.host_keys)) == (
        "db",
        2222,
        "ops",
        ["k"],
    )


def test_tags_are_set_and_removed(server: StandIn, jit: Jit) -> None:
    assert jit("nodes", "tag", "web-1", "Environment=a-b-", "Owner-").returncode == 0
    asked = server.world.asked("UpdateNode")[0]
    assert (dict(asked.set_tags), list(asked.remove_tags)) == ({"Environment": "a-b-"}, ["Owner"])
    assert not asked.HasField("ssh")


def test_roles_are_granted_to_one_holder(server: StandIn, jit: Jit) -> None:
    done = jit(
        "roles", "grant", "policy_administrator", "--group", "sre", "--account", "*", "--policy-kind", "deny"
    )
    assert done.returncode == 0
    grant = server.world.asked("GrantRole")[0].grant
    assert (grant.group_id, grant.role, grant.account) == ("sre", identity_pb2.ROLE_POLICY_ADMINISTRATOR, "*")
    assert list(grant.policy_kinds) == [identity_pb2.POLICY_KIND_DENY]
    assert jit("roles", "grant", "user").returncode == 2
    assert jit("roles", "grant", "user", "--user", "a", "--group", "b").returncode == 2


def test_a_first_password_is_shown_once(server: StandIn, jit: Jit) -> None:
    server.world.answers["CreateUser"] = lambda _, request: administration.CreateUserResponse(
        user=administration.User(id=request.id), initial_password="first-secret"
    )
    assert "first-secret" in jit("users", "add", "carol", "--group", "sre", "--attribute", "costCenter=7").stdout
    asked = server.world.asked("CreateUser")[0]
    assert (list(asked.groups), dict(asked.attributes)) == (["sre"], {"costCenter": "7"})


def test_what_can_not_be_undone_asks_first(server: StandIn, jit: Jit) -> None:
    assert jit("users", "remove", "carol").returncode == 2
    assert jit("nodes", "remove", "web-1").returncode == 2
    assert jit("policies", "delete", "databases").returncode == 2
    assert not server.world.asked("RemoveUser")
    assert jit("users", "remove", "carol", "--yes").returncode == 0
    assert server.world.asked("RemoveUser")[0].id == "carol"


def test_locks_name_a_user_or_a_node(server: StandIn, jit: Jit) -> None:
    assert jit("lock", "--user", "carol", "--reason", "laptop stolen").returncode == 0
    assert jit("unlock", "--node", "web-1").returncode == 0
    assert server.world.asked("Lock")[0].user_id == "carol"
    assert server.world.asked("Unlock")[0].node == "web-1"
    assert jit("lock", "--reason", "x").returncode == 2


def test_preferences_change_only_what_is_given(server: StandIn, jit: Jit) -> None:
    before = administration.Preferences(idle_timeout_minutes=5, run_as="ops")
    server.world.answers["GetPreferences"] = lambda *_: administration.GetPreferencesResponse(preferences=before)
    assert jit("preferences", "set", "--maximum-duration", "60", "--recording", "best-effort").returncode == 0
    asked = server.world.asked("PutPreferences")[0].preferences
    assert (asked.maximum_duration_minutes, asked.idle_timeout_minutes, asked.run_as) == (60, 5, "ops")
    assert asked.recording == administration.RECORDING_MODE_BEST_EFFORT


def test_preferences_choose_a_place_and_keep_what_is_not_given_of_it(server: StandIn, jit: Jit) -> None:
    before = administration.Preferences(
        recording_place=administration.RecordingPlace(bucket="b", role="r", key="k")
    )
    server.world.answers["GetPreferences"] = lambda *_: administration.GetPreferencesResponse(preferences=before)
    given = ("--key", "", "--retention", "compliance:400", "--log", "--log-group", "arn")
    assert jit("preferences", "set", *given).returncode == 0
    asked = server.world.asked("PutPreferences")[0].preferences
    place = asked.recording_place
    assert (place.bucket, place.role, place.key, place.retention_days) == ("b", "r", "", 400)
    assert place.retention_mode == administration.RETENTION_MODE_COMPLIANCE
    assert (asked.log_sessions, asked.log_group) == (True, "arn")
    assert jit("preferences", "set", "--retention", "none", "--no-log").returncode == 0
    assert server.world.asked("PutPreferences")[1].preferences.recording_place.retention_days == 0
    for wrong in ("governance", "governance:x", "forever:3", "none:3", "400"):
        assert jit("preferences", "set", "--retention", wrong).returncode == 2
    assert "k" in jit("preferences", "show").stdout


def test_allowances_are_added_shown_and_withdrawn(server: StandIn, jit: Jit) -> None:
    server.world.answers["Allow"] = lambda _, asked: allowance.AllowResponse(allowance=asked.allowance)
    more = ("--owner", "123456789012", "--aws-region", "us-east-1", "--account", "shop")
    done = jit("allowances", "add", "bucket", "recordings", *more)
    assert done.returncode == 0
    assert "123456789012 us-east-1" in done.stdout
    asked = server.world.asked("Allow")[0].allowance
    assert (asked.account, asked.kind, asked.name) == ("shop", allowance.ALLOWANCE_KIND_BUCKET, "recordings")
    assert jit("allowances", "remove", "log-group", "arn:x", "--yes").returncode == 0
    assert server.world.asked("Disallow")[0].kind == allowance.ALLOWANCE_KIND_LOG_GROUP
    assert jit("allowances", "remove", "log-group", "arn:x").returncode != 0  # nobody is there to be asked
    assert len(server.world.asked("Disallow")) == 1
    assert jit("allowances", "add", "user", "x").returncode == 2


def test_tokens_of_scim_are_made_shown_and_deleted(server: StandIn, jit: Jit) -> None:
    token = scim.ScimToken(id="scim-0123456789ab", provider="corp", issuer="https://login.example.com")
    server.world.answers["CreateScimToken"] = lambda _, asked: scim.CreateScimTokenResponse(
        scim_token=token, token="jgscim_secret"
    )
    server.world.answers["ListScimTokens"] = lambda _, asked: scim.ListScimTokensResponse(scim_tokens=[token])
    done = jit("scim", "create", "corp", "--days", "30")
    assert done.returncode == 0
    assert "jgscim_secret" in done.stdout
    assert "not shown again" in done.stderr
    asked = server.world.asked("CreateScimToken")[0]
    assert (asked.provider, asked.days) == ("corp", 30)
    shown = jit("scim", "list").stdout
    assert "scim-0123456789ab" in shown
    assert "never" in shown
    assert jit("scim", "delete", token.id, "--yes").returncode == 0
    assert server.world.asked("DeleteScimToken")[0].id == token.id
    assert jit("scim", "delete", token.id).returncode != 0  # nobody is there to be asked
    assert jit("scim", "create", "corp", "--days", "2000").returncode == 2


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
def test_verify_says_what_is_wrong(server: StandIn, jit: Jit) -> None:
    good = recording_pb2.VerifyRecordingResponse(intact=True, objects=3, signing_key_id="k1")
    bad = recording_pb2.VerifyRecordingResponse(intact=False, problems=["object 2: another hash"])
    server.world.answers["VerifyRecording"] = lambda *_: good
    assert "intact: 3 objects" in jit("recordings", "verify", SESSION).stdout
    server.world.answers["VerifyRecording"] = lambda *_: bad
    done = jit("recordings", "verify", SESSION)
    assert done.returncode == 1
    assert "object 2: another hash" in done.stdout


def test_a_doctor_of_a_node_shows_each_finding_and_what_to_do(server: StandIn, jit: Jit) -> None:
    findings = [
        node_pb2.NodeCheck(step="node", passed=True, message="web-1"),
        node_pb2.NodeCheck(step="host_key", passed=False, message=f"shows {HOSTILE}", what_to_do="Do not log in."),
    ]
    server.world.answers["DiagnoseNode"] = lambda *_: node_pb2.DiagnoseNodeResponse(findings=findings)
    done = jit("doctor", "web-1", "--account", "prod")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "✓ node: web-1",
        "✗ host key: shows evil\\x1b[2J\\u202eno",
        "  Do not log in.",
    ]
    _, _, asked = next(call for call in server.world.calls if call[0] == "DiagnoseNode")
    assert (asked.node, asked.scope.account) == ("web-1", "prod")
    assert json.loads(jit("doctor", "web-1", "--output", "json").stdout)["parts"][1]["healthy"] is False


def test_a_doctor_of_no_node(server: StandIn, jit: Jit) -> None:
    def refuse(caller: str, request: Any) -> Any:
        raise Refusal(grpc.StatusCode.NOT_FOUND, "NODE_NOT_FOUND", "There is no node web-9", "jit nodes list")

    server.world.answers["DiagnoseNode"] = refuse
    done = jit("doctor", "web-9")
    assert done.returncode == 5 and "There is no node web-9" in done.stderr
