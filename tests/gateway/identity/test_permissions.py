import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity.model import Role, RoleGrant
from gateway.identity.permissions import PERMISSIONS, allows
from jitgate.v1 import annotations_pb2 as declared
from jitgate.v1.annotations_pb2 import Permission

# A node's agent is proven by its certificate; people hold that permission by no role.
ALL = [
    value
    for value in Permission.values()
    if value > declared.PERMISSION_SIGNED_IN and value != declared.PERMISSION_AGENT
]
WRITING = {
    declared.PERMISSION_REQUEST_ACCESS,
    declared.PERMISSION_DECIDE_ACCESS,
    declared.PERMISSION_WRITE_POLICIES,
    declared.PERMISSION_WRITE_NODES,
    declared.PERMISSION_TERMINATE_SESSIONS,
    declared.PERMISSION_WRITE_DIRECTORY,
    declared.PERMISSION_LOCK,
    declared.PERMISSION_WRITE_TARGETS,
    declared.PERMISSION_WRITE_PREFERENCES,
    declared.PERMISSION_WRITE_ALLOWANCES,
    declared.PERMISSION_RETRY_UPLOADS,
    declared.PERMISSION_DELETE_RECORDINGS,
}


def grant(what: Role, account: str = "default", region: str = "default", *kinds: str) -> RoleGrant:
    return RoleGrant("user", "alice", what, account, region, frozenset(kinds))


def given_to(what: Role) -> set[int]:
    return {permission for permission in ALL if allows(grant(what, "*", "*", "deny"), permission)}


def test_every_role_is_in_the_table_and_every_permission_belongs_to_somebody() -> None:
    assert set(PERMISSIONS) == set(Role)
    assert set().union(*PERMISSIONS.values()) == set(ALL)


@pytest.mark.rule("R32")
def test_users_approvers_and_administrators_hold_different_permissions() -> None:
    assert given_to(Role.USER) == {declared.PERMISSION_REQUEST_ACCESS, declared.PERMISSION_READ_NODES}
    assert given_to(Role.APPROVER) == {declared.PERMISSION_DECIDE_ACCESS, declared.PERMISSION_READ_NODES}
    administrator = given_to(Role.ORGANIZATION_ADMINISTRATOR)
    assert set(ALL) - administrator == {
        declared.PERMISSION_REQUEST_ACCESS,
        declared.PERMISSION_DECIDE_ACCESS,
        declared.PERMISSION_READ_RECORDINGS,
        declared.PERMISSION_EXPORT_RECORDINGS,
        declared.PERMISSION_READ_INPUT_CONTENT,
    }


@pytest.mark.rule("R32")
def test_an_auditor_reads_everything_but_what_was_typed_and_changes_nothing() -> None:
    auditor = given_to(Role.AUDITOR)
    assert not auditor & WRITING
    assert auditor == set(ALL) - WRITING - {declared.PERMISSION_READ_INPUT_CONTENT}


@pytest.mark.rule("R27")
def test_the_content_of_input_has_a_role_of_its_own_that_opens_nothing_else() -> None:
    assert given_to(Role.INPUT_READER) == {declared.PERMISSION_READ_INPUT_CONTENT}
    assert {what for what in Role if declared.PERMISSION_READ_INPUT_CONTENT in PERMISSIONS[what]} == {
        Role.INPUT_READER
    }


@pytest.mark.parametrize("what", Role)
def test_public_and_signed_in_are_not_given_by_roles(what: Role) -> None:
    for permission in (
        declared.PERMISSION_UNSPECIFIED,
        declared.PERMISSION_PUBLIC,
        declared.PERMISSION_SIGNED_IN,
    ):
        assert not allows(grant(what, "*", "*"), permission)


@pytest.mark.rule("R32")
@pytest.mark.parametrize(
    ("kinds", "asked", "answer"),
    [
        (("manual",), "manual", True),
        (("manual",), "auto", False),
        (("manual",), "deny", False),
        (("auto", "manual"), "auto", True),
        (("deny",), "deny", False),  # not for the whole organization
        ((), "manual", False),
        (("manual",), None, True),
        ((), None, False),
    ],
)
def test_writing_policies_is_restricted_by_kind(kinds: tuple[str, ...], asked: str | None, answer: bool) -> None:
    held = grant(Role.POLICY_ADMINISTRATOR, "default", "default", *kinds)
    assert allows(held, declared.PERMISSION_WRITE_POLICIES, policy_kind=asked) is answer


@pytest.mark.rule("R32")
def test_the_deny_policy_is_the_organizations() -> None:
    write = declared.PERMISSION_WRITE_POLICIES
    assert allows(grant(Role.ORGANIZATION_ADMINISTRATOR, "*", "*"), write, "*", "*", "deny")
    assert allows(grant(Role.POLICY_ADMINISTRATOR, "*", "*", "deny"), write, "*", "*", "deny")
    assert not allows(grant(Role.POLICY_ADMINISTRATOR, "*", "*", "auto", "manual"), write, "*", "*", "deny")
    for account, region in (("*", "default"), ("default", "*"), ("default", "default")):
        for what in (Role.POLICY_ADMINISTRATOR, Role.ORGANIZATION_ADMINISTRATOR):
            assert not allows(grant(what, account, region, "deny"), write, None, None, "deny")


@pytest.mark.rule("R32")
@pytest.mark.parametrize(
    ("held", "asked", "answer"),
    [
        (("default", "default"), ("default", "default"), True),
        (("default", "default"), ("default", "eu"), False),
        (("default", "default"), ("other", "default"), False),
        (("default", "default"), (None, None), True),
        (("default", "default"), ("*", "default"), False),
        (("*", "default"), ("other", "default"), True),
        (("*", "default"), ("other", "eu"), False),
        (("*", "default"), ("*", "*"), False),
        (("*", "*"), ("*", "*"), True),
        (("*", "*"), ("other", "eu"), True),
    ],
)
def test_a_grant_holds_in_its_account_and_region(
    held: tuple[str, str], asked: tuple[str | None, str | None], answer: bool
) -> None:
    assert allows(grant(Role.USER, *held), declared.PERMISSION_REQUEST_ACCESS, *asked) is answer


places = st.sampled_from(["*", "default", "a", "b"])


@given(
    what=st.sampled_from(list(Role)),
    permission=st.sampled_from(ALL),
    held=st.tuples(places, places),
    asked=st.tuples(places, places),
    kinds=st.frozensets(st.sampled_from(["deny", "auto", "manual"])),
    kind=st.sampled_from(["deny", "auto", "manual"]),
)
def test_what_is_allowed_somewhere_is_allowed_with_more_and_denied_without_the_role(
    what: Role,
    permission: int,
    held: tuple[str, str],
    asked: tuple[str, str],
    kinds: frozenset[str],
    kind: str,
) -> None:
    narrow = RoleGrant("user", "alice", what, *held, kinds)
    wide = RoleGrant("user", "alice", what, "*", "*", kinds | {kind})
    wanted = Permission.ValueType(permission)
    if allows(narrow, wanted, *asked, kind):
        assert allows(wide, wanted, *asked, kind)
        assert wanted in PERMISSIONS[what]
        assert allows(narrow, wanted)
