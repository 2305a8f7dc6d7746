"""Strict validation of Cedar documents against the schema, before they are stored (R12).

Cedar decides what is accepted. Its messages have no place and no advice, so both are worked out from the text; and
what is advised is put to Cedar again, until it has no more to say.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

import cedarpy

from policy.advice import advise, dead_questions
from policy.cedar import EFFECT_OF, SCHEMA, compile_document
from policy.findings import Finding, Places, mended
from policy.guards import conditions, guard
from policy.model import ANYWHERE, CedarDocument, PolicyKind
from policy.reading.statements import read
from policy.reading.syntax import Statement

MAX_BYTES = 256 * 1024
MAX_STATEMENTS = 2_000
MAX_CONDITIONS = 200
"""In one statement. Each has to be looked at when something is wrong."""

MAX_TRIALS = 1_000
"""How many conditions of a document are tried for being what is wrong. Beyond that, what is wrong is said of the
statement as a whole: finding places must not take minutes."""

_FORBID_ALL = "forbid(principal, action, resource);"
_OF_POLICY = re.compile(r"^(Policy parse error: |for policy `policy\d+`, )")


def validate_cedar(kind: PolicyKind, text: str) -> list[Finding]:
    """All that is wrong with a deny-access or auto-approval policy, in text order; empty: accepted.

    An empty document is accepted: to deny nothing is a policy too, as is to approve nothing, and it is how the
    last statement is taken back.

    Where only the author can tell what was meant, the text to write instead is what doesn't approve: a permit that
    never applies, a forbid that always does.

    Raises ValueError for `PolicyKind.MANUAL`, which is no Cedar.
    """
    if kind not in EFFECT_OF:
        raise ValueError("a manual approval policy is no Cedar document")
    places = Places(text)
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        return [places.finding(error.start, error.end, "this is half of a character", "")]
    if size > MAX_BYTES:
        message = f"a policy has at most {MAX_BYTES} bytes, this has {size}"
        return [places.finding(0, len(text), message, _harmless(kind))]
    statements = read(text)
    if len(statements) > MAX_STATEMENTS:
        message = f"a policy has at most {MAX_STATEMENTS} statements, this has {len(statements)}"
        return [places.finding(statements[MAX_STATEMENTS - 1].start, len(text), message, _harmless(kind))]
    findings: list[Finding] = []
    trials = iter(range(MAX_TRIALS))
    for statement in statements:
        findings += _statement(kind, text, places, statement, trials=trials)
    if not findings:
        findings += _whole(kind, text, places)
    return sorted(findings, key=lambda finding: (finding.start, finding.end))


def _harmless(kind: PolicyKind) -> str:
    """A statement, or none, that approves nothing."""
    return _FORBID_ALL if kind is PolicyKind.DENY else ""


def _whole(kind: PolicyKind, text: str, places: Places) -> Iterator[Finding]:
    """The last word is Cedar's, on the text as it will be stored."""
    compiled = compile_document(CedarDocument(kind, ANYWHERE, ANYWHERE, 0, text))
    errors = [compiled.unusable] if compiled.unusable else _errors(text)
    if errors:
        yield places.finding(0, len(text), _said(errors), _harmless(kind))


def _statement(
    kind: PolicyKind, text: str, places: Places, statement: Statement, *, trials: Iterator[int]
) -> list[Finding]:
    if statement.unreadable:
        return [_unreadable(kind, text, statement)]
    if statement.effect != EFFECT_OF[kind]:
        other = "an auto-approval" if kind is PolicyKind.DENY else "a deny-access"
        message = f"`{statement.effect}` belongs into {other} policy: this one holds only `{EFFECT_OF[kind]}`"
        return [places.finding(statement.start, statement.end, message, "")]
    count = sum(1 for _ in conditions(statement))
    if count > MAX_CONDITIONS:
        message = f"a statement has at most {MAX_CONDITIONS} conditions, this has {count}: split it"
        return [places.finding(statement.start, statement.end, message, _harmless(kind))]
    findings = _joined(statement.slips, dead_questions(text, places, statement))
    errors = _errors_with(text, statement, findings)
    if errors:
        findings = _joined(findings, advise(text, places, statement, errors))
        errors = _errors_with(text, statement, findings)
    if "guarantee safety" in "".join(errors):
        findings = _joined(findings, guard(text, places, statement, findings))
        errors = _errors_with(text, statement, findings)
    if errors:
        findings, errors = _without_the_wrong(text, places, statement, findings, errors, trials=trials)
    if errors:  # in the scope, or nothing that is said above helps
        return [places.finding(statement.start, statement.end, _said(errors), _harmless(kind))]
    return findings


def _joined(findings: Iterable[Finding], more: Iterable[Finding]) -> list[Finding]:
    """All of them. Of two that overlap only in part the first stays; of two in the same place the second does: it
    was made knowing the first."""
    joined = list(findings)
    for finding in more:
        crossing = any(_cross(finding, old) for old in joined)
        for old in [old for old in joined if (old.start, old.end) == (finding.start, finding.end)]:
            joined.remove(old)
        if not crossing:
            joined.append(finding)
    return joined


def _cross(one: Finding, other: Finding) -> bool:
    first, second = sorted((one, other), key=lambda finding: (finding.start, -finding.end))
    return first.start < second.start < first.end < second.end


def _unreadable(kind: PolicyKind, text: str, statement: Statement) -> Finding:
    fault = statement.unreadable
    assert fault is not None
    written = text[statement.start : statement.end]
    if statement.effect or "principal" in written:
        instead = _harmless(kind)
    else:  # prose, or another language's comment; what follows in the line must not become part of it
        behind = text[statement.end :].lstrip(" \t")[:1]
        instead = "// " + re.sub(r"[\n\r]+", "\n// ", written) + ("" if behind in ("", "\n") else "\n")
    return Finding(fault.line, fault.column, fault.message, instead, fault.start, fault.end)


def _without_the_wrong(
    text: str,
    places: Places,
    statement: Statement,
    findings: list[Finding],
    errors: list[str],
    *,
    trials: Iterator[int],
) -> tuple[list[Finding], list[str]]:
    """More findings, one for each condition that an error goes away with, and the errors that are left.

    The last condition is tried first: behind a `false`, Cedar would not look at the others.
    """
    for condition in reversed(list(conditions(statement))):
        if not errors or next(trials, None) is None:
            break
        harmless = str((statement.effect == "forbid") == condition.grants).lower()
        expr = condition.expr
        trial = _joined(findings, [places.finding(expr.start, expr.end, "", harmless)])
        left = _errors_with(text, statement, trial)
        if len(left) < len(errors):
            gone = _said(Counter(errors) - Counter(left))
            message = f"{gone}; until you have written it anew, `{harmless}` keeps this from approving"
            findings = _joined(findings, [places.finding(expr.start, expr.end, message, harmless)])
            errors = left
    return findings, errors


def _errors_with(text: str, statement: Statement, findings: Iterable[Finding]) -> list[str]:
    """What Cedar has to say about a statement with the findings written instead."""
    return _errors(mended(text, statement.start, statement.end, findings))


def _said(errors: Iterable[str]) -> str:
    """Each error once: Cedar says it for every place, and for every type that a node may have."""
    return "; ".join(dict.fromkeys(errors))


def _errors(text: str) -> list[str]:
    """All errors in a fixed order, without the positional name that Cedar gives to the policy."""
    try:
        result = cedarpy.validate_policies(text, SCHEMA)
        if result.validation_passed:
            cedarpy.PolicySet.from_str(text).to_pst()
    except ValueError as error:
        return [str(error)]
    errors = [_OF_POLICY.sub("", error.error) for error in result.errors]
    return sorted(errors) or ([] if result.validation_passed else ["Cedar refuses this"])
