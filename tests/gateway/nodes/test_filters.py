"""Filter expressions: what they match, and that a bad one is named."""

import contextlib

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
        "endpoint": SshEndpoint("10.0.0.7"),
        "created_at": NOW,
        "tags": {"Environment": "prod", "empty": "", "star": "a*b"},
        "properties": {"platform": "Linux 6.1 x86_64"},
    }
    return Node(**{**values, **changes})  # type: ignore[arg-type]  # the tests' own keywords


def matches(node: Node, *expressions: str) -> bool:
    return filters.matches_all(filters.parse(expressions), node)


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
        (" name=web", "' name'"),
    ],
)
def test_a_bad_expression_is_named_with_its_bad_part(expression: str, named: str) -> None:
    with pytest.raises(Refused) as caught:
        filters.parse(["name=ok", expression])
    assert caught.value.reason == "INVALID_FIELD"
    assert caught.value.fields[0].field == "filters[1]"
    assert named in caught.value.message
    assert "tag:KEY" in caught.value.what_to_do


def test_too_many() -> None:
    filters.parse(["name=x"] * 20)
    with pytest.raises(Refused):
        filters.parse(["name=x"] * 21)


@settings(max_examples=200)
@given(st.text(max_size=600))
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    with contextlib.suppress(Refused):
        filters.matches_all(filters.parse([text]), a_node())


@settings(max_examples=200)
@given(st.text(min_size=1, max_size=128).filter(lambda key: "=" not in key), st.text(min_size=1, max_size=256))
def test_every_tag_can_be_found(key: str, value: str) -> None:
    node = a_node(tags={key: value})
    assert matches(node, f"tag:{key}", f"tag:{key}={value}", f"tag:{key}={value[:1]}*")
