"""Reads a Cedar text into statements. Sees through common slips and says what to write instead of each."""

from dataclasses import dataclass, field
from difflib import get_close_matches

from policy.findings import Finding
from policy.reading.cursor import Cursor, Unreadable
from policy.reading.expressions import ACTION, entity, expression, see_through_bare_entity
from policy.reading.syntax import Clause, Expr, Scope, Statement

_VARIABLES = ("principal", "action", "resource")
_SYNONYMS = {"allow": "permit", "grant": "permit", "deny": "forbid", "block": "forbid"}


@dataclass
class _Parts:
    """What was read of a statement so far."""

    effect: str = ""
    effect_start: int = 0
    id: str | None = None
    scopes: list[Scope] = field(default_factory=list)
    clauses: list[Clause] = field(default_factory=list)


def read(text: str) -> list[Statement]:
    """All statements of a text, good and bad. Takes any text, in time linear in its length."""
    cursor = Cursor(text)
    found = []
    while cursor.now.kind != "end":
        found.append(_statement(cursor))
    return found


def _statement(cursor: Cursor) -> Statement:
    start = cursor.now.start
    cursor.slips = []
    parts = _Parts(effect_start=start)
    unreadable = None
    try:
        if cursor.now.text == "\ufeff":
            mark = cursor.take()
            cursor.slip(mark.start, mark.end, "there is a byte order mark here", "")
        _annotations(cursor, parts)
        _effect(cursor, parts)
        _scopes(cursor, parts)
        _clauses(cursor, parts)
        _semicolon(cursor)
    except Unreadable as fault:
        _skip(cursor, start)
        line, column = cursor.places.of(fault.token.start)
        unreadable = Finding(line, column, str(fault), "", start, cursor.behind)
    return Statement(
        start=start,
        end=cursor.behind,
        effect=parts.effect,
        effect_start=parts.effect_start,
        id=parts.id,
        scopes=tuple(parts.scopes),
        clauses=tuple(parts.clauses),
        slips=tuple(cursor.slips),
        unreadable=unreadable,
    )


def _meant_effect(word: str) -> str:
    """`permit` or `forbid` if the word is meant to be that, else empty."""
    lower = word.lower()
    close = get_close_matches(lower, ("permit", "forbid"), 1, 0.75)
    return _SYNONYMS.get(lower) or (close[0] if close else "")


def _begins_statement(cursor: Cursor) -> bool:
    if cursor.sees("@"):
        return True
    return cursor.now.kind == "name" and cursor.ahead().text == "(" and bool(_meant_effect(cursor.now.text))


def _skip(cursor: Cursor, start: int) -> None:
    """On to the next statement: behind a `;`, or before what begins like one. Always moves on."""
    while cursor.now.kind != "end":
        if cursor.behind > start and _begins_statement(cursor):
            return
        if cursor.take().text == ";":
            return


def _annotations(cursor: Cursor, parts: _Parts) -> None:
    while cursor.takes("@"):
        name = cursor.name("the name of an annotation").text
        value = ""
        if cursor.takes("("):
            value = cursor.string("the annotation's value in quotes")
            cursor.expect(")")
        if name == "id":
            parts.id = value


def _effect(cursor: Cursor, parts: _Parts) -> None:
    token = cursor.now
    parts.effect_start = token.start
    meant = _meant_effect(token.text) if token.kind == "name" else ""
    if not meant:
        raise cursor.stuck("`permit` or `forbid`")
    cursor.take()
    if token.text != meant:
        cursor.slip(token.start, token.end, f"Cedar writes `{meant}` for `{token.text}`", meant)
    parts.effect = meant


def _scopes(cursor: Cursor, parts: _Parts) -> None:
    cursor.expect("(")
    for variable in _VARIABLES:
        if variable != "principal" and not (variable == "resource" and cursor.sees(")")):
            cursor.expect_or_insert(",", variable)
        if not cursor.sees(variable):
            raise cursor.stuck(f"`{variable}`")
        parts.scopes.append(_scope(cursor, variable))
    cursor.takes(",")
    cursor.expect_or_insert(")", "when", "unless", ";")


def _scope(cursor: Cursor, variable: str) -> Scope:
    start = cursor.take().start
    operator = _scope_operator(cursor)
    of_type = entity(cursor) if operator == "is" else None
    entities: tuple[Expr, ...] = ()
    if operator in ("==", "in") or (operator == "is" and cursor.takes("in")):
        entities = _scope_entities(cursor, variable)
    return Scope(variable, start, cursor.behind, operator, of_type, entities)


def _scope_operator(cursor: Cursor) -> str:
    token = cursor.now
    if cursor.takes("="):
        cursor.slip(token.start, token.end, "Cedar writes `==` for `=`", "==")
        return "=="
    return cursor.take().text if cursor.sees("==", "in", "is") else ""


def _scope_entities(cursor: Cursor, variable: str) -> tuple[Expr, ...]:
    if cursor.sees("?"):
        raise Unreadable(cursor.now, "templates are not accepted: name the user, group or node instead of a slot")
    if not cursor.sees("["):
        return (_scope_entity(cursor, variable),)
    if variable != "action":
        raise Unreadable(
            cursor.now,
            f"a scope names one entity: write a statement for each, or `when {{ {variable} in [...] }}`",
        )
    cursor.take()
    named = [_scope_entity(cursor, variable)]
    while cursor.takes(","):
        named.append(_scope_entity(cursor, variable))
    cursor.expect("]")
    return tuple(named)


def _scope_entity(cursor: Cursor, variable: str) -> Expr:
    token = cursor.now
    if variable == "action" and cursor.sees_string():
        cursor.take()  # its quotes, if wrong, are replaced together with it
        cursor.slip(token.start, token.end, "an action is named by its type and, in quotes, its id", ACTION)
        return Expr("entity", token.start, token.end, token.text, path="AWS::SSM::Action")
    found = entity(cursor)
    if found.text:
        return found
    if "::" not in found.path:
        raise Unreadable(token, f"`{found.path}` is no entity: write its type and, in quotes, its id")
    return see_through_bare_entity(cursor, token, found)


def _clauses(cursor: Cursor, parts: _Parts) -> None:
    while cursor.sees("when", "unless", "where", "if", "{"):
        token = cursor.now
        if token.text == "{":
            cursor.slip(token.start, token.start, "`when` is missing here", "when ")
        elif cursor.take().text in ("where", "if"):
            cursor.slip(token.start, token.end, f"Cedar writes `when` for `{token.text}`", "when")
        word = "unless" if token.text == "unless" else "when"
        cursor.expect("{")
        body = _body(cursor, applies_if=(parts.effect == "forbid") == (word == "when"))
        cursor.expect_or_insert("}", ";", "@", "permit", "forbid")
        parts.clauses.append(Clause(word, token.start, cursor.behind, body))


def _body(cursor: Cursor, *, applies_if: bool) -> Expr:
    """The condition of a clause. One that makes no sense is seen through as what keeps it from approving."""
    start = cursor.now.start
    try:
        body = expression(cursor)
        if not cursor.sees("}", ";") and cursor.now.kind != "end" and not _begins_statement(cursor):
            raise cursor.stuck("`&&`, `||` or `}`")
    except Unreadable as fault:
        _skip_body(cursor, fault)
        line, column = cursor.places.of(fault.token.start)
        harmless = str(applies_if).lower()
        message = f"{fault}; until you have written it anew, `{harmless}` keeps this from approving"
        cursor.slips = [slip for slip in cursor.slips if slip.start < start]
        end = max(start, cursor.behind)  # nothing stands between the braces
        cursor.slips.append(Finding(line, column, message, harmless, start, end))
        return Expr("boolean", start, end, harmless)
    return body


def _skip_body(cursor: Cursor, fault: Unreadable) -> None:
    """On to the `}` that closes the clause. Raises the fault again where there is none."""
    open_braces = 0
    while not cursor.sees("}") or open_braces:
        if cursor.now.kind == "end" or cursor.sees(";") or _begins_statement(cursor):
            raise fault
        open_braces += {"{": 1, "}": -1}.get(cursor.take().text, 0)


def _semicolon(cursor: Cursor) -> None:
    if not cursor.takes(";"):
        if cursor.now.kind != "end" and not _begins_statement(cursor):
            raise cursor.stuck("`;`")
        cursor.slip(cursor.behind, cursor.behind, "a statement ends with `;`", ";")
    while cursor.sees(";"):
        token = cursor.take()
        cursor.slip(token.start, token.end, "one `;` ends a statement", "")
