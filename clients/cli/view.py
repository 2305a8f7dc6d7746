"""What commands print: tables for people, JSON for scripts. Text of others is made harmless on the way."""

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from clients.cli.text import clean, has_colour

Cell = str | Text


class Format(StrEnum):
    """How a command prints its result."""

    TABLE = "table"
    JSON = "json"


def console(*, error: bool = False) -> Console:
    """Standard output, or standard error; as wide as the terminal, and never cut where there is none."""
    stream = sys.stderr if error else sys.stdout
    width = None if stream.isatty() else 10_000
    return Console(
        file=stream, width=width, highlight=False, markup=False, emoji=False, no_color=not has_colour(stream)
    )


def say(text: RenderableType) -> None:
    """A result, on standard output."""
    console().print(
        clean(text, keep_lines=True) if isinstance(text, str) else text, soft_wrap=isinstance(text, str)
    )


def note(text: RenderableType) -> None:
    """Something on the side, on standard error."""
    console(error=True).print(
        clean(text, keep_lines=True) if isinstance(text, str) else text, soft_wrap=isinstance(text, str)
    )


def print_json(message: Message) -> None:
    """The message as protobuf JSON, fields named as in the contract, unset ones included."""
    import json

    from google.protobuf.json_format import MessageToDict

    values = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    print(json.dumps(values, indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Cell]], empty: str) -> None:
    """A listing; `empty` is what to say where there is nothing."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for position, column in enumerate(columns):
        table.add_column(column.upper(), overflow="fold", no_wrap=position == 0)
    for row in rows:
        table.add_row(*(_cell(cell) for cell in row))
    if table.row_count:
        _print_trimmed(table)
    else:
        note(empty)


def print_facts(facts: Iterable[tuple[str, Cell]]) -> None:
    """One thing, a fact a line; empty facts are left out."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts:
        if value:
            grid.add_row(name, _cell(value))
    _print_trimmed(grid)


def _print_trimmed(table: Table) -> None:
    """Without the blanks that fill a table's last column up."""
    printer = console()
    with printer.capture() as capture:
        printer.print(table)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))


def finding(part: str, message: str, *, passed: bool) -> Text:
    """One thing that was looked at."""
    mark, style = ("✓", "green") if passed else ("✗", "red")
    name = clean(part).replace("_", " ")
    return Text(f"{mark} {name}: ", style=style).append(clean(message), style="")


def note_more(next_page_token: str) -> None:
    """Says that a listing was cut, where it was."""
    if next_page_token:
        note(Text("There are more: --limit says how many to show, 0 for all.", style="dim"))


def _cell(cell: Cell) -> Text:
    return Text(clean(cell)) if isinstance(cell, str) else cell


def moment(stamp: Timestamp) -> str:
    """A point in time, in local time; empty when unset."""
    if not stamp.seconds:
        return ""
    return stamp.ToDatetime(UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def relative(stamp: Timestamp, now: datetime | None = None) -> str:
    """How long until or since then ("in 54 min", "3 h ago"); empty when unset."""
    if not stamp.seconds:
        return ""
    distance = stamp.ToDatetime(UTC) - (now or datetime.now(UTC))
    return f"in {length(distance)}" if distance >= timedelta() else f"{length(-distance)} ago"


def length(span: timedelta | Duration) -> str:
    """A length of time in its two largest units: "1 h 5 min"."""
    seconds = int(span.total_seconds()) if isinstance(span, timedelta) else span.seconds
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    parts = []
    for unit, size in units:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return " ".join(parts[:2]) or "0 s"


def size(count: int) -> str:
    """Bytes for people."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def word(name: str, prefix: str) -> str:
    """An enum's name for people: word("ROLE_USER", "ROLE_") is "user"."""
    return name.removeprefix(prefix).lower().replace("_", " ")


def pairs(mapping: Iterable[tuple[str, str]]) -> str:
    """Tags and attributes: "Environment=prod Team=web"."""
    return " ".join(f"{key}={value}" if value else key for key, value in sorted(mapping))
