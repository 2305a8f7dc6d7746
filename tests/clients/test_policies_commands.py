"""What policy administrators say: findings, documents, explanations."""

import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from jitgate.v1 import identity_pb2, policy_pb2
from tests.clients.conftest import Jit
from tests.clients.refusal import Refusal
from tests.clients.standin import StandIn


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
