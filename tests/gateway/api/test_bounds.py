"""The bounds that the contract declares are the bounds that hold."""

import pytest
from google.protobuf.message import Message

from gateway.api.bounds import check
from gateway.errors import Kind, Refused
from jitgate.v1.access_pb2 import GetAccessRequestRequest, ListAccessRequestsRequest, StartAccessRequestRequest
from jitgate.v1.common_pb2 import Scope
from jitgate.v1.node_pb2 import AddNodeRequest, SshEndpoint, UpdateNodeRequest
from jitgate.v1.session_pb2 import OpenSession


def refused_fields(message: Message) -> list[str]:
    with pytest.raises(Refused) as caught:
        check(message)
    assert caught.value.kind is Kind.INVALID_ARGUMENT
    return [violation.field for violation in caught.value.fields]


def test_what_fits_passes() -> None:
    check(StartAccessRequestRequest(nodes=["web-1"], reason="ü" * 256, hours=336))
    check(AddNodeRequest(name="web-1", tags={"k" * 128: "v" * 256}, ssh=SshEndpoint(host="h", host_keys=["k"])))


@pytest.mark.rule("R23")
@pytest.mark.parametrize("reason", ["", "x" * 257])
def test_a_reason_has_1_to_256_characters(reason: str) -> None:
    assert refused_fields(StartAccessRequestRequest(nodes=["web-1"], reason=reason)) == ["reason"]


@pytest.mark.rule("R22")
def test_one_node_a_request() -> None:
    assert refused_fields(StartAccessRequestRequest(nodes=["a", "b"], reason="r")) == ["nodes"]


def test_all_violations_come_at_once() -> None:
    message = StartAccessRequestRequest(nodes=[""], reason="", hours=-1, scope=Scope(account="../x"))
    assert refused_fields(message) == ["nodes", "reason", "scope.account", "hours"]


def test_within_lists_maps_and_nested_messages() -> None:
    assert refused_fields(AddNodeRequest(name="n", ssh=SshEndpoint(host="h", port=65536))) == ["ssh.port"]
    assert refused_fields(AddNodeRequest(name="n", ssh=SshEndpoint(host="h", host_keys=["k"] * 9))) == [
        "ssh.host_keys"
    ]
    assert refused_fields(UpdateNodeRequest(node="n", set_tags={"k": "v" * 257})) == ["set_tags"]
    assert refused_fields(UpdateNodeRequest(node="n", set_tags={"k" * 129: "v"})) == ["set_tags"]
    assert refused_fields(UpdateNodeRequest(node="n", set_tags={"": "v"})) == ["set_tags"]


def test_patterns_match_the_whole_value() -> None:
    check(GetAccessRequestRequest(id="oi-0123456789ab"))
    assert refused_fields(GetAccessRequestRequest(id="oi-0123456789AB")) == ["id"]
    assert refused_fields(GetAccessRequestRequest(id="oi-0123456789a\n")) == ["id"]


def test_an_unset_number_that_must_be_positive_is_refused() -> None:
    assert refused_fields(OpenSession(access_token="t", node="n")) == ["credit"]


def test_an_unknown_enum_value_is_refused() -> None:
    # statuses: [99], as a client of a later version of the contract would send it
    assert refused_fields(ListAccessRequestsRequest.FromString(b"\x12\x01\x63")) == ["statuses"]
