"""Reads Cedar expressions."""

from difflib import get_close_matches

from policy.reading.cursor import Cursor, Unreadable
from policy.reading.lexer import Token
from policy.reading.syntax import Expr, ExprKind

MAX_NESTING = 32
"""Brackets within brackets. Cedar's parser recurses: a thousand open brackets end the whole process."""

MAX_DEPTH = 90
"""Levels of one expression (a chain of 90 `&&` has 90). Cedar's nodes can be read back up to 100."""

ACTION = 'AWS::SSM::Action::"getTokenForInstanceAccess"'
VARIABLES = ("principal", "action", "resource", "context")
METHODS = (
    "hasTag", "getTag", "contains", "containsAll", "containsAny", "isEmpty", "lessThan", "lessThanOrEqual",
    "greaterThan", "greaterThanOrEqual", "isIpv4", "isIpv6", "isLoopback", "isMulticast", "isInRange", "offset",
    "durationSince", "toDate", "toTime", "toMilliseconds", "toSeconds", "toMinutes", "toHours", "toDays",
)  # fmt: skip
_BINDING: dict[str, tuple[int, ExprKind]] = {
    "||": (1, "or"), "&&": (2, "and"),
    "==": (3, "relation"), "!=": (3, "relation"), "<": (3, "relation"), "<=": (3, "relation"),
    ">": (3, "relation"), ">=": (3, "relation"), "in": (3, "relation"),
    "has": (3, "has"), "like": (3, "like"), "is": (3, "is"),
    "+": (4, "sum"), "-": (4, "sum"), "*": (5, "product"),
}  # fmt: skip
_OTHER_LANGUAGES = {"and": "&&", "AND": "&&", "or": "||", "OR": "||", "=": "=="}
_TYPE_NAMES = ("User", "Group", "Instance", "ManagedInstance", "Role", "PrincipalTags", "Action")
_RELATION = 3


def expression(cursor: Cursor, nesting: int = 0) -> Expr:
    """The expression at the cursor. Raises Unreadable if there is none, or one too deep."""
    if nesting > MAX_NESTING:
        raise Unreadable(cursor.now, f"brackets are nested more than {MAX_NESTING} deep")
    if not cursor.sees("if"):
        return _binary(cursor, 1, nesting)
    start = cursor.take().start
    condition = expression(cursor, nesting + 1)
    cursor.expect("then")
    yes = expression(cursor, nesting + 1)
    cursor.expect("else")
    no = expression(cursor, nesting + 1)
    return _made(cursor, Expr("if", start, no.end, children=(condition, yes, no)))


def entity(cursor: Cursor) -> Expr:
    """An entity like `AWS::EC2::Instance::"i-…"`; without its id where none is written (`text` is empty)."""
    first = cursor.name("an entity")
    names = [first.text]
    end = first.end
    while cursor.sees("::"):
        cursor.take()
        if cursor.sees_string():
            inner = cursor.string("the id of an entity")
            return Expr("entity", first.start, cursor.behind, f'"{inner}"', path="::".join(names))
        token = cursor.name("a type or the id of an entity")
        names.append(token.text)
        end = token.end
    return Expr("entity", first.start, end, path="::".join(names))


def _made(cursor: Cursor, made: Expr) -> Expr:
    if made.depth > MAX_DEPTH:
        raise Unreadable(
            cursor.now, f"more than {MAX_DEPTH} levels in one expression: split it into several statements"
        )
    return made


def _operator(cursor: Cursor) -> str:
    """The operator at the cursor, seen through another language's spelling of it."""
    token = cursor.now
    if token.kind not in ("name", "mark"):
        return ""
    meant = _OTHER_LANGUAGES.get(token.text)
    return meant or token.text


def _take_operator(cursor: Cursor) -> None:
    token = cursor.take()
    meant = _OTHER_LANGUAGES.get(token.text)
    if meant:
        cursor.slip(token.start, token.end, f"Cedar writes `{meant}` for `{token.text}`", meant)


def _binary(cursor: Cursor, binding: int, nesting: int) -> Expr:
    left = _unary(cursor, nesting)
    while True:
        operator = _operator(cursor)
        strength = _BINDING[operator][0] if operator in _BINDING else 0
        if strength < binding:
            return left
        if strength == _RELATION and left.kind in ("relation", "has", "like", "is"):
            raise Unreadable(cursor.now, f"`{operator}` can't follow another comparison: put one in brackets")
        _take_operator(cursor)
        left = _made(cursor, _joined(cursor, left, operator, nesting))


def _joined(cursor: Cursor, left: Expr, operator: str, nesting: int) -> Expr:
    """`left`, the operator just taken, and what it is joined to."""
    strength, kind = _BINDING[operator]
    match kind:
        case "has":
            if cursor.sees_string():
                name = cursor.string("the name of an attribute")
            else:
                name = cursor.name("the name of an attribute").text
                while cursor.takes("."):  # Cedar makes nested expressions of the dots
                    name += "." + cursor.name("the name of an attribute").text
                if name.count(".") > MAX_NESTING:
                    raise cursor.stuck(f"at most {MAX_NESTING} dots behind `has`")
            return Expr("has", left.start, cursor.behind, name, (left,))
        case "like":
            pattern = cursor.string("a pattern in quotes")
            return Expr("like", left.start, cursor.behind, pattern, (left,))
        case "is":
            of_type = entity(cursor)
            if not cursor.takes("in"):
                return Expr("is", left.start, of_type.end, children=(left, of_type))
            within = _binary(cursor, _RELATION + 1, nesting)
            return Expr("is", left.start, within.end, children=(left, of_type, within))
        case _:
            right = _binary(cursor, strength + 1, nesting)
            return Expr(kind, left.start, right.end, operator, (left, right))


def _unary(cursor: Cursor, nesting: int) -> Expr:
    token = cursor.now
    if nesting > MAX_NESTING:
        raise Unreadable(token, f"signs are repeated more than {MAX_NESTING} times")
    if token.kind == "name" and token.text in ("not", "NOT") and cursor.ahead().text not in (".", "::"):
        cursor.take()
        cursor.slip(token.start, token.end, "Cedar writes `!` for `not`", "!")
        operand = _unary(cursor, nesting + 1)
    elif cursor.takes("!"):
        operand = _unary(cursor, nesting + 1)
    elif cursor.takes("-"):
        operand = _unary(cursor, nesting + 1)
        return _made(cursor, Expr("minus", token.start, operand.end, children=(operand,)))
    else:
        return _member(cursor, nesting)
    return _made(cursor, Expr("not", token.start, operand.end, children=(operand,)))


def _member(cursor: Cursor, nesting: int) -> Expr:
    found = _primary(cursor, nesting)
    while True:
        if cursor.takes("."):
            token = cursor.name("the name of an attribute or method")
            if cursor.sees("("):
                arguments = _listed(cursor, "(", ")", nesting)
                method = _method(cursor, token)
                found = Expr("call", found.start, cursor.behind, method, (found, *arguments))
            else:
                found = Expr("attribute", found.start, token.end, token.text, (found,))
        elif cursor.takes("["):
            name = cursor.string("the name of an attribute in quotes")
            cursor.expect("]")
            found = Expr("attribute", found.start, cursor.behind, name, (found,))
        else:
            return found
        _made(cursor, found)


def _method(cursor: Cursor, token: Token) -> str:
    if token.text in METHODS:
        return token.text
    by_lower = {method.lower(): method for method in METHODS}
    close = get_close_matches(token.text.lower(), by_lower, 1)
    if not close:
        raise Unreadable(token, f"there is no method `{token.text}`")
    meant = by_lower[close[0]]
    cursor.slip(token.start, token.end, f"there is no method `{token.text}`", meant)
    return meant


def _primary(cursor: Cursor, nesting: int) -> Expr:
    token = cursor.now
    if cursor.sees_string():
        text = cursor.string("a string")
        return Expr("string", token.start, token.end, text)
    if token.kind == "number":
        cursor.take()
        return Expr("number", token.start, token.end, token.text)
    if cursor.takes("("):
        inside = expression(cursor, nesting + 1)
        cursor.expect_or_insert(")", "}", ";")
        return _made(cursor, Expr("group", token.start, cursor.behind, children=(inside,)))
    if cursor.sees("["):
        items = _listed(cursor, "[", "]", nesting)
        return _made(cursor, Expr("set", token.start, cursor.behind, children=items))
    if cursor.takes("{"):
        return _record(cursor, token, nesting)
    if token.kind == "name":
        return _named(cursor, token, nesting)
    raise cursor.stuck("an expression")


def _named(cursor: Cursor, token: Token, nesting: int) -> Expr:
    if token.text in ("true", "false"):
        cursor.take()
        return Expr("boolean", token.start, token.end, token.text)
    if token.text in VARIABLES:
        cursor.take()
        return Expr("variable", token.start, token.end, token.text)
    found = entity(cursor)
    if cursor.sees("("):
        arguments = _listed(cursor, "(", ")", nesting)
        return Expr("function", token.start, cursor.behind, found.path, arguments)
    if found.text:
        return found
    if "::" in found.path:
        return see_through_bare_entity(cursor, token, found)
    raise Unreadable(token, f"`{token.text}` is no variable: a string stands in quotes")


def see_through_bare_entity(cursor: Cursor, at: Token, bare: Expr) -> Expr:
    """`AWS::SSM::getToken…` and the like: a type and an id that lacks its quotes."""
    path, _, name = bare.path.rpartition("::")
    if name in _TYPE_NAMES:
        raise Unreadable(
            at, f"`{bare.path}` is a type: `is` asks for it, and `==` for a type with an id in quotes"
        )
    if name == "getTokenForInstanceAccess":
        message, written = "an action is named by its type and, in quotes, its id", ACTION
        path = "AWS::SSM::Action"
    else:
        message, written = "the id of an entity stands in quotes", f'{path}::"{name}"'
    cursor.slip(bare.start, bare.end, message, written)
    return Expr("entity", bare.start, bare.end, f'"{name}"', path=path)


def _listed(cursor: Cursor, opening: str, closing: str, nesting: int) -> tuple[Expr, ...]:
    cursor.expect(opening)
    items: list[Expr] = []
    while not cursor.sees(closing):
        items.append(expression(cursor, nesting + 1))
        if not cursor.takes(","):
            break
    cursor.expect_or_insert(closing, "}", ";", "&&", "||", "==", "!=")
    return tuple(items)


def _record(cursor: Cursor, token: Token, nesting: int) -> Expr:
    values: list[Expr] = []
    while not cursor.sees("}"):
        if cursor.sees_string():
            cursor.string("a key")
        else:
            cursor.name("a key")
        cursor.expect(":")
        values.append(expression(cursor, nesting + 1))
        if not cursor.takes(","):
            break
    cursor.expect("}")
    return _made(cursor, Expr("record", token.start, cursor.behind, children=tuple(values)))
