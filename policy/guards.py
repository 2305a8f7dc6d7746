"""Accesses to tags and attributes that may be missing, and the question that has to be asked first.

Cedar's strict validation refuses `resource.getTag("Env") == "dev"` without `resource.hasTag("Env")`, and says so
without a place. What stands unguarded, and where a guard belongs, is worked out here; whether a statement is then
accepted is for Cedar to say.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from policy.findings import Finding, Places, mended
from policy.reading.syntax import Expr, Statement

ATTRIBUTES = ("employeeNumber", "costCenter", "organization", "division")
"""Of a user; each may be missing."""

PRINCIPAL_TAGS_PATH = "context.iam.principalTags"

Known = frozenset[tuple[str, str]]
"""What was asked for already: of which expression, which tag or attribute."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A smallest part of a statement's conditions that is true or false.

    `outer` is the same with the `!` and brackets around it. `grants`: being true makes the statement apply.
    """

    expr: Expr
    outer: Expr
    grants: bool
    outer_grants: bool


def conditions(statement: Statement) -> Iterator[Condition]:
    """All of them, in the order of the text."""
    for clause in statement.clauses:
        yield from _conditions(clause.body, clause.body, clause.word == "when", clause.word == "when")


def _conditions(expr: Expr, outer: Expr, grants: bool, outer_grants: bool) -> Iterator[Condition]:
    match expr.kind:
        case "and" | "or":
            for child in expr.children:
                yield from _conditions(child, child, grants, grants)
        case "group":
            yield from _conditions(expr.children[0], outer, grants, outer_grants)
        case "not":
            yield from _conditions(expr.children[0], outer, not grants, outer_grants)
        case _:
            yield Condition(expr, outer, grants, outer_grants)


def guard(text: str, places: Places, statement: Statement, noted: Sequence[Finding]) -> list[Finding]:
    """A finding for each condition that looks at what may be missing, and doesn't ask first.

    `noted`: what was found in the statement already; it is written instead in what these findings say.
    """
    missing = _unguarded(text, statement)
    permits = statement.effect == "permit"

    def source(expr: Expr) -> str:
        return mended(text, expr.start, expr.end, noted)

    found = []
    for condition in conditions(statement):
        accesses = [access for access in missing if _within(access, condition.expr)]
        if not accesses:
            continue
        asked = " && ".join(dict.fromkeys(_question(text, access, source) for access in accesses))
        named = ", ".join(dict.fromkeys(f"`{source(access)}`" for access in accesses))
        message = f"{named} fails where there is none: ask `{asked}` first"
        target = condition.outer if permits and condition.outer_grants else condition.expr
        narrow = condition.grants or condition.outer_grants or not permits
        written = _guarded(asked, target, source, narrow=narrow)
        found.append(places.finding(target.start, target.end, message, written))
    return found


def _within(inner: Expr, outer: Expr) -> bool:
    return outer.start <= inner.start and inner.end <= outer.end


def _guarded(asked: str, target: Expr, source: Callable[[Expr], str], *, narrow: bool) -> str:
    """What is missing must not approve. So what is written makes a permit narrower, never wider: where being true
    keeps it from applying, as in `unless`, what is missing counts as true. A forbid gets the guide's own form."""
    if not narrow:
        return f"(if {asked} then {source(target)} else true)"
    return f"{asked} && ({source(target)})" if target.kind == "if" else f"{asked} && {source(target)}"


def tag_meant(text: str, expr: Expr) -> tuple[str, str] | None:
    """Nodes and the context have tags, not attributes. For what is written as an attribute of them: whose tag was
    meant, and which; None for anything else."""
    if expr.kind != "attribute":
        return None
    base = _bare(text, expr.children[0])
    if base in ("resource", PRINCIPAL_TAGS_PATH):
        return base, expr.text
    if base == "resource.tags":
        return "resource", expr.text
    if (base == "context" and expr.text != "iam") or (base == "context.iam" and expr.text != "principalTags"):
        return PRINCIPAL_TAGS_PATH, expr.text
    return None


def _question(text: str, access: Expr, source: Callable[[Expr], str]) -> str:
    tag = tag_meant(text, access)
    if tag:
        return f'{tag[0]}.hasTag("{tag[1]}")'
    base = source(access.children[0])
    if access.kind == "attribute":
        return f"{base} has {access.text}"
    return f"{base}.hasTag({source(access.children[1])})"


def _unguarded(text: str, statement: Statement) -> list[Expr]:
    found: list[Expr] = []
    known: Known = frozenset()
    for clause in statement.clauses:
        learned = _learn(text, clause.body, known, found)
        if clause.word == "when":
            known |= learned
    return found


def _learn(text: str, expr: Expr, known: Known, found: list[Expr]) -> Known:
    """What is known to be there where this expression is true. Adds the unguarded accesses in it to `found`."""

    def learn(child: Expr, known: Known) -> Known:
        return _learn(text, child, known, found)

    match expr.kind, expr.children:
        case "and", (left, right):
            learned = learn(left, known)
            return learned | learn(right, known | learned)
        case "or", (left, right):
            return learn(left, known) & learn(right, known)
        case "group", (inner,):
            return learn(inner, known)
        case "if", (condition, yes, no):
            learned = learn(condition, known)
            return (learned | learn(yes, known | learned)) & learn(no, known)
    for child in () if tag_meant(text, expr) else expr.children:
        learn(child, known)
    needed = _needed(text, expr)
    if needed and needed not in known:
        found.append(expr)
    return _asked(text, expr)


def _needed(text: str, expr: Expr) -> tuple[str, str] | None:
    """What has to be there for this to have a value; None: nothing."""
    tag = tag_meant(text, expr)
    if tag:
        return tag[0], f'"{tag[1]}"'
    if expr.kind == "attribute" and expr.text in ATTRIBUTES and expr.children[0].text == "principal":
        return "principal", expr.text
    if expr.kind == "call" and expr.text == "getTag" and len(expr.children) == 2:
        return _called(text, expr)
    return None


def _asked(text: str, expr: Expr) -> Known:
    """What this asks for."""
    if expr.kind == "has":
        base = _bare(text, expr.children[0])
        return frozenset({(base, expr.text if base == "principal" else f'"{expr.text}"')})
    if expr.kind == "call" and expr.text == "hasTag" and len(expr.children) == 2:
        return frozenset({_called(text, expr)})
    return frozenset()


def _called(text: str, expr: Expr) -> tuple[str, str]:
    return _bare(text, expr.children[0]), _bare(text, expr.children[1])


def _bare(text: str, expr: Expr) -> str:
    return "".join(text[expr.start : expr.end].split())
