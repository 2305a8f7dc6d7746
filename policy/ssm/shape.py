"""What such a document looks like, and what it has that means nothing here."""

import re

import yaml

from policy.yaml_tree import Path, Tree

SCHEMA_VERSION = "0.3"
TOKEN_ROLE = "SSM-JustInTimeAccessTokenRole"  # noqa: S105 # the name of a role that the guide makes
CEDAR_LIST = "AutoApprovalPolicyDocuments"
STEPS = "mainSteps"

HEAD = ("schemaVersion", "description", "accessTokenRole", "accessDuration")
WITHOUT_COUNTERPART = {
    "assumeRole": "the gateway acts as itself",
    "parameters": "write the values out where they are used",
    "variables": "write the values out where they are used",
    "outputs": "a request's history and its explanation are kept with it",
    "files": "a policy is one text",
}
"""Members that an Automation document may have, and why they can't be kept."""

_MARKS = ("schemaVersion", CEDAR_LIST, STEPS)
_FIRST_KEYS = (*HEAD, CEDAR_LIST, STEPS, *WITHOUT_COUNTERPART)
_BEGINNING = re.compile(
    r"\ufeff?(?:\s|\#[^\n]*\n|---\s)*(?:\{|[\"']?(?:" + "|".join(_FIRST_KEYS) + r")[\"']?\s*:(?!:))", re.VERBOSE
)


def instead_of_cedar(text: str) -> bool:
    """Whether this is a document where Cedar could stand, by its first sign or word: Cedar can't begin so."""
    return _BEGINNING.match(text) is not None


def is_document(root: yaml.Node) -> bool:
    """Whether this is a document where a manual policy of our own form could stand, by keys that only it has."""
    return isinstance(root, yaml.MappingNode) and any(
        isinstance(key, yaml.ScalarNode) and key.value in _MARKS for key, _ in root.value
    )


def read_head(tree: Tree, parts: dict[str, yaml.Node]) -> str:
    """Notes what of the head is not as it has to be; the description."""
    version = tree.string(parts.get("schemaVersion"), ("schemaVersion",), SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        message = f"`schemaVersion` of an approval policy is {SCHEMA_VERSION}"
        tree.note(parts["schemaVersion"], message, SCHEMA_VERSION)
    role = tree.string(parts.get("accessTokenRole"), ("accessTokenRole",), TOKEN_ROLE)
    if role != TOKEN_ROLE:
        message = (
            f"role `{role}` has no counterpart: tokens are the gateway's own, and open a node to nobody but the"
            f" requester. Leave `accessTokenRole` out, or write the guide's"
        )
        tree.note(parts["accessTokenRole"], message, TOKEN_ROLE)
    return tree.string(parts.get("description"), ("description",), "")


def seconds(tree: Tree, parts: dict[str, yaml.Node], path: Path, *, what: str, hours: range, default: int) -> int:
    """Whole hours, written in seconds."""
    given = tree.integer(parts, path, default * 3600)
    if given % 3600 == 0 and given // 3600 in hours:
        return given // 3600
    nearest = min(max(given // 3600, hours[0]), hours[-1])
    message = f"{what} is counted in whole hours here, {hours[0]} to {hours[-1]} of them, not {given} seconds"
    tree.note(parts[str(path[-1])], message, str(nearest * 3600))
    return nearest
