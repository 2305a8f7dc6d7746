"""Manual approval policies as text: YAML or JSON, the same form in both.

    name: production-databases
    description: Databases that customers' data is in
    accessHours: 8
    targets:                  # or `targets: all`, for every node
      - tag: Workload
        values: [db, cache]   # left out: whatever the value is
    levels:                   # one after the other
      - approvers: [{group: sre}, {user: alice}, {iamUser: bob}]
        approvals: 2          # left out: 1
        escalateAfterHours: 4 # when the level is not complete by then …
        escalateTo: [{group: managers}]  # … these may decide as well; both or neither
        signInWithinMinutes: 5  # left out: any sign-in that still holds will do
    pendingTimeoutHours: 168
    windowStarts: approval    # or `firstSession`
    samePersonOncePerRequest: true
    remindEveryHours: 4       # left out: approvers are told once

`name`, `accessHours`, `targets` and `levels` have to be there. What has the form of AWS's documents
instead is read as such (policy/ssm).
"""

import json
from datetime import timedelta
from typing import Any

import yaml

from policy.findings import Finding, Places
from policy.limits import problems
from policy.model import (
    DEFAULT_PENDING_TIMEOUT,
    AllNodes,
    Approver,
    ApproverType,
    Level,
    ManualPolicy,
    TagTarget,
    TagTargets,
    Targets,
    WindowStart,
)
from policy.ssm.manual import read_manual
from policy.ssm.shape import is_document
from policy.yaml_tree import NotAccepted, Path, Tree, compose

_WINDOW_STARTS = {"approval": WindowStart.APPROVAL, "firstSession": WindowStart.FIRST_SESSION}
_APPROVERS = {"user": ApproverType.USER, "group": ApproverType.GROUP, "iamUser": ApproverType.IAM_USER}
_POLICY_KEYS = (
    "name",
    "description",
    "accessHours",
    "targets",
    "levels",
    "pendingTimeoutHours",
    "windowStarts",
    "samePersonOncePerRequest",
    "remindEveryHours",
)
_LEVEL_KEYS = ("approvers", "approvals", "escalateAfterHours", "escalateTo", "signInWithinMinutes")  # fmt: skip
_HOUR, _MINUTE = timedelta(hours=1), timedelta(minutes=1)
_DEFAULT_TIMEOUT_HOURS = DEFAULT_PENDING_TIMEOUT // timedelta(hours=1)

# What stands in for a part that is missing or unreadable, so that the limits of all other parts are still checked.
_SOME_NAME = "unnamed"
_SOME_LEVELS = (Level((Approver(ApproverType.GROUP, "some-group"),)),)


def parse_manual(
    text: str, *, account: str, region: str, version: int, name: str = ""
) -> ManualPolicy | list[Finding]:
    """A policy from YAML or JSON text, or everything that is wrong with it. Takes any text.

    `name`: how the policy is called if its text doesn't say so; if it does, it has to be the same.
    """
    try:
        root = compose(text)
    except NotAccepted as refusal:
        return [Places(text).finding(refusal.at, refusal.at, str(refusal), "")]
    tree = Tree(text)
    policy: ManualPolicy | None
    if is_document(root):
        policy = read_manual(tree, root, account=account, region=region, version=version, name=name)
    else:
        policy = _policy(tree, root, account, region, version)
        for problem in problems(policy):
            tree.note_at(problem.path, problem.message, problem.write_instead)
        if name and policy.name not in (name, _SOME_NAME):
            tree.note_at(("name",), f"it is to be put as {name}, and is called {policy.name} here", name)
    found = sorted(tree.findings, key=lambda finding: finding.start)
    return policy if policy and not found else found


def _policy(tree: Tree, root: yaml.Node, account: str, region: str, version: int) -> ManualPolicy:
    parts = tree.mapping(root, (), _POLICY_KEYS, required={
        "name": "name: my-policy",
        "accessHours": "accessHours: 1",
        "targets": "targets: all",
        "levels": "levels: [{approvers: [{group: my-approvers}]}]",
    })  # fmt: skip
    hours = tree.integer(parts, ("accessHours",), 1)
    timeout = tree.integer(parts, ("pendingTimeoutHours",), _DEFAULT_TIMEOUT_HOURS)
    starts = tree.choice(parts, ("windowStarts",), tuple(_WINDOW_STARTS), "approval")
    return ManualPolicy(
        name=tree.string(parts.get("name"), ("name",), _SOME_NAME),
        description=tree.string(parts.get("description"), ("description",), ""),
        version=version,
        account=account,
        region=region,
        access_hours=hours,
        targets=_targets(tree, parts.get("targets")),
        levels=_levels(tree, parts.get("levels")),
        pending_timeout=timedelta(hours=timeout),
        window_starts=_WINDOW_STARTS[starts],
        distinct_persons_in_request=tree.boolean(parts, ("samePersonOncePerRequest",), default=True),
        remind_every=_span(tree, parts, ("remindEveryHours",), _HOUR),
    )


def _targets(tree: Tree, node: yaml.Node | None) -> Targets:
    path: Path = ("targets",)
    if node is None:
        return AllNodes()
    if isinstance(node, yaml.ScalarNode):
        if node.value != "all":
            tree.note(node, "targets are `all`, or a list of tags", "all")
        return AllNodes()
    items = tree.sequence(node, path)
    if items is None:
        return AllNodes()
    return TagTargets(tuple(_tag(tree, item, (*path, place)) for place, item in enumerate(items)))


def _tag(tree: Tree, node: yaml.Node, path: Path) -> TagTarget:
    parts = tree.mapping(node, path, ("tag", "values"), required={"tag": "tag: Workload"})
    key = tree.string(parts.get("tag"), (*path, "tag"), f"unreadable {path[-1]}")
    listed = parts.get("values")
    values = tree.sequence(listed, (*path, "values")) if listed else []
    if values == [] and listed:
        # Nothing listed could mean no value or any value; the second opens more, so it has to be said by silence.
        tree.note(listed, "list a value, or leave `values` out if any value will do", "")
    return TagTarget(
        key,
        tuple(
            tree.string(value, (*path, "values", place), f"unreadable {place}")
            for place, value in enumerate(values or [])
        ),
    )


def _levels(tree: Tree, node: yaml.Node | None) -> tuple[Level, ...]:
    items = tree.sequence(node, ("levels",)) if node else None
    if items is None:
        return _SOME_LEVELS
    return tuple(_level(tree, item, ("levels", place)) for place, item in enumerate(items))


def _level(tree: Tree, node: yaml.Node, path: Path) -> Level:
    some = _SOME_LEVELS[0]
    required = {"approvers": "approvers: [{group: my-approvers}]"}
    parts = tree.mapping(node, path, _LEVEL_KEYS, required)
    approvers = _approvers(tree, parts, (*path, "approvers"))
    return Level(
        some.approvers if approvers is None else approvers,
        tree.integer(parts, (*path, "approvals"), 1),
        _span(tree, parts, (*path, "escalateAfterHours"), _HOUR),
        _approvers(tree, parts, (*path, "escalateTo")) or (),
        _span(tree, parts, (*path, "signInWithinMinutes"), _MINUTE),
    )


def _approvers(tree: Tree, parts: dict[str, yaml.Node], path: Path) -> tuple[Approver, ...] | None:
    listed = parts.get(str(path[-1]))
    items = tree.sequence(listed, path) if listed else None
    if items is None:
        return None
    return tuple(_approver(tree, item, (*path, place)) for place, item in enumerate(items))


def _span(tree: Tree, parts: dict[str, yaml.Node], path: Path, unit: timedelta) -> timedelta | None:
    """What is left out is None."""
    return tree.integer(parts, path, 1) * unit if parts.get(str(path[-1])) else None


def _approver(tree: Tree, node: yaml.Node, path: Path) -> Approver:
    stand_in = f"unreadable-{path[-1]}"
    parts = tree.mapping(node, path, tuple(_APPROVERS))
    if len(parts) != 1:
        if isinstance(node, yaml.MappingNode) and len(node.value) == len(parts):
            tree.note(node, "an approver is one of `user: …`, `group: …` or `iamUser: …`", None)
        return Approver(ApproverType.GROUP, stand_in)
    [(key, value)] = parts.items()
    return Approver(_APPROVERS[key], tree.string(value, (*path, key), stand_in))


def to_yaml(policy: ManualPolicy) -> str:
    """The policy in the canonical document form; parsing it gives the same policy."""
    return yaml.safe_dump(_document(policy), sort_keys=False, allow_unicode=True, width=100)


def to_json(policy: ManualPolicy) -> str:
    """The policy in the canonical document form, as JSON."""
    return json.dumps(_document(policy), indent=2, ensure_ascii=False) + "\n"


def _document(policy: ManualPolicy) -> dict[str, Any]:
    name_of_start = {start: name for name, start in _WINDOW_STARTS.items()}
    reminders = {} if policy.remind_every is None else {"remindEveryHours": policy.remind_every // _HOUR}
    return {
        "name": policy.name,
        "description": policy.description,
        "accessHours": policy.access_hours,
        "targets": _targets_document(policy.targets),
        "levels": [_level_document(level) for level in policy.levels],
        "pendingTimeoutHours": policy.pending_timeout // timedelta(hours=1),
        "windowStarts": name_of_start[policy.window_starts],
        "samePersonOncePerRequest": policy.distinct_persons_in_request,
        **reminders,
    }


def _targets_document(targets: Targets) -> str | list[dict[str, Any]]:
    if isinstance(targets, AllNodes):
        return "all"
    return [
        {"tag": target.key, "values": list(target.values)} if target.values else {"tag": target.key}
        for target in targets.tags
    ]


def _level_document(level: Level) -> dict[str, Any]:
    document: dict[str, Any] = {
        "approvers": _approvers_document(level.approvers),
        "approvals": level.approvals_needed,
    }
    if level.escalate_after is not None:
        document["escalateAfterHours"] = level.escalate_after // _HOUR
    if level.escalate_to:
        document["escalateTo"] = _approvers_document(level.escalate_to)
    if level.sign_in_within is not None:
        document["signInWithinMinutes"] = level.sign_in_within // _MINUTE
    return document


def _approvers_document(approvers: tuple[Approver, ...]) -> list[dict[str, str]]:
    key_of_type = {kind: key for key, kind in _APPROVERS.items()}
    return [{key_of_type[approver.type]: approver.id} for approver in approvers]
