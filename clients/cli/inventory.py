"""Nodes as a sheet: CSV as RFC 4180 has it, which a spreadsheet may open."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC
from typing import BinaryIO

from google.protobuf.timestamp_pb2 import Timestamp

from clients.cli.text import clean
from jitgate.v1.node_pb2 import Node

# Named as the filters of listings are.
_COLUMNS: dict[str, Callable[[Node], str]] = {
    "name": lambda node: node.name,
    "id": lambda node: node.id,
    "account": lambda node: node.scope.account,
    "region": lambda node: node.scope.region,
    "connector": lambda node: node.connector,
    "host": lambda node: node.ssh.host,
    "port": lambda node: str(node.ssh.port or 22) if node.ssh.host else "",
    "login": lambda node: node.ssh.login,
    "connected": lambda node: _word(node.connected) if node.connector == "agent" else "",
    "last_seen": lambda node: _moment(node.last_seen_at),
    "added": lambda node: _moment(node.created_at),
    "locked": lambda node: _word(node.locked),
    "lock_reason": lambda node: node.lock_reason,
}
_SAID = frozenset({"platform", "ssh_version", "agent_version", "clock_skew_seconds"})
# Spreadsheets calculate what begins so; some do so behind blanks, and with the wide forms of East Asian scripts.
_CALCULATED = tuple("=+-@\uff1d\uff0b\uff0d\uff20")


def write(nodes: Sequence[Node], sheet: BinaryIO) -> None:
    """A line a node, with a column for each property, for what they say of themselves, and for each tag key.

    A cell that a spreadsheet would take for a formula begins with an apostrophe.
    """
    said = sorted(_SAID.union(*(node.properties for node in nodes)))
    tags = sorted({key for node in nodes for key in node.tags})
    text = io.TextIOWrapper(sheet, "utf-8", newline="", write_through=True)
    rows = csv.writer(text)
    rows.writerow(_cells((*_COLUMNS, *said, *(f"tag:{key}" for key in tags))))
    for node in nodes:
        own = (value(node) for value in _COLUMNS.values())
        told = (node.properties.get(name, "") for name in said)
        rows.writerow(_cells((*own, *told, *(node.tags.get(key, "") for key in tags))))
    text.detach()


def _cells(values: Iterable[str]) -> list[str]:
    return [_harmless(clean(value)) for value in values]


def _harmless(value: str) -> str:
    return f"'{value}" if value.lstrip().startswith(_CALCULATED) else value


def _word(is_so: bool) -> str:
    return "true" if is_so else "false"


def _moment(stamp: Timestamp) -> str:
    return f"{stamp.ToDatetime(UTC):%Y-%m-%dT%H:%M:%SZ}" if stamp.seconds else ""
