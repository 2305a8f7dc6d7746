"""Where each character of a YAML or JSON string stands in the text that it was read from."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import yaml

_ESCAPES = yaml.scanner.Scanner.ESCAPE_REPLACEMENTS
_CODES = yaml.scanner.Scanner.ESCAPE_CODES
_BREAKS = ("\r\n", "\n", "\r", "\x85", "\u2028", "\u2029")

_Read = Iterator[tuple[str, int]]
"""Characters, each with the offset that it comes from."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A string, and where its characters are in the text.

    `offsets` has one more than there are characters: where the string ends. `written`: how something is to be
    written to be read as that in this place; None where this kind of string can't hold it.
    """

    value: str
    offsets: tuple[int, ...]
    written: Callable[[str], str | None]


def spread(text: str, node: yaml.ScalarNode) -> Spread | None:
    """None: a kind of string, such as a folded one, whose characters can't be told apart in the text."""
    start, end = node.start_mark.index, node.end_mark.index
    read: list[tuple[str, int]]
    written: Callable[[str], str | None]
    match node.style:
        case '"':
            read, written = list(_quoted(text, start, end - 1)), _in_double_quotes
        case "'":
            read, written = list(_quoted(text, start, end - 1)), _in_single_quotes
        case "|":
            indent = _indent(text, start, end)
            read, written = list(_literal(text, start, end, indent)), _with_indent(indent)
            read = read[: len(node.value)]
            end = read[-1][1] + 1 if read else end
        case ">":
            return None
        case _:
            read, written, end = [(char, start + place) for place, char in enumerate(node.value)], _plain, end + 1
    if "".join(char for char, _ in read) != node.value or (
        node.style is None and text[start : end - 1] != node.value
    ):
        return None
    read = list(_whole(read))
    last = end if node.style == "|" else end - 1
    return Spread("".join(char for char, _ in read), (*(at for _, at in read), last), written)


def _quoted(text: str, start: int, end: int) -> _Read:
    """Between the quotes at `start` and `end`: escapes are resolved, lines are folded, as YAML says."""
    quote, at = text[start], start + 1
    while at < end:
        char = text[at]
        if char == quote:  # two of them stand for one, in single quotes only
            yield char, at
            at += 2
        elif char == "\\" and quote == '"':
            code = text[at + 1]
            if code in _CODES:
                behind = at + 2 + _CODES[code]
                yield chr(int(text[at + 2 : behind], 16)), at
                at = behind
            elif code in _ESCAPES:
                yield _ESCAPES[code], at
                at += 2
            else:  # the end of a line, which is taken back
                at += 1 + len(_break(text, at + 1))
                empty, at = _empty_lines(text, at)
                yield from empty
        elif char in " \t" or _break(text, at):
            blank = at
            while text[at] in " \t":
                at += 1
            if not (ends := _break(text, at)):
                yield from ((text[place], place) for place in range(blank, at))
                continue
            empty, behind = _empty_lines(text, at + len(ends))
            if _normal(ends) != "\n":
                yield ends, at
            elif not empty:
                yield " ", at
            yield from empty
            at = behind
        else:
            yield char, at
            at += 1


def _break(text: str, at: int) -> str:
    """The end of a line at this place; empty: there is none."""
    return next((ends for ends in _BREAKS if text.startswith(ends, at)), "")


def _normal(ends: str) -> str:
    return ends if ends in "\u2028\u2029" else "\n"


def _empty_lines(text: str, at: int) -> tuple[list[tuple[str, int]], int]:
    """The lines from here on that hold nothing, and the beginning of what follows them."""
    found: list[tuple[str, int]] = []
    while True:
        while text[at] in " \t":
            at += 1
        if not (ends := _break(text, at)):
            return found, at
        found.append((_normal(ends), at))
        at += len(ends)


def _indent(text: str, start: int, end: int) -> int:
    lines = text[start:end].splitlines()[1:]
    first = next((line for line in lines if line.strip(" ")), "")
    return len(first) - len(first.lstrip(" "))


def _literal(text: str, start: int, end: int, indent: int) -> _Read:
    """The lines below the `|`, without their indentation."""
    at = start
    for number, line in enumerate(text[start:end].splitlines(keepends=True)):
        ends = next((ends for ends in _BREAKS if line.endswith(ends)), "")
        if number:
            body = line.removesuffix(ends)
            yield from ((char, at + indent + place) for place, char in enumerate(body[indent:]))
            if ends:
                yield _normal(ends), at + len(body)
        at += len(line)


def _whole(read: list[tuple[str, int]]) -> _Read:
    """JSON writes a character beyond 16 bits as two escapes, which YAML reads as two halves."""
    place = 0
    while place < len(read):
        char, at = read[place]
        place += 1
        if "\ud800" <= char < "\udc00" and place < len(read) and "\udc00" <= read[place][0] < "\ue000":
            char = (char + read[place][0]).encode("utf-16", "surrogatepass").decode("utf-16")
            place += 1
        yield char, at


def _in_double_quotes(value: str) -> str | None:
    return json.dumps(value, ensure_ascii=False)[1:-1]


def _in_single_quotes(value: str) -> str | None:
    return None if any(ends in value for ends in _BREAKS) else value.replace("'", "''")


def _with_indent(indent: int) -> Callable[[str], str | None]:
    return lambda value: value.replace("\n", "\n" + " " * indent)


def _plain(value: str) -> str | None:
    """Within a string without quotes, a colon or hash could end it, and so could a bracket in a list of the kind
    that JSON has."""
    return None if any(sign in value for sign in (*_BREAKS, ":", "#", *"[]{},")) else value
