"""What a document targets, in the words that AWS has for it: `tag:Workload` with values, `tag-key` for tags of any
value, and `InstanceIds` with a `*` for all nodes."""

from collections.abc import Sequence
from typing import Any

import yaml

from policy.model import AllNodes, TagTarget, TagTargets, Targets
from policy.yaml_tree import Path, Tree

TAG = "tag:"
ANY = "*"
_KEYS = "tag-key"
_IDS = "InstanceIds"
_FOR_ANY = f"for any value, the key is {_KEYS} and the tag its value"


class TargetsReader:
    """Reads the targets, and remembers of which tags the key is written behind `tag:`."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._tags: list[TagTarget] = []
        self.prefixed: set[Path] = set()

    def read(self, node: yaml.Node | None) -> Targets:
        """The targets of the list at this node; what is wrong with it is noted."""
        items = self._tree.sequence(node, ("targets",)) if node else None
        if items is None:
            return AllNodes()
        everything = [self._everything(item, place) for place, item in enumerate(items)]
        if any(everything) and len(items) > 1:
            message = f"all nodes are targeted by {_IDS} alone: leave the others out"
            self._tree.note_at(("targets",), message, None)
        return AllNodes() if any(everything) else TagTargets(tuple(self._tags))

    def _everything(self, node: yaml.Node, place: int) -> bool:
        """Whether this item targets all nodes; else its tags are kept."""
        tree = self._tree
        path: Path = ("items of targets", place)  # one item may be several targets
        required = {"Key": '"Key": "tag:Workload"', "Values": '"Values": ["db"]'}
        parts = tree.mapping(node, path, ("Key", "Values"), required)
        unreadable = f"unreadable {place}"
        key = tree.string(parts.get("Key"), (*path, "Key"), TAG + unreadable)
        listed = tree.sequence(parts["Values"], (*path, "Values")) if "Values" in parts else None
        values = [tree.string(one, (*path, "Values", n), f"unreadable {n}") for n, one in enumerate(listed or ())]
        if key == _IDS:
            if listed is not None and values != [ANY]:
                message = f"nodes can't be targeted one by one: target a tag, or all nodes by `{ANY}`"
                tree.note(parts["Values"], message, None)
            return True
        if key != _KEYS and not key.startswith(TAG):
            message = f"`{key}` has no counterpart: nodes are targeted by {TAG}…, {_KEYS}, or all by {_IDS}"
            tree.note(parts["Key"], message, None)
            self._tags.append(TagTarget(unreadable))
        elif not values:
            if listed is not None:
                tree.note(parts["Values"], f"list a value; {_FOR_ANY}", None)
            self._tags.append(TagTarget(unreadable))
        elif key == _KEYS:
            for one, value in zip(listed or (), values, strict=True):
                tree.place(("targets", len(self._tags), "tag"), one)
                self._tags.append(TagTarget(value))
        else:
            self._tag(parts, listed or (), values)
            self._tags.append(TagTarget(key.removeprefix(TAG), tuple(values)))
        return False

    def _tag(self, parts: dict[str, yaml.Node], listed: Sequence[yaml.Node], values: Sequence[str]) -> None:
        path: Path = ("targets", len(self._tags))
        self.prefixed.add((*path, "tag"))
        self._tree.place((*path, "tag"), parts.get("Key"))
        self._tree.place((*path, "values"), parts["Values"])
        for place, (node, value) in enumerate(zip(listed, values, strict=True)):
            self._tree.place((*path, "values", place), node)
            if value == ANY:
                self._tree.note(node, f"a value is compared as it is; {_FOR_ANY}", None)


def write_targets(targets: Targets) -> list[dict[str, Any]]:
    """The same as a document's list."""
    if isinstance(targets, AllNodes):
        return [{"Key": _IDS, "Values": [ANY]}]
    return [
        {"Key": TAG + tag.key, "Values": list(tag.values)} if tag.values else {"Key": _KEYS, "Values": [tag.key]}
        for tag in targets.tags
    ]
