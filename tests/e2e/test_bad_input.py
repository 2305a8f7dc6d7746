"""Requests, policies and bytes that cannot be: a clear error, nothing written, the gateway alive."""

import contextlib
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.e2e.clock import Clock
from tests.e2e.stage import FAR, NODES, Stage, code_and_reason, what_to_do
from tests.processes import wait_for

INVALID_FIELD = ("INVALID_ARGUMENT", "INVALID_FIELD")
OVERLAP = ("ALREADY_EXISTS", "POLICY_OVERLAP")
POLICY_INVALID = ("INVALID_ARGUMENT", "POLICY_INVALID")


@pytest.fixture(scope="module")
def on(shared_stage: tuple[Stage, Clock]) -> Stage:
    return shared_stage[0]


@pytest.fixture(autouse=True)
def nothing_is_left(on: Stage) -> Iterator[None]:
    """Every test here may change nothing, and must leave a gateway that answers."""
    for somebody in (on.alice, on.administrator):
        _ = somebody.person  # signed in: that is no part of any test
    before = on.settled_rows()
    yield
    assert on.is_alive()
    assert on.settled_rows() == before


def refused(on: Stage, who: str, method: str, **fields: Any) -> tuple[str, str]:
    """Code and reason; the refusal says in one line what was wrong and in one what to do."""
    with pytest.raises(grpc.RpcError) as error:
        on.people[who].call(method, **fields)
    message = error.value.details()
    assert message
    assert "\n" not in message
    assert what_to_do(error.value)
    assert "\n" not in what_to_do(error.value)
    return code_and_reason(error.value)


@pytest.mark.rule("R23")
@pytest.mark.parametrize(
    "reason",
    ["", " ", "\t\n", "x" * 257, "é" * 257, "two\nlines", "a\0b", "\x1b[31mred", "bell\a", "right\u202eleft"],
    ids=["empty", "blank", "white", "257", "257-wide", "lines", "nul", "escape", "bell", "bidi"],
)
def test_a_reason_that_is_none(on: Stage, reason: str) -> None:
    code, why = refused(on, "alice", "AccessService/StartAccessRequest", nodes=["web-1"], reason=reason)
    assert code == "INVALID_ARGUMENT"
    assert why in {"INVALID_FIELD", "INVALID_REASON"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"nodes": []}, "INVALID_ARGUMENT"),
        ({"nodes": ["web-1", "web-2"]}, "INVALID_ARGUMENT"),
        ({"nodes": [""]}, "INVALID_ARGUMENT"),
        ({"nodes": ["x" * 129]}, "INVALID_ARGUMENT"),
        ({"nodes": ["no-such-node"]}, "NOT_FOUND"),
        ({"nodes": ["mi-0123456789abcdef0"]}, "NOT_FOUND"),
        ({"nodes": ["../web-1"]}, "NOT_FOUND"),
        ({"nodes": ["web-1'; DROP TABLE nodes; --"]}, "NOT_FOUND"),
        ({"nodes": ["far-1"]}, "NOT_FOUND"),
        ({"nodes": [NODES["far-1"][0]]}, "NOT_FOUND"),
        ({"nodes": ["far-1"], "scope": FAR}, "PERMISSION_DENIED"),
        ({"nodes": ["web-1"], "scope": {"account": "default", "region": "eu-west-1"}}, "PERMISSION_DENIED"),
        ({"nodes": ["web-1"], "scope": {"account": "*", "region": "*"}}, "INVALID_ARGUMENT"),
        ({"nodes": ["web-1"], "scope": {"account": "x" * 65}}, "INVALID_ARGUMENT"),
        ({"nodes": ["web-1"], "hours": -1}, "INVALID_ARGUMENT"),
        ({"nodes": ["web-1"], "hours": 337}, "INVALID_ARGUMENT"),
        ({"nodes": ["web-1"], "idempotency_key": "short"}, "INVALID_ARGUMENT"),
    ],
)
@pytest.mark.rule("R2")
def test_a_request_that_cannot_be(on: Stage, fields: dict[str, Any], expected: str) -> None:
    code, _ = refused(on, "alice", "AccessService/StartAccessRequest", reason="well", **fields)
    assert code == expected


@pytest.mark.parametrize(
    "text", ["", "oi-", "oi-00000000000G", "oi-0000000000000", "x" * 5000, "oi-000000000000\n"]
)
def test_an_id_that_is_none(on: Stage, text: str) -> None:
    assert refused(on, "alice", "AccessService/GetAccessRequest", id=text) == INVALID_FIELD
    assert refused(on, "bob", "ApprovalService/Approve", access_request_id=text) == INVALID_FIELD


def _manual(**changed: str) -> str:
    parts = {
        "name": "strange",
        "accessHours": "1",
        "targets": "[{tag: Owner}]",
        "levels": "[{approvers: [{user: bob}]}]",
        **changed,
    }
    return "".join(f"{key}: {value}\n" for key, value in parts.items() if value)


SIX_USERS = ", ".join(f"{{user: u{n}}}" for n in range(6))
ACTION = 'AWS::SSM::Action::"getTokenForInstanceAccess"'


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("AUTO", "permit(principal, action", POLICY_INVALID),
        ("AUTO", "permit(principal, action, resource);;;", POLICY_INVALID),
        ("AUTO", f"permit(principal, action == {ACTION}, resource) when {{ principal.age > 3 }};", POLICY_INVALID),
        ("AUTO", f'permit(principal == Photo::"x", action == {ACTION}, resource);', POLICY_INVALID),
        ("AUTO", f"forbid(principal, action == {ACTION}, resource);", POLICY_INVALID),
        ("DENY", f"permit(principal, action == {ACTION}, resource);", POLICY_INVALID),
        ("AUTO", "\0", INVALID_FIELD),
        ("AUTO", "(" * 20_000, POLICY_INVALID),
        ("AUTO", "x" * 262_145, INVALID_FIELD),
        ("MANUAL", "]]] no yaml", POLICY_INVALID),
        ("MANUAL", "", POLICY_INVALID),
        ("MANUAL", "&a [*a, *a]", POLICY_INVALID),
        ("MANUAL", "[" * 20_000, POLICY_INVALID),
        ("MANUAL", "!!python/object/apply:os.system [id]", POLICY_INVALID),
        ("MANUAL", _manual(levels="[{approvers: []}]"), POLICY_INVALID),
        ("MANUAL", _manual(levels="[{approvals: 1}]"), POLICY_INVALID),
        ("MANUAL", _manual(levels="[]"), POLICY_INVALID),
        ("MANUAL", _manual(levels=""), POLICY_INVALID),
        ("MANUAL", _manual(levels=f"[{', '.join(['{approvers: [{user: bob}]}'] * 6)}]"), POLICY_INVALID),
        ("MANUAL", _manual(levels=f"[{{approvers: [{SIX_USERS}]}}]"), POLICY_INVALID),
        ("MANUAL", _manual(levels="[{approvers: [{user: bob}], approvals: 2}]"), POLICY_INVALID),
        ("MANUAL", _manual(accessHours="0"), POLICY_INVALID),
        ("MANUAL", _manual(accessHours="337"), POLICY_INVALID),
        ("MANUAL", _manual(targets="[]"), POLICY_INVALID),
        ("MANUAL", _manual(name="../../etc"), POLICY_INVALID),
        ("MANUAL", _manual(unknown="1"), POLICY_INVALID),
        ("MANUAL", _manual(targets="[{tag: Environment, values: [prod, x]}]"), OVERLAP),
        ("UNSPECIFIED", "x", INVALID_FIELD),
    ],
)  # fmt: skip
@pytest.mark.rule("R12")
@pytest.mark.rule("R15")
def test_a_policy_that_is_none(on: Stage, kind: str, text: str, expected: tuple[str, str]) -> None:
    found = refused(on, "administrator", "PolicyService/PutPolicy", kind=f"POLICY_KIND_{kind}", text=text)
    assert found == expected


def test_what_the_command_line_says_of_a_bad_policy(on: Stage, folder: Path) -> None:
    """File, line and column, the text to write instead, and that nothing was stored."""
    file = folder / "bad.cedar"
    file.write_text(
        f'permit(principal, action == {ACTION}, resource)\nwhen {{ principal.organisation == "x" }};\n'
    )
    person = on.administrator.person
    for command in ("validate", "put"):
        done = person.run("policies", command, file)
        said = done.stderr.decode()
        assert done.returncode == 1
        assert f"{file}:2:" in said
        assert "organization" in said
    assert "Nothing was stored" in said


def test_what_the_command_line_says_of_a_bad_request(on: Stage) -> None:
    person = on.alice.person
    for arguments, code in (
        (("request", "web-1", "--reason", ""), 2),
        (("request", "web-1", "--reason", "x" * 257), 2),
        (("request", "nowhere", "--reason", "well"), 5),
        (("request", "far-1", "--reason", "well", "--account", "emea", "--region", "eu-west-1"), 4),
        (("requests", "show", "oi-nonsense"), 2),
        (("approve", "oi-000000000000"), 4),
    ):
        done = person.run(*arguments)
        said = done.stderr.decode()
        assert (done.returncode, said.count("error: ")) == (code, 1), (arguments, said)
        assert len(said.partition("error: ")[2].strip().splitlines()) == 2, said


# -- below the contract -------------------------------------------------------------------------------------------


def test_bytes_that_are_no_message(on: Stage) -> None:
    malformed, not_hers = ("INVALID_ARGUMENT", "MALFORMED_MESSAGE"), ("PERMISSION_DENIED", "NOT_PERMITTED")
    for path, expected in (
        ("AccessService/StartAccessRequest", malformed),
        ("PolicyService/ValidatePolicy", malformed),
        ("AccessService/WatchAccessRequest", malformed),
        ("PolicyService/PutPolicy", not_hers),  # who may not call it is not told what it takes
    ):
        call: Any = on.alice.client.channel.unary_unary(f"/jitgate.v1.{path}", None, None)
        with pytest.raises(grpc.RpcError) as error:
            call(b"\xff" * 64, timeout=60)
        assert code_and_reason(error.value) == expected
    stream: Any = on.alice.client.channel.stream_stream("/jitgate.v1.SessionService/Connect", None, None)
    with pytest.raises(grpc.RpcError):
        list(stream(iter([b"\xff" * 64]), timeout=60))


def test_a_message_beyond_what_is_taken(on: Stage) -> None:
    call: Any = on.alice.client.channel.unary_unary("/jitgate.v1.PolicyService/ValidatePolicy", None, None)
    with pytest.raises(grpc.RpcError) as error:
        call(bytes(5 << 20), timeout=60)
    assert error.value.code().name == "RESOURCE_EXHAUSTED"


def test_a_method_that_is_none(on: Stage) -> None:
    for path in ("/jitgate.v1.AccessService/NoSuchMethod", "/no.Service/Method", "/", ""):
        call: Any = on.alice.client.channel.unary_unary(path, None, None)
        with pytest.raises(grpc.RpcError) as error:
            call(b"", timeout=60)
        assert error.value.code().name in {"UNIMPLEMENTED", "UNAVAILABLE", "INTERNAL"}


def test_headers_beyond_what_is_taken(on: Stage) -> None:
    call: Any = on.alice.client.channel.unary_unary("/jitgate.v1.IdentityService/WhoAmI", None, None)
    with pytest.raises(grpc.RpcError):
        call(b"", timeout=60, metadata=[("x-long", "y" * 100_000)])


@pytest.mark.parametrize("what", ["junk", "http", "tls-then-junk", "silence"])
def test_connections_that_speak_something_else(on: Stage, what: str) -> None:
    """A hundred of each, on both addresses; some are left hanging while others are served."""
    with contextlib.ExitStack() as undo:
        for address in (on.gateway.address, on.gateway.sign_in_address):
            host, _, port = address.rpartition(":")
            for _ in range(100):
                connection = undo.enter_context(socket.create_connection((host, int(port)), 60))
                if what == "junk":
                    connection.sendall(os.urandom(2000))
                elif what == "http":
                    connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                elif what == "tls-then-junk" and address == on.gateway.sign_in_address:
                    context = ssl.create_default_context(cafile=on.gateway.ca_file)
                    context.set_alpn_protocols(["h2"])
                    wrapped = undo.enter_context(context.wrap_socket(connection, server_hostname="localhost"))
                    wrapped.sendall(os.urandom(2000))
        assert on.is_alive()
    wait_for(on.is_alive, what="an answer")
