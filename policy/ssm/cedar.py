"""Deny-access and auto-approval policies as documents: Cedar inside JSON or YAML.

    {
      "schemaVersion": "0.3",
      "accessDuration": 3600,
      "AutoApprovalPolicyDocuments": [{"type": "Cedar", "content": "permit(…);"}]
    }

Both kinds have this form: which it is, the name of the document tells there, and the kind that it is put as here.
"""

import json
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import cedarpy
import yaml

from policy.findings import Finding, Places
from policy.limits import DESCRIPTION_LENGTH
from policy.model import CedarDocument, PolicyKind
from policy.ssm.scalars import Spread, spread
from policy.ssm.shape import CEDAR_LIST, HEAD, SCHEMA_VERSION, STEPS, TOKEN_ROLE, WITHOUT_COUNTERPART, read_head
from policy.validate import MAX_BYTES, validate_cedar
from policy.yaml_tree import NotAccepted, Path, Tree, compose, readable

POLICIES = range(1, 51)
"""The guide sets no limit."""

_HOUR = 3600
_MANUAL = "this is the document of a manual approval policy: put it with --kind manual"


class _Piece(NamedTuple):
    """One of the Cedar texts of a document. `begins`: where, in all of them put together."""

    begins: int
    value: str
    node: yaml.ScalarNode
    spread: Spread | None


@dataclass(frozen=True, slots=True)
class _Together:
    """The Cedar texts of a document, one under the other; labels are comments above them."""

    text: str
    pieces: tuple[_Piece, ...]


def read_cedar(
    kind: PolicyKind, text: str, account: str, region: str, version: int
) -> CedarDocument | list[Finding]:
    """The policy of a document, validated, or everything that is wrong with it, with its place in the document."""
    places = Places(text)
    try:
        root = compose(text, max_bytes=2 * MAX_BYTES)
    except NotAccepted as refusal:
        return [places.finding(refusal.at, refusal.at, str(refusal), "")]
    tree = Tree(text)
    description, together = _document(tree, readable(text), root)
    found = [*tree.findings, *_in_document(places, together, validate_cedar(kind, together.text))]
    if not found:
        found += _unfinished(places, together)
    if found:
        return sorted(found, key=lambda finding: (finding.start, finding.end))
    return CedarDocument(kind, account, region, version, together.text, description)


def accepted_cedar(kind: PolicyKind, text: str, account: str, region: str, version: int) -> CedarDocument | None:
    """The policy of a document that was validated when it was stored. None: it no longer reads."""
    try:
        root = compose(text, max_bytes=2 * MAX_BYTES)
    except NotAccepted:
        return None
    tree = Tree(text)
    description, together = _document(tree, readable(text), root)
    return None if tree.findings else CedarDocument(kind, account, region, version, together.text, description)


def write_cedar(policy: CedarDocument) -> str:
    """The policy as a document in JSON; reading it gives the same policy."""
    document = {
        "schemaVersion": SCHEMA_VERSION,
        "description": policy.description,
        "accessTokenRole": TOKEN_ROLE,
        "accessDuration": _HOUR,
        CEDAR_LIST: [{"type": "Cedar", "content": policy.text}],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _document(tree: Tree, text: str, root: yaml.Node) -> tuple[str, _Together]:
    keys = [key.value for key, _ in root.value] if isinstance(root, yaml.MappingNode) else []
    if STEPS in keys and CEDAR_LIST not in keys:
        tree.note(root, _MANUAL, None)
        return "", _Together("", ())
    parts = tree.mapping(root, (), (*HEAD, CEDAR_LIST), without=WITHOUT_COUNTERPART, required={
        "schemaVersion": f'"schemaVersion": "{SCHEMA_VERSION}"',
        CEDAR_LIST: f'"{CEDAR_LIST}": [{{"type": "Cedar", "content": "…"}}]',
    })  # fmt: skip
    description = read_head(tree, parts)
    if len(description) > DESCRIPTION_LENGTH:
        message = f"a description has at most {DESCRIPTION_LENGTH} characters"
        tree.note(parts["description"], message, tree.written(description[:DESCRIPTION_LENGTH]))
    if tree.integer(parts, ("accessDuration",), _HOUR) != _HOUR:
        tree.note(parts["accessDuration"], "what is approved at once is open for one hour, always", str(_HOUR))
    return description, _together(tree, text, parts.get(CEDAR_LIST))


def _together(tree: Tree, text: str, node: yaml.Node | None) -> _Together:
    path: Path = (CEDAR_LIST,)
    items = tree.sequence(node, path) if node else None
    if items is not None and len(items) not in POLICIES:
        tree.note_at(path, f"there are {POLICIES[0]} to {POLICIES[-1]} policies in it, not {len(items)}", None)
        items = None
    lines: list[str] = []
    pieces: list[_Piece] = []
    begins = 0
    for place, item in enumerate(items or ()):
        label, content = _policy(tree, item, (*path, place))
        if content is None:
            continue
        if label:
            lines.append(f"// {label}")
            begins += len(lines[-1]) + 1
        spreaded = spread(text, content)
        lines.append(spreaded.value if spreaded else content.value)
        pieces.append(_Piece(begins, lines[-1], content, spreaded))
        begins += len(lines[-1]) + 1
    return _Together("\n".join(lines), tuple(pieces))


def _policy(tree: Tree, node: yaml.Node, path: Path) -> tuple[str, yaml.ScalarNode | None]:
    """What one of the policies is called, and its text; None: there is none to be read."""
    required = {"type": '"type": "Cedar"', "content": '"content": "permit(…);"'}
    parts = tree.mapping(node, path, ("id", "description", "type", "content"), required)
    tree.choice(parts, (*path, "type"), ("Cedar",), "Cedar")
    names = [tree.string(parts.get(name), (*path, name), "") for name in ("id", "description")]
    label = ": ".join(" ".join(name.split()) for name in names if name.strip())
    content = parts.get("content")
    if not isinstance(content, yaml.ScalarNode) or content.tag == "tag:yaml.org,2002:null":
        tree.string(content, (*path, "content"), "")  # which notes what it is instead
        return label, None
    return label, content


def _in_document(places: Places, together: _Together, findings: list[Finding]) -> Iterator[Finding]:
    beginnings = [piece.begins for piece in together.pieces]
    for finding in findings:
        if not beginnings:
            return  # there is no Cedar, which is noted
        piece = together.pieces[max(bisect_right(beginnings, finding.start) - 1, 0)]
        start = min(max(finding.start - piece.begins, 0), len(piece.value))
        inside = start == finding.start - piece.begins and finding.end - piece.begins <= len(piece.value)
        yield _placed(places, piece, start, finding, finding.end - piece.begins if inside else None)


def _placed(places: Places, piece: _Piece, start: int, finding: Finding, end: int | None) -> Finding:
    """A finding about Cedar, as one about the document. No `end`: it is about more than this piece."""
    if piece.spread is None:
        line, column = Places(piece.value).of(start)
        at = piece.node.start_mark.index
        return places.finding(at, at, f"in line {line}, column {column} of this: {finding.message}", "")
    at = piece.spread.offsets[start]
    written = piece.spread.written(finding.write_instead)
    if end is None or written is None:
        return places.finding(at, at, finding.message, "")
    return places.finding(at, piece.spread.offsets[end], finding.message, written)


def _unfinished(places: Places, together: _Together) -> Iterator[Finding]:
    """Together they are Cedar; each has to be by itself as well."""
    for piece in together.pieces if len(together.pieces) > 1 else ():
        try:
            cedarpy.PolicySet.from_str(piece.value)
        except ValueError as error:
            at = piece.node.start_mark.index
            yield places.finding(at, at, f"each policy has to be complete by itself: {error}", "")
