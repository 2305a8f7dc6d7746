"""Cedar text as tokens that know where they stand.

Cedar's own parser says what is wrong but not where. This lexer, and the reader on top of it, exist to find the
place; whether a text is accepted is for Cedar alone to say. Comments and strings end where they end for Cedar: a
bracket that only Cedar saw would not be counted here.
"""

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
    (?P<space> \s+ | //[^\n\r]* )
  | (?P<name> [_A-Za-z][_A-Za-z0-9]* )
  | (?P<number> [0-9]+ )
  | (?P<string> "(?:[^"\\]|\\[^\n])*" )
  | (?P<mark> :: | == | != | <= | >= | && | \|\| | [-+*!<>(){}\[\],;.:@?=] )
    """,
    re.VERBOSE,
)
_CLOSING_QUOTE = {"'": "'", "\u2018": "\u2019", "\u201c": "\u201d", "\u201d": "\u201d", "\u2019": "\u2019"}
_STRING_ENDS_BEFORE = re.compile(r"[)\]},;\n]|$")


@dataclass(frozen=True, slots=True)
class Token:
    """`kind` is name, number, string, mark, quoted (a string in wrong quotes), open (one without an end),
    odd (what Cedar has no use for) or end."""

    kind: str
    text: str
    start: int
    end: int


def tokens(text: str) -> list[Token]:
    """All tokens of a text, closed by one of kind `end`. Takes any text."""
    found: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            token = _misfit(text, at)
            found.append(token)
            at = token.end
            continue
        at = match.end()
        if match.lastgroup is not None and match.lastgroup != "space":
            found.append(Token(match.lastgroup, match.group(), match.start(), at))
    found.append(Token("end", "", len(text), len(text)))
    return found


def _misfit(text: str, at: int) -> Token:
    char = text[at]
    if char in _CLOSING_QUOTE:
        end_of_line = text.find("\n", at)
        stop = len(text) if end_of_line < 0 else end_of_line
        for closing in (_CLOSING_QUOTE[char], char, '"'):
            close = text.find(closing, at + 1, stop)
            if close > 0:
                return Token("quoted", text[at : close + 1], at, close + 1)
    if char == '"':
        match = _STRING_ENDS_BEFORE.search(text, at + 1)
        stop = len(text) if match is None else match.start()
        return Token("open", text[at:stop], at, stop)
    return Token("odd", char, at, at + 1)
