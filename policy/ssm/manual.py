"""Manual approval policies as documents: an Automation runbook whose steps ask for approval, a step a level.

What such a document has beyond a policy is refused where it would do something there that isn't done here. What is
a label and nothing else, like the name of a step, is read over. The time for a decision counts for the request as
a whole, so all steps have to give the same.
"""

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import yaml

from policy.limits import ACCESS_HOURS, OR_ALLOW_IT, TIMEOUT_HOURS, problems
from policy.model import (
    DEFAULT_PENDING_TIMEOUT,
    Approver,
    ApproverType,
    Level,
    ManualPolicy,
    TagTargets,
    WindowStart,
)
from policy.ssm.shape import (
    CEDAR_LIST,
    HEAD,
    SCHEMA_VERSION,
    STEPS,
    TOKEN_ROLE,
    WITHOUT_COUNTERPART,
    read_head,
    seconds,
)
from policy.ssm.targets import ANY, TAG, TargetsReader, write_targets
from policy.yaml_tree import Path, Tree

MESSAGE = "Please approve this request"
"""What the guide's console writes. Ours are told who asks for what, and why."""

_APPROVERS = {"SSOUser": ApproverType.USER, "SSOGroup": ApproverType.GROUP, "IamUser": ApproverType.IAM_USER}
_OWN_KEYS = {ApproverType.USER: "user", ApproverType.GROUP: "group", ApproverType.IAM_USER: "iamUser"}
_TIMEOUT_HOURS = DEFAULT_PENDING_TIMEOUT // timedelta(hours=1)
_ORDER = "steps follow each other as they are written, and one that isn't approved ends the request"
_STEP_WITHOUT = {
    "onFailure": _ORDER,
    "onCancel": _ORDER,
    "nextStep": _ORDER,
    "isEnd": _ORDER,
    "isCritical": _ORDER,
    "precondition": "every level has to approve",
    "maxAttempts": "nobody is asked twice",
    "description": "describe the policy as a whole",
}
_INPUTS_WITHOUT = {
    "Approvers": "list them in `EnhancedApprovals`",
    "NotificationArn": "who is told, and how, is set in the gateway's configuration",
}
_CEDAR = "this is the document of an auto-approval or deny-access policy: put it with --kind auto or --kind deny"
_NAMELESS = "a document of this form doesn't say how the policy is called: give its name beside it, as with --name"
_SOME_LEVEL = Level((Approver(ApproverType.GROUP, "some-group"),))


class NoCounterpart(Exception):
    """The policy says what the other form can't. `what`: each of those things, in the words of our own form."""

    def __init__(self, what: tuple[str, ...]) -> None:
        super().__init__(", ".join(what))
        self.what = what


@dataclass(slots=True)
class _Read:
    """What was found so far, besides the policy."""

    tree: Tree
    timeout: int | None = None
    """The hours that the steps give, as far as they were read."""


def read_manual(
    tree: Tree, root: yaml.Node, *, account: str, region: str, version: int, name: str
) -> ManualPolicy | None:
    """The policy of a document; what is wrong is noted in the tree. None: it isn't a manual policy's."""
    if not isinstance(root, yaml.MappingNode) or any(key.value == CEDAR_LIST for key, _ in root.value):
        tree.note(root, _CEDAR, None)
        return None
    parts = tree.mapping(root, (), (*HEAD, "targets", STEPS), without=WITHOUT_COUNTERPART, required={
        "schemaVersion": f'"schemaVersion": "{SCHEMA_VERSION}"',
        "accessDuration": '"accessDuration": 3600',
        "targets": '"targets": [{"Key": "tag:Workload", "Values": ["db"]}]',
        STEPS: f'"{STEPS}": [{{"name": "ManualApproval", "action": "aws:approve", "inputs": …}}]',
    })  # fmt: skip
    if not name:
        tree.note(root, _NAMELESS, None)
    read, targets = _Read(tree), TargetsReader(tree)
    policy = ManualPolicy(
        name=name or "unnamed",
        description=read_head(tree, parts),
        version=version,
        account=account,
        region=region,
        access_hours=seconds(tree, parts, ("accessDuration",), what="access", hours=ACCESS_HOURS, default=1),
        targets=targets.read(parts.get("targets")),
        levels=_levels(read, parts.get(STEPS)),
        pending_timeout=timedelta(hours=_TIMEOUT_HOURS if read.timeout is None else read.timeout),
    )
    for problem in problems(policy):
        instead = problem.write_instead
        if instead is not None and problem.path in targets.prefixed:
            instead = TAG + instead
        tree.note_at(problem.path, problem.message.removesuffix(OR_ALLOW_IT), instead)
    return policy


def _levels(read: _Read, node: yaml.Node | None) -> tuple[Level, ...]:
    items = read.tree.sequence(node, (STEPS,)) if node else None
    if items is None:
        return (_SOME_LEVEL,)
    read.tree.place(("levels",), node)
    names: set[str] = set()
    levels = []
    for place, item in enumerate(items):
        path: Path = ("levels", place)
        required = {
            "name": '"name": "ManualApproval"',
            "action": '"action": "aws:approve"',
            "inputs": '"inputs": {}',
        }
        known = ("name", "action", "timeoutSeconds", "inputs")
        parts = read.tree.mapping(item, path, known, required, _STEP_WITHOUT)
        name = read.tree.string(parts.get("name"), (*path, "name"), f"unreadable {place}")
        if name in names:
            read.tree.note(parts["name"], f"there is a step {name} already", None)
        names.add(name)
        read.tree.choice(parts, (*path, "action"), ("aws:approve",), "aws:approve")
        _timeout(read, parts, path)
        levels.append(_level(read, parts["inputs"], path) if "inputs" in parts else _SOME_LEVEL)
    return tuple(levels)


def _timeout(read: _Read, parts: dict[str, yaml.Node], path: Path) -> None:
    tree = read.tree
    what = "the time for a decision"
    at = (*path, "timeoutSeconds")
    hours = seconds(tree, parts, at, what=what, hours=TIMEOUT_HOURS, default=_TIMEOUT_HOURS)
    if read.timeout is None:
        read.timeout = hours
    elif hours != read.timeout:
        message = f"{what} counts for the request as a whole: give all steps the same, {read.timeout * 3600}"
        tree.note_at(at, message, str(read.timeout * 3600))


def _level(read: _Read, node: yaml.Node, path: Path) -> Level:
    tree = read.tree
    enhanced = {"EnhancedApprovals": '"EnhancedApprovals": {"Approvers": []}'}
    known = ("Message", "MinRequiredApprovals", "EnhancedApprovals")
    inputs = tree.mapping(node, (*path, "inputs"), known, enhanced, _INPUTS_WITHOUT)
    if tree.string(inputs.get("Message"), (*path, "Message"), MESSAGE) not in (MESSAGE, ""):
        message = "a message of your own to approvers has no counterpart: they are told who asks for what, and why"
        tree.note(inputs["Message"], message, MESSAGE)
    tree.place((*path, "approvals"), inputs.get("MinRequiredApprovals"))
    approvals = tree.integer(inputs, (*path, "MinRequiredApprovals"), 1)
    if "EnhancedApprovals" not in inputs:
        return Level(_SOME_LEVEL.approvers, approvals)
    required = {"Approvers": '"Approvers": [{"approver": "sre", "type": "SSOGroup"}]'}
    listed = tree.mapping(inputs["EnhancedApprovals"], (*path, "EnhancedApprovals"), ("Approvers",), required)
    items = tree.sequence(listed["Approvers"], (*path, "approvers")) if listed else None
    if items is None:
        return Level(_SOME_LEVEL.approvers, approvals)
    approvers = (_approver(tree, item, (*path, "approvers", place)) for place, item in enumerate(items))
    return Level(tuple(approvers), approvals)


def _approver(tree: Tree, node: yaml.Node, path: Path) -> Approver:
    required = {"approver": '"approver": "sre"', "type": '"type": "SSOGroup"'}
    parts = tree.mapping(node, path, ("approver", "type"), required)
    kind = _APPROVERS[tree.choice(parts, (*path, "type"), tuple(_APPROVERS), "SSOGroup")]
    stand_in = f"unreadable-{path[-1]}"
    named = tree.string(parts.get("approver"), (*path, "approver"), stand_in)
    tree.place((*path, _OWN_KEYS[kind]), parts.get("approver"))
    return Approver(kind, named)


def write_manual(policy: ManualPolicy) -> str:
    """The policy as a document in JSON; reading it under the policy's name gives the same policy.

    Raises NoCounterpart.
    """
    document = {
        "schemaVersion": SCHEMA_VERSION,
        "accessDuration": policy.access_hours * 3600,
        "description": policy.description,
        "accessTokenRole": TOKEN_ROLE,
        "targets": write_targets(policy.targets),
        STEPS: [_step(policy, number, level) for number, level in enumerate(policy.levels, start=1)],
    }
    if missing := tuple(_without_counterpart(policy)):
        raise NoCounterpart(missing)
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _without_counterpart(policy: ManualPolicy) -> list[str]:
    found = []
    if policy.window_starts is WindowStart.FIRST_SESSION:
        found.append("windowStarts: firstSession")
    if not policy.distinct_persons_in_request:
        found.append("samePersonOncePerRequest: false")
    if policy.remind_every is not None:
        found.append("remindEveryHours")
    if any(level.escalate_to for level in policy.levels):
        found.append("escalateTo")
    if any(level.sign_in_within for level in policy.levels):
        found.append("signInWithinMinutes")
    if isinstance(policy.targets, TagTargets):
        found += [f"the value {ANY} of tag {tag.key}" for tag in policy.targets.tags if ANY in tag.values]
    return found


def _step(policy: ManualPolicy, number: int, level: Level) -> dict[str, Any]:
    type_of = {kind: name for name, kind in _APPROVERS.items()}
    return {
        "name": "ManualApproval" if len(policy.levels) == 1 else f"ManualApproval{number}",
        "action": "aws:approve",
        "timeoutSeconds": policy.pending_timeout // timedelta(seconds=1),
        "inputs": {
            "Message": MESSAGE,
            "MinRequiredApprovals": level.approvals_needed,
            "EnhancedApprovals": {
                "Approvers": [{"approver": one.id, "type": type_of[one.type]} for one in level.approvers]
            },
        },
    }
