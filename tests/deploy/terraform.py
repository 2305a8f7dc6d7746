"""Reads the statements of `deploy/terraform` as far as its tests ask, without Terraform and its providers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "deploy" / "terraform"
FILES = {path.name: path.read_text() for path in sorted(FOLDER.glob("*.tf"))}
_COMMENT = re.compile(r"^\s*#.*\n|\s+#[^\"\n]*$", re.MULTILINE)
TEXT = _COMMENT.sub("", "\n".join(FILES.values()))


@dataclass(frozen=True, slots=True)
class Statement:
    """One of a policy document, as it is written; `conditions` are variable -> values."""

    sid: str
    effect: str
    actions: frozenset[str]
    resources: tuple[str, ...]
    principals: str
    conditions: dict[str, str]


def document(name: str) -> list[Statement]:
    """The statements of `data "aws_iam_policy_document"`, those of a `dynamic` block with what they are for."""
    (text,) = _blocks(TEXT, rf'data "aws_iam_policy_document" "{name}"')
    return [_statement(each) for each in _blocks(text, r'(?:dynamic "statement"|statement)')]


def documents_of(role: str) -> list[str]:
    """Names of the documents that are policies of a role."""
    policies = list(_blocks(TEXT, r'resource "aws_iam_role_policy" "\w+"'))
    found = [each for each in policies if re.search(rf"role\s*= aws_iam_role\.{role}\b", each)]
    return [name for each in found for name in re.findall(r"aws_iam_policy_document\.(\w+)", each)]


def _blocks(text: str, head: str) -> Iterator[str]:
    """What stands in the outermost blocks that begin so."""
    at = 0
    while found := re.compile(rf"^\s*{head} {{", re.MULTILINE).search(text, at):
        at, depth = found.end(), 1
        while depth:
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
        yield text[found.end() : at - 1]


def _statement(text: str) -> Statement:
    for_each = _value(text, "for_each").partition(" ? ")[2].replace("[] : ", "").replace(" : []", "")
    text = text.replace("[statement.value]", for_each).replace("statement.value", for_each.strip("[]"))
    conditions = {
        _value(one, "variable").strip('"'): _value(one, "values").strip("[]") for one in _blocks(text, "condition")
    }
    return Statement(
        _value(text, "sid").strip('"'),
        _value(text, "effect").strip('"') or "Allow",
        frozenset(re.findall(r'"([^"]+)"', _value(text, "actions"))),
        tuple(_value(text, "resources")[1:-1].split(", ")),
        _value(text, "identifiers"),
        conditions,
    )


def _value(text: str, name: str) -> str:
    """What follows `name =`, to the end of its line."""
    found = re.search(rf"^\s*{name}\s*= (.*)$", text, re.MULTILINE)
    return found[1].strip() if found else ""
