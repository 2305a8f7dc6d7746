"""Filter expressions: what they match, and that a bad one is named."""

import contextlib
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import Refused
from gateway.nodes import filters
from gateway.nodes.model import Node, SshEndpoint
from tests.gateway.nodes.conftest import NODE_ID, NOW


def a_node(**changes: object) -> Node:
    values: dict[str, object] = {
        "id": NODE_ID,
        "name": "web-1",
        "account": "default",
        "region": "default",
        "connector": "ssh",
        "endpoint": SshEndpoint("10.0.0.7", login="deploy"),
        "created_at": NOW,
        "tags": {"Environment": "prod", "empty": "", "star": "a*b"},
        "properties": {"platform": "Linux 6.1 x86_64"},
        "last_seen_at": NOW - timedelta(hours=4),
    }
    return Node(**{**values, **changes})  # type: ignore[arg-type]  # the tests' own keywords


def matches(node: Node, *expressions: str) -> bool:
    return filters.matches_all(filters.parse(expressions, NOW), node)


@pytest.mark.rule("R33")
@pytest.mark.parametrize(
    "expression",
    [
        "name=web-1",
        "name=web-*",
        "name=*",
        f"id={NODE_ID}",
        "id=mi-*",
        "connector=ssh",
        "host=10.0.*",
        "port=22",
        "account=default",
        "region=def*",
        "login=deploy",
        "last_seen=2*",
        "last_seen=*",
        "added=2*",
        "unseen=3h",
        "locked=false",
        "platform=Linux*",
        "tag:Environment",
        "tag:Environment=prod",
        "tag:Environment=p*",
        "tag:empty",
        "tag:empty=*",
        "tag:star=a*b",
    ],
)
def test_what_matches(expression: str) -> None:
    assert matches(a_node(), expression)


@pytest.mark.rule("R33")
@pytest.mark.parametrize(
    "expression",
    [
        "name=web",
        "name=WEB-1",
        "name=*-1",
        "ssh_version=*",
        "connected=false",
        "lock_reason=*",
        "port=2",
        "unseen=5h",
        "unseen=1d",
        "locked=true",
        "tag:environment",
        "tag:Environment=pro",
        "tag:Environment=*d",
        "tag:empty=x",
        "tag:star=a?b",
    ],
)
def test_what_does_not(expression: str) -> None:
    assert not matches(a_node(), expression)


def test_all_must_hold() -> None:
    assert matches(a_node())
    assert matches(a_node(), "name=web-*", "tag:Environment=prod")
    assert not matches(a_node(), "name=web-*", "tag:Environment=test")
    assert matches(a_node(locked_at=NOW), "locked=true")


def test_agents_are_connected_or_not_and_others_neither() -> None:
    away, here = a_node(connector="agent"), a_node(connector="agent", attached_to="r-1", last_seen_at=None)
    assert matches(here, "connected=true", "unseen=1m") and matches(away, "connected=false")
    assert not matches(a_node(), "connected=*")
    dials = a_node(connector="agent", endpoint=SshEndpoint("", 0))
    assert not any(matches(dials, expression) for expression in ("host=*", "port=*", "login=*"))


@pytest.mark.rule("R33")
@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ("", "''"),
        ("colour=red", "'colour'"),
        ("name", "'name' needs a value"),
        ("name=", "'name' is compared with nothing"),
        ("tag:", "not 0"),
        ("tag:=x", "not 0"),
        ("tag:Environment=", "'tag:Environment'"),
        (f"tag:{'k' * 129}", "not 129"),
        ("name=" + "x" * 508, "512"),
        ("Name=web", "'Name'"),
        ("unseen=1w", "'1w'"),
        ("unseen=-1d", "'-1d'"),
        ("unseen=999999d", "'999999d'"),
        ("unseen", "''"),
        (" name=web", "' name'"),
    ],
)
def test_a_bad_expression_is_named_with_its_bad_part(expression: str, named: str) -> None:
    with pytest.raises(Refused) as caught:
        filters.parse(["name=ok", expression], NOW)
    assert caught.value.reason == "INVALID_FIELD"
    assert caught.value.fields[0].field == "filters[1]"
    assert named in caught.value.message
    assert "tag:KEY" in caught.value.what_to_do


def test_too_many() -> None:
    filters.parse(["name=x"] * 20, NOW)
    with pytest.raises(Refused):
        filters.parse(["name=x"] * 21, NOW)


@settings(max_examples=200)
@given(st.text(max_size=600))
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    with contextlib.suppress(Refused):
        filters.matches_all(filters.parse([text], NOW), a_node())


@settings(max_examples=200)
@given(st.text(min_size=1, max_size=128).filter(lambda key: "=" not in key), st.text(min_size=1, max_size=256))
def test_every_tag_can_be_found(key: str, value: str) -> None:
    node = a_node(tags={key: value})
    assert matches(node, f"tag:{key}", f"tag:{key}={value}", f"tag:{key}={value[:1]}*")
