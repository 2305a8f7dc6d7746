"""docs/events.md lists every type of event that the gateway records, and no other.

There is no list in the code: a type is written where the event is. So they are read from the source.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from approvals.outcomes import EventKind
from tests.sources import parsed

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "events.md"

_TYPE = re.compile(r"[a-z_]+\.[a-z_]+")
_TELLS = re.compile(r"(\w+\.)*(Event|_?event|_?tell|_told)")
"""Functions that take a type, or pass it on."""
_MADE = {
    "access_": {f"access_{kind.value}" for kind in EventKind},
    "activation.": {"activation.created", "activation.deleted"},
    "allowance.": {"allowance.added", "allowance.changed", "allowance.removed"},
    "contact.": {"contact.set", "contact.removed"},
    "notice.": {"notice.retried", "notice.discarded"},
    "policy.": {"policy.created", "policy.changed"},
    "scim_token.": {"scim_token.created", "scim_token.deleted"},
    "target.": {"target.enabled", "target.disabled"},
}
"""Types that are put together, by how they begin; a new such place fails the test."""
_FIELDS = {"administrator_code", "allowance", "preferences"}
"""With these begin names of fields, too: of their types those count that an event is made with."""


def documented() -> list[str]:
    section = DOCUMENT.read_text().partition("\n## Which there are\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([a-z_]+)\.` \| (.+) \|$", section, re.MULTILINE)
    return [f"{subject}.{action}" for subject, row in rows for action in re.findall(r"`([a-z_]+)`", row)]


def recorded(subjects: set[str]) -> set[str]:
    found: set[str] = set()
    for file in (ROOT / "gateway").rglob("*.py"):
        tree = parsed(file)
        parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        for node in ast.walk(tree):
            call = _call(node, parents)
            if isinstance(node, ast.JoinedStr) and _TELLS.fullmatch(call):
                found |= _made(node)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _TYPE.fullmatch(node.value):
                is_known = node.value.partition(".")[0] in subjects - _FIELDS and not call.startswith("_log.")
                if is_known or _TELLS.fullmatch(call):
                    found.add(node.value)
    return found


def _call(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> str:
    """What is called with it: "" where nothing is."""
    for above in _above(node, parents):
        if isinstance(above, ast.Call):
            return ast.unparse(above.func)
        if not isinstance(above, ast.keyword):
            break
    return ""


def _above(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> Iterator[ast.AST]:
    while node in parents:
        node = parents[node]
        yield node


def _made(text: ast.JoinedStr) -> set[str]:
    begin = text.values[0]
    if not isinstance(begin, ast.Constant) or not re.fullmatch(r"[a-z_]+[._]", str(begin.value)):
        return set()  # a summary
    return _MADE[str(begin.value)]


def test_every_type_is_listed_and_no_other() -> None:
    listed = documented()
    assert len(set(listed)) == len(listed)
    assert set(listed) == recorded({each.partition(".")[0] for each in listed})
