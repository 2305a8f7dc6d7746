import asyncio
import json

import pytest

from gateway.access.model import PolicyKey
from gateway.access.policies import PolicyInvalid
from gateway.identity.model import Role, RoleGrant
from gateway.store import tables
from policy.model import PolicyKind
from policy.written import Form
from tests.gateway.access.refusals import refused
from tests.gateway.access.world import AUTO, DATABASE_NODE, DENY, HOME, START, WEB, Hands, World, manual

MANUAL, AUTO_KIND, DENY_KIND = PolicyKind.MANUAL, PolicyKind.AUTO, PolicyKind.DENY


async def administrator(world: World, *kinds: str, account: str = "default", region: str = "default") -> None:
    await world.grant(RoleGrant("user", "bob", Role.POLICY_ADMINISTRATOR, account, region, frozenset(kinds)))


@pytest.mark.rule("R1")
async def test_each_put_is_a_version(world: World) -> None:
    root = await world.caller("root")
    for number in (1, 2, 3):
        stored, _ = await world.policies.put(root, AUTO_KIND, HOME, AUTO + f"// {number}\n")
        assert (stored.key, stored.version) == (PolicyKey(AUTO_KIND, *HOME, "auto-approval"), number)
    assert (await world.policy_reader.get(root, AUTO_KIND, HOME, "")).text == AUTO + "// 3\n"
    assert (await world.policy_reader.get(root, AUTO_KIND, HOME, "auto-approval", 2)).text == AUTO + "// 2\n"
    found, more = await world.policy_reader.versions(root, AUTO_KIND, HOME, "auto-approval", limit=2)
    assert ([stored.version for stored in found], more) == ([3, 2], True)
    found, more = await world.policy_reader.versions(root, AUTO_KIND, HOME, "auto-approval", limit=2, below=2)
    assert ([stored.version for stored in found], more) == ([1], False)
    assert await world.events("auto/default/default/auto-approval") == [
        "policy.created",
        "policy.changed",
        "policy.changed",
    ]


@pytest.mark.rule("R21")
async def test_versions_go_on_after_a_deletion(world: World) -> None:
    root = await world.caller("root")
    await world.policies.put(root, AUTO_KIND, HOME, AUTO)
    await world.policies.delete(root, AUTO_KIND, HOME, "")
    async with refused(world, "POLICY_NOT_FOUND"):
        await world.policy_reader.get(root, AUTO_KIND, HOME, "")
    async with refused(world, "POLICY_NOT_FOUND"):
        await world.policies.delete(root, AUTO_KIND, HOME, "")
    assert (await world.policy_reader.get(root, AUTO_KIND, HOME, "", 1)).text == AUTO
    stored, _ = await world.policies.put(root, AUTO_KIND, HOME, AUTO, create_only=True)
    assert stored.version == 2
    assert (await world.events("auto/default/default/auto-approval"))[1] == "policy.deleted"


async def test_expected_version_and_create_only(world: World) -> None:
    root = await world.caller("root")
    async with refused(world, "VERSION_CHANGED"):
        await world.policies.put(root, AUTO_KIND, HOME, AUTO, expected_version=1)
    await world.policies.put(root, AUTO_KIND, HOME, AUTO, create_only=True)
    async with refused(world, "POLICY_EXISTS"):
        await world.policies.put(root, AUTO_KIND, HOME, AUTO, create_only=True)
    await world.policies.put(root, AUTO_KIND, HOME, AUTO, expected_version=1)
    async with refused(world, "VERSION_CHANGED"):
        await world.policies.put(root, AUTO_KIND, HOME, AUTO, expected_version=1)
    await world.policies.delete(root, AUTO_KIND, HOME, "")
    async with refused(world, "VERSION_CHANGED"):
        await world.policies.put(root, AUTO_KIND, HOME, AUTO, expected_version=2)


async def test_of_ten_who_expect_one_version_one_wins(world: World) -> None:
    root = await world.caller("root")
    await world.policies.put(root, AUTO_KIND, HOME, AUTO)
    hands = [Hands(world.url, world.clock) for _ in range(2)]
    results = await asyncio.gather(
        *(
            hands[n % 2].policies.put(root, AUTO_KIND, HOME, AUTO + f"// {n}\n", expected_version=1)
            for n in range(10)
        ),
        return_exceptions=True,
    )
    for hand in hands:
        await hand.database.close()
    assert sum(isinstance(result, tuple) for result in results) == 1
    assert (await world.policy_reader.get(root, AUTO_KIND, HOME, "")).version == 2


@pytest.mark.rule("R12")
async def test_every_finding_comes_at_once_and_nothing_is_stored(world: World) -> None:
    text = "permit(principal, action, resource) when { principal.salary > 3 };\n" + DENY
    root = await world.caller("root")
    async with refused(world, "POLICY_INVALID"):
        await world.policies.put(root, AUTO_KIND, HOME, text)
    with pytest.raises(PolicyInvalid) as caught:
        await world.policies.put(root, AUTO_KIND, HOME, text)
    assert {finding.line for finding in caught.value.findings} >= {1, 2}
    checked = await world.policies.validate(root, AUTO_KIND, HOME, text)
    assert checked.findings == caught.value.findings


@pytest.mark.rule("R12")
@pytest.mark.parametrize(
    ("kind", "text"),
    [(AUTO_KIND, DENY), (DENY_KIND, AUTO), (MANUAL, AUTO), (MANUAL, ""), (AUTO_KIND, "permit("), (MANUAL, "\x00")],
)
async def test_texts_that_are_no_such_policy(world: World, kind: PolicyKind, text: str) -> None:
    async with refused(world, "POLICY_INVALID"):
        await world.policies.put(await world.caller("root"), kind, HOME, text)


@pytest.mark.rule("R12")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "// later\n",
        '{"schemaVersion": "0.3", "AutoApprovalPolicyDocuments": [{"type": "Cedar", "content": ""}]}',
    ],
)
async def test_a_policy_that_says_nothing_is_accepted_with_a_warning(world: World, text: str) -> None:
    root = await world.caller("root")
    for kind, word in ((AUTO_KIND, "permit"), (DENY_KIND, "forbid")):
        _, warned = await world.policies.put(root, kind, HOME, text)
        assert [warning.split(":")[0] for warning in warned] == [f"There is no {word} in it"]
        assert (await world.policies.validate(root, kind, HOME, text)).warnings == warned
    assert (await world.policies.put(root, AUTO_KIND, HOME, AUTO))[1] == ()
    assert (await world.policies.put(root, DENY_KIND, HOME, DENY))[1] == ()


AWS_MANUAL = """\
schemaVersion: '0.3'
description: databases
accessTokenRole: SSM-JustInTimeAccessTokenRole
accessDuration: 14400
targets: [{Key: 'tag:Workload', Values: [db]}]
mainSteps:
- name: ManualApproval
  action: aws:approve
  inputs: {EnhancedApprovals: {Approvers: [{approver: olga, type: SSOUser}]}}
"""
AWS_AUTO = json.dumps({
    "schemaVersion": "0.3",
    "description": "for developers",
    "AutoApprovalPolicyDocuments": [{"type": "Cedar", "content": AUTO}],
})  # fmt: skip


@pytest.mark.rule("R8")
@pytest.mark.rule("R15")
async def test_a_manual_policy_decides_in_the_form_of_awss_documents_too(world: World) -> None:
    root = await world.caller("root")
    stored, _ = await world.policies.put(root, MANUAL, HOME, AWS_MANUAL, name="databases")
    assert (stored.key.name, stored.description, stored.text) == ("databases", "databases", AWS_MANUAL)
    assert (await world.policy_reader.explain(root, HOME, "alice", DATABASE_NODE)).outcome == "needs_approval"
    shown = await world.policy_reader.get(root, MANUAL, HOME, "databases", form=Form.YAML)
    assert "accessHours: 4" in shown.text
    await world.policies.put(root, MANUAL, HOME, shown.text)
    as_document = await world.policy_reader.get(root, MANUAL, HOME, "databases", 2, form=Form.AWS)
    assert json.loads(as_document.text)["accessDuration"] == 14400
    again, _ = await world.policies.put(root, MANUAL, HOME, as_document.text, name="databases")
    assert again.version == 3
    async with refused(world, "POLICY_OVERLAP"):
        await world.policies.put(root, MANUAL, HOME, AWS_MANUAL, name="others")


@pytest.mark.rule("R7")
async def test_an_auto_approval_policy_decides_in_the_form_of_awss_documents_too(world: World) -> None:
    root = await world.caller("root")
    await world.put(AUTO_KIND, AUTO)
    before = await world.policy_reader.explain(root, HOME, "alice", WEB)
    stored, _ = await world.policies.put(root, AUTO_KIND, HOME, AWS_AUTO)
    assert (stored.text, stored.description) == (AWS_AUTO, "for developers")
    assert (await world.policy_reader.explain(root, HOME, "alice", WEB)).outcome == before.outcome
    assert (await world.policy_reader.get(root, AUTO_KIND, HOME, "", form=Form.CEDAR)).text == AUTO
    assert (await world.policy_reader.get(root, AUTO_KIND, HOME, "", form=Form.AWS)).text == AWS_AUTO


async def test_a_name_is_given_beside_such_a_document_and_only_there(world: World) -> None:
    root = await world.caller("root")
    async with refused(world, "POLICY_INVALID"):
        await world.policies.put(root, MANUAL, HOME, AWS_MANUAL)
    async with refused(world, "POLICY_INVALID"):
        await world.policies.put(root, MANUAL, HOME, manual("one"), name="other")
    async with refused(world, "INVALID_FIELD"):
        await world.policies.put(root, AUTO_KIND, HOME, AUTO, name="mine")
    assert (await world.policies.validate(root, MANUAL, HOME, AWS_MANUAL)).findings
    assert (await world.policies.validate(root, MANUAL, HOME, AWS_MANUAL, name="new")).findings == ()


async def test_what_a_form_cannot_say_is_refused_by_name(world: World) -> None:
    root = await world.caller("root")
    await world.put(MANUAL, manual("one", more="windowStarts: firstSession\n"))
    async with refused(world, "NO_COUNTERPART"):
        await world.policy_reader.get(root, MANUAL, HOME, "one", form=Form.AWS)
    async with refused(world, "INVALID_FIELD"):
        await world.policy_reader.get(root, MANUAL, HOME, "one", form=Form.CEDAR)
    async with refused(world, "INVALID_FIELD"):
        await world.policy_reader.get(root, AUTO_KIND, HOME, "", form=Form.YAML)


@pytest.mark.rule("R17")
async def test_what_can_never_be_satisfied_is_refused(world: World) -> None:
    async with refused(world, "POLICY_INVALID"):
        await world.put(MANUAL, manual(levels="[{approvers: [{user: olga}], approvals: 2}]"))
    async with refused(world, "POLICY_INVALID"):
        await world.put(MANUAL, manual(levels="[{approvers: []}]"))


@pytest.mark.rule("R10")
async def test_overlaps_are_refused_by_name(world: World) -> None:
    await world.put(MANUAL, manual("one", targets="[{tag: Workload, values: [db, cache]}]"))
    root = await world.caller("root")
    for targets in ("[{tag: Workload, values: [cache]}]", "[{tag: Workload}]", "[{tag: X}, {tag: Workload}]"):
        async with refused(world, "POLICY_OVERLAP"):
            await world.policies.put(root, MANUAL, HOME, manual("two", targets=targets))
    checked = await world.policies.validate(root, MANUAL, HOME, manual("two", targets="[{tag: Workload}]"))
    assert checked.findings == ()
    assert any("one" in warning for warning in checked.warnings)
    await world.put(MANUAL, manual("two", targets="[{tag: Workload, values: [web]}]"))
    await world.put(MANUAL, manual("one", targets="[{tag: Workload, values: [db]}]"))  # not in its own way
    await world.put(MANUAL, manual("all", targets="all"))
    async with refused(world, "POLICY_OVERLAP"):
        await world.policies.put(root, MANUAL, HOME, manual("everything", targets="all"))
    # Another account and Region is another world (R1).
    await world.policies.put(root, MANUAL, ("other", "default"), manual("everything", targets="all"))


@pytest.mark.rule("R10")
async def test_two_overlapping_ones_at_the_same_moment(world: World) -> None:
    root = await world.caller("root")
    hands = [Hands(world.url, world.clock) for _ in range(2)]
    results = await asyncio.gather(
        *(hands[n % 2].policies.put(root, MANUAL, HOME, manual(f"p{n}", targets="all")) for n in range(8)),
        return_exceptions=True,
    )
    for hand in hands:
        await hand.database.close()
    assert sum(isinstance(result, tuple) for result in results) == 1


@pytest.mark.rule("R1")
async def test_at_most_fifty_manual_ones(world: World) -> None:
    root = await world.caller("root")
    for n in range(50):
        await world.policies.put(root, MANUAL, HOME, manual(f"p{n}", targets=f"[{{tag: T{n}}}]"))
    async with refused(world, "POLICY_LIMIT"):
        await world.policies.put(root, MANUAL, HOME, manual("one-more", targets="[{tag: More}]"))
    await world.policies.put(root, MANUAL, HOME, manual("p7", targets="[{tag: Seven}]"))
    await world.policies.delete(root, MANUAL, HOME, "p3")
    await world.policies.put(root, MANUAL, HOME, manual("one-more", targets="[{tag: More}]"))


@pytest.mark.rule("R32")
async def test_kinds_and_scopes_restrict_writing(world: World) -> None:
    await administrator(world, "manual")
    bob = await world.caller("bob")
    await world.policies.put(bob, MANUAL, HOME, manual())
    for kind, text in ((AUTO_KIND, AUTO), (DENY_KIND, DENY)):
        async with refused(world, "NOT_PERMITTED"):
            await world.policies.put(bob, kind, HOME, text)
        async with refused(world, "NOT_PERMITTED"):
            await world.policies.delete(bob, kind, HOME, "")
    async with refused(world, "NOT_PERMITTED"):
        await world.policies.put(bob, MANUAL, ("other", "default"), manual())
    await world.policies.delete(bob, MANUAL, HOME, "databases")


@pytest.mark.rule("R32")
async def test_deny_belongs_to_the_organization(world: World) -> None:
    await administrator(world, "deny", "auto")
    async with refused(world, "NOT_PERMITTED"):
        await world.policies.put(await world.caller("bob"), DENY_KIND, HOME, DENY)
    stored, _ = await world.policies.put(await world.caller("root"), DENY_KIND, HOME, DENY)
    assert stored.key == PolicyKey(DENY_KIND, "*", "*", "deny-access")
    again, _ = await world.policies.put(await world.caller("root"), DENY_KIND, ("other", "x"), DENY)
    assert again.version == 2  # one an organization, wherever it is put from (R1)


@pytest.mark.rule("R32")
async def test_a_grant_that_was_taken_away_a_moment_ago(world: World) -> None:
    root = await world.caller("root")
    await world.ungrant(RoleGrant("user", "root", Role.ORGANIZATION_ADMINISTRATOR, "*", "*"))
    async with refused(world, "NOT_PERMITTED"):
        await world.policies.put(root, AUTO_KIND, HOME, AUTO)


@pytest.mark.rule("R32")
async def test_reading_needs_its_permission_there(world: World) -> None:
    await world.put(MANUAL, manual())
    await world.put(DENY_KIND, DENY)
    await world.grant(RoleGrant("user", "pete", Role.AUDITOR, "other", "default"))
    alice, pete = await world.caller("alice"), await world.caller("pete")
    async with refused(world, "NOT_PERMITTED"):
        await world.policy_reader.get(alice, DENY_KIND, HOME, "")
    for call in (
        world.policy_reader.get(pete, MANUAL, HOME, "databases"),
        world.policy_reader.newest(pete, HOME, None, 10),
        world.policy_reader.versions(pete, MANUAL, HOME, "databases", limit=10),
        world.policy_reader.explain(pete, HOME, "alice", "web-1"),
    ):
        async with refused(world, "NOT_PERMITTED"):
            await call
    assert (await world.policy_reader.get(pete, DENY_KIND, HOME, "")).text == DENY


async def test_listing_shows_what_decides_in_a_scope(world: World) -> None:
    root = await world.caller("root")
    await world.policies.put(root, AUTO_KIND, HOME, AUTO)
    await world.policies.put(root, AUTO_KIND, ("other", "default"), AUTO)
    for n in range(3):
        world.clock.advance(seconds=1)
        await world.policies.put(root, MANUAL, HOME, manual(f"p{n}", targets=f"[{{tag: T{n}}}]"))
    await world.policies.put(root, DENY_KIND, HOME, DENY)
    names, after, more = [], None, True
    while more:
        page, more = await world.policy_reader.newest(root, HOME, None, 2, after)
        names += [stored.key.name for stored in page]
        after = (page[-1].created_at, page[-1].key.kind.value, page[-1].key.name)
    assert names == ["deny-access", "p2", "p1", "p0", "auto-approval"]
    only, _ = await world.policy_reader.newest(root, HOME, MANUAL, 10)
    assert {stored.key.kind for stored in only} == {MANUAL}
    assert only[0].description == ""


@pytest.mark.rule("R15")
async def test_warnings_about_approvers(world: World) -> None:
    await world.person("leo", grants=[Role.APPROVER])
    async with world.database.transaction() as tx:
        await world.set(tx.connection, tables.users, "leo", locked_at=START, lock_reason="left")
    levels = (
        "[{approvers: [{user: nobody}, {user: alice}, {user: leo}, {group: ghosts}, {iamUser: ian}]},"
        " {approvers: [{group: sre}], approvals: 3}]"
    )
    warnings = " | ".join(await world.put(MANUAL, manual(levels=levels)))
    for expected in (
        "there is no user nobody",
        "user alice does not hold the approver role",
        "user leo is locked",
        "group ghosts has no members",
        "IAM user ian cannot be recognized",
        "Level 1 needs 1 approvals; only 0 persons could approve today",
        "Level 2 needs 3 approvals; only 2 persons could approve today",
    ):
        assert expected in warnings


@pytest.mark.rule("R17")
async def test_warnings_about_too_few_persons_for_all_levels(world: World) -> None:
    same = "[{approvers: [{group: sre}], approvals: 2}, {approvers: [{group: sre}], approvals: 1}]"
    assert any("different persons" in warning for warning in await world.put(MANUAL, manual(levels=same)))
    allowed = manual(levels=same, more="samePersonOncePerRequest: false\n")
    assert await world.put(MANUAL, allowed) == ()


@pytest.mark.rule("R32")
async def test_validating_tells_strangers_nothing_of_the_directory(world: World) -> None:
    text = manual(levels="[{approvers: [{user: nobody}]}]")
    assert (await world.policies.validate(await world.caller("alice"), MANUAL, HOME, text)).warnings == ()
    assert (await world.policies.validate(await world.caller("root"), MANUAL, HOME, text)).warnings != ()


@pytest.mark.rule("R14")
async def test_explaining_makes_no_request(ready: World) -> None:
    root = await ready.caller("root")
    before = await ready.rows()
    explained = await ready.policy_reader.explain(root, HOME, "alice", "web-1")
    assert explained.outcome == "auto_approved"
    assert explained.explanation["auto"]["version"] == 1
    explained = await ready.policy_reader.explain(root, HOME, "bob", DATABASE_NODE)
    assert explained.outcome == "needs_approval"
    assert explained.explanation["hindrances"] == []
    explained = await ready.policy_reader.explain(root, HOME, "mallory", WEB)
    assert "may not ask" in explained.summary
    assert await ready.rows() == before
    async with refused(ready, "USER_NOT_FOUND"):
        await ready.policy_reader.explain(root, HOME, "nobody", "web-1")
    async with refused(ready, "NODE_NOT_FOUND"):
        await ready.policy_reader.explain(root, HOME, "alice", "nowhere")


@pytest.mark.rule("R14")
@pytest.mark.parametrize("node", ["web-1", "db-1", "both-1"])
async def test_what_is_explained_is_what_happens(ready: World, node: str) -> None:
    await ready.put(DENY_KIND, DENY)
    await ready.put(MANUAL, manual("northern", targets="[{tag: Site}]"))
    explained = await ready.policy_reader.explain(await ready.caller("root"), HOME, "alice", node)
    assert (await ready.ask("alice", node)).explanation["outcome"]["kind"] == explained.outcome
