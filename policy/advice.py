"""From what Cedar says about a statement to the place of it, and what to write there instead."""

import re
from collections.abc import Iterator
from difflib import get_close_matches

from policy.cedar import GROUP, PRINCIPAL_TAGS, USER
from policy.findings import Finding, Places
from policy.guards import ATTRIBUTES, PRINCIPAL_TAGS_PATH, tag_meant
from policy.model import INSTANCE, MANAGED_INSTANCE
from policy.reading.expressions import ACTION
from policy.reading.syntax import Expr, Scope, Statement

_TYPES = (USER, GROUP, INSTANCE, MANAGED_INSTANCE, PRINCIPAL_TAGS, "AWS::IAM::Role")
_TYPE_BY_NAME = {path.rpartition("::")[2].lower(): path for path in _TYPES}
_NODE_TYPES = (INSTANCE, MANAGED_INSTANCE)
_BIGGEST = 2**63 - 1
_ONE_ACTION = "the only action is getTokenForInstanceAccess"


def advise(text: str, places: Places, statement: Statement, errors: list[str]) -> Iterator[Finding]:
    """What can be said about these errors; nothing where only the author knows what was meant."""
    said = "\n".join(errors)
    if "unrecognized" in said or "applicable action" in said:
        for scope in statement.scopes:
            yield from _scope(text, places, scope)
        for expr in _expressions(statement):
            for child in expr.children:
                if child.kind == "entity":
                    yield from _entity(text, places, child, beside=expr.children[0].text)
    if re.search("attribute .* not found", said):
        for expr in _expressions(statement):
            yield from _attribute(text, places, expr)
    if "not compatible" in said or "expected Set<" in said or "expected Bool but saw String" in said:
        yield from _types(text, places, statement)
    if "not a valid escape" in said or "number too large" in said:
        for expr in _expressions(statement):
            yield from _literal(places, expr)


def dead_questions(text: str, places: Places, statement: Statement) -> Iterator[Finding]:
    """`has` with an attribute that the schema doesn't have.

    Cedar accepts it as never true: a forbid that asks it would never forbid, without a word.
    """
    for expr in _expressions(statement):
        base = "".join(text[expr.children[0].start : expr.children[0].end].split()) if expr.children else ""
        if expr.kind == "has" and base in ("resource", PRINCIPAL_TAGS_PATH):
            message = f"`{base}` has tags and no attribute `{expr.text}`: this is never true"
            yield places.finding(expr.start, expr.end, message, f'{base}.hasTag("{expr.text}")')
        elif expr.kind == "has" and base == "principal" and expr.text not in ATTRIBUTES:
            close = get_close_matches(expr.text, ATTRIBUTES, 1)
            written = f"principal has {close[0]}" if close else "false"
            message = f"a user has {', '.join(ATTRIBUTES)}, and no `{expr.text}`: this is never true"
            yield places.finding(expr.start, expr.end, message, written)


def _expressions(statement: Statement) -> Iterator[Expr]:
    for clause in statement.clauses:
        yield from clause.body.walk()


def _scope(text: str, places: Places, scope: Scope) -> Iterator[Finding]:
    if scope.variable == "action":
        if any(text[named.start : named.end] != ACTION for named in scope.entities):
            yield places.finding(scope.start, scope.end, _ONE_ACTION, f"action == {ACTION}")
        return
    fitting = (USER,) if scope.variable == "principal" else _NODE_TYPES
    if scope.type and scope.type.path not in fitting:
        yield _mistyped(places, scope.type, scope.variable, fitting)
    for named in scope.entities:
        if scope.variable == "principal" and scope.operator != "==" and named.path == GROUP:
            continue
        if scope.variable == "principal" and named.path == GROUP:
            written = f"principal in {text[named.start : named.end]}"
            message = "a user is in a group, and never equal to one"
            yield places.finding(scope.start, scope.end, message, written)
        elif named.path not in fitting:
            allowed = (USER, GROUP) if scope.variable == "principal" and scope.operator != "==" else fitting
            yield _mistyped(places, named, scope.variable, allowed)


def _mistyped(places: Places, named: Expr, variable: str, allowed: tuple[str, ...]) -> Finding:
    meant = _meant_type(named)
    if meant not in allowed:
        meant = allowed[0]
    of = "users" if variable == "principal" else "nodes"
    message = f"`{named.path}` is no type of {of}: they are {' or '.join(allowed)}"
    return places.finding(named.start, named.start + len(named.path), message, meant)


def _entity(text: str, places: Places, named: Expr, beside: str) -> Iterator[Finding]:
    written = text[named.start : named.end]
    if named.path.startswith("AWS::SSM::Action") or beside == "action":
        if written not in (ACTION, "AWS::SSM::Action"):
            yield places.finding(named.start, named.end, _ONE_ACTION, ACTION)
    elif named.path not in _TYPES:
        message = f"there is no type `{named.path}`: there are {', '.join(_TYPES)}"
        meant = _meant_type(named) or (INSTANCE if beside == "resource" else USER)
        yield places.finding(named.start, named.start + len(named.path), message, meant)


def _meant_type(named: Expr) -> str:
    """The type that was most likely meant, by the name of it or by the prefix of a node's id; empty: no idea."""
    if named.text.startswith('"mi-'):
        return MANAGED_INSTANCE
    if named.text.startswith('"i-'):
        return INSTANCE
    close = get_close_matches(named.path.rpartition("::")[2].lower(), _TYPE_BY_NAME, 1)
    return _TYPE_BY_NAME[close[0]] if close else ""


def _attribute(text: str, places: Places, expr: Expr) -> Iterator[Finding]:
    tag = tag_meant(text, expr)
    if tag:
        message = f"`{tag[0]}` has tags and no attributes: `{tag[1]}` is read with `getTag`"
        yield places.finding(expr.start, expr.end, message, f'{tag[0]}.getTag("{tag[1]}")')
    elif expr.kind == "attribute" and expr.children[0].text == "principal" and expr.text not in ATTRIBUTES:
        close = get_close_matches(expr.text, ATTRIBUTES, 1)
        if close:
            message = f"a user has {', '.join(ATTRIBUTES)}, and no `{expr.text}`"
            yield places.finding(expr.start, expr.end, message, f"principal.{close[0]}")


def _types(text: str, places: Places, statement: Statement) -> Iterator[Finding]:
    for expr in _expressions(statement):
        if expr.kind != "relation":
            continue
        left, right = expr.children
        if expr.text in ("==", "!="):
            for one, other in ((left, right), (right, left)):
                if one.kind in ("number", "boolean") and other.kind in ("call", "attribute", "string"):
                    message = "tags and attributes are strings, and equal to strings only"
                    yield places.finding(one.start, one.end, message, f'"{one.text}"')
        elif expr.text == "in" and right.kind == "set" and all(item.kind == "string" for item in right.children):
            written = f"{text[right.start : right.end]}.contains({text[left.start : left.end]})"
            message = "`in` is for groups: whether a text is one of several is asked with `contains`"
            yield places.finding(expr.start, expr.end, message, written)


def _literal(places: Places, expr: Expr) -> Iterator[Finding]:
    if expr.kind == "number" and int(expr.text) > _BIGGEST:
        yield places.finding(expr.start, expr.end, f"numbers go up to {_BIGGEST}", str(_BIGGEST))
