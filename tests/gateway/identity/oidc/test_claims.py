"""From claims to people: every way that a configuration can say it."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import Refused
from gateway.identity.model import is_group_id, is_user_id
from gateway.identity.oidc.claims import person_of
from gateway.identity.oidc.settings import Claims

ALICE = {"sub": "u-1", "preferred_username": "alice", "groups": ["sre"]}


def mapping(**said: Any) -> Claims:
    return Claims.model_validate(said)


def groups(claims: dict[str, Any], **said: Any) -> list[str]:
    return sorted(person_of(ALICE | claims, mapping(**said)).groups)


@pytest.mark.rule("R31")
def test_groups_with_a_prefix_renamed_nested_or_picked() -> None:
    assert groups({}, group_prefix="corp-") == ["corp-sre"]
    assert groups({"groups": ["Domain Admins", "x"]}, group_names={"Domain Admins": "admins"}) == ["admins", "x"]
    assert groups({"realm_access": {"roles": ["ops"]}}, groups=["realm_access", "roles"]) == ["ops"]
    assert groups({"https://example.com/groups": ["ops"]}, groups="https://example.com/groups") == ["ops"]
    assert groups({"groups": "sre"}) == ["sre"]  # a provider with one group may leave the list out
    many = [f"8f0{number:05d}-4b" for number in range(400)]
    picked = {"group_names": {many[7]: "dba"}, "only_named_groups": True, "group_prefix": "entra-"}
    assert groups({"groups": many}, **picked) == ["entra-dba"]


def test_groups_without_a_usable_name_are_left_out_and_counted() -> None:
    person = person_of(ALICE | {"groups": ["sre", "on call", "/team", "", "a" * 65]}, mapping())
    assert (sorted(person.groups), person.left_out) == (["sre"], 3)


@pytest.mark.rule("R31")
def test_a_missing_groups_claim_is_no_empty_one() -> None:
    without = {"sub": "u-1", "preferred_username": "alice"}
    with pytest.raises(Refused, match="groups claim groups is missing"):
        person_of(without, mapping())
    assert person_of(without, mapping(groups_required=False)).groups == frozenset()
    assert person_of(without | {"groups": []}, mapping()).groups == frozenset()
    with pytest.raises(Refused, match=r"realm_access\.roles is missing"):
        person_of(without | {"realm_access": "text"}, mapping(groups=["realm_access", "roles"]))


def test_user_ids() -> None:
    upn = {"preferred_username": "Alice@Example.com"}
    with pytest.raises(Refused, match="no user id"):
        person_of(ALICE | upn, mapping())
    assert person_of(ALICE | upn, mapping(lowercase_user_id=True)).user_id == "alice@example.com"
    own = {"lowercase_user_id": True, "user_id_suffix": "@example.com"}
    assert person_of(ALICE | upn, mapping(**own)).user_id == "alice"
    with pytest.raises(Refused, match=r"does not end with @example\.com"):  # a guest of another company
        person_of(ALICE | {"preferred_username": "alice@partner.example"}, mapping(**own))
    with pytest.raises(Refused, match="no user id"):
        person_of(ALICE | {"preferred_username": "@example.com"}, mapping(**own))
    nested = {"user_id": ["profile", "login"], "subject": "oid"}
    person = person_of(ALICE | {"oid": "o-1", "profile": {"login": "al"}}, mapping(**nested))
    assert (person.subject, person.user_id) == ("o-1", "al")


def test_names_that_terminals_would_obey_are_made_harmless() -> None:
    assert (
        person_of(ALICE | {"name": "Al\x1b[2Jice\n" + "x" * 200}, mapping()).display_name
        == ("Al[2Jice" + "x" * 200)[:128]
    )
    assert person_of(ALICE | {"name": ["Alice"]}, mapping()).display_name == ""


TAGS = {
    "principal_tags": {"Team": "team", "Project": ["https://aws.amazon.com/tags", "principal_tags", "Project"]}
}


@pytest.mark.rule("R31")
def test_principal_tags_and_attributes() -> None:
    said = {"team": "web", "https://aws.amazon.com/tags": {"principal_tags": {"Project": ["Atlas"]}}}
    assert person_of(ALICE | said, mapping(**TAGS)).principal_tags == {"Team": "web", "Project": "Atlas"}
    assert person_of(ALICE, mapping(**TAGS)).principal_tags == {}
    assert person_of(ALICE | {"team": ""}, mapping(**TAGS)).principal_tags == {}
    attributes = {"attributes": {"employeeNumber": "number", "division": "division"}}
    person = person_of(ALICE | {"number": 4711, "division": "North"}, mapping(**attributes))
    assert person.attributes == {"employeeNumber": "4711", "division": "North"}


@pytest.mark.parametrize("value", [True, 1.5, {}, ["a", "b"], "x" * 257, "line\nbreak", [["web"]]])
def test_a_tag_or_attribute_of_another_shape_lets_nobody_in(value: Any) -> None:
    for said in (TAGS, {"attributes": {"division": "team"}}):
        with pytest.raises(Refused, match="the claim team is no text"):
            person_of(ALICE | {"team": value}, mapping(**said))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=150)
@given(claims=st.fixed_dictionaries(dict.fromkeys(("sub", "preferred_username", "name", "groups", "team"), JSON)))
def test_whatever_a_provider_says_makes_a_proper_person_or_none(claims: dict[str, Any]) -> None:
    try:
        person = person_of(claims, mapping(groups_required=False, **TAGS))
    except Refused as refused:
        assert refused.reason == "CLAIM_UNUSABLE"  # noqa: PT017 - both outcomes are right
    else:
        assert is_user_id(person.user_id)
        assert all(is_group_id(group) for group in person.groups)
        assert all(value.isprintable() for value in (*person.principal_tags.values(), person.display_name))
