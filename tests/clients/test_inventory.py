"""`jit nodes list --output csv`: everything is there, comes back as it was, and calculates nothing."""

import csv
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.cli import inventory
from jitgate.v1 import common_pb2, node_pb2
from tests.clients.conftest import Jit
from tests.clients.standin import StandIn


def written(*nodes: node_pb2.Node) -> list[dict[str, str]]:
    sheet = io.BytesIO()
    inventory.write(nodes, sheet)
    return list(csv.DictReader(io.StringIO(sheet.getvalue().decode(), newline="")))


def a_node(**values: object) -> node_pb2.Node:
    scope = common_pb2.Scope(account="prod", region="eu-1")
    return node_pb2.Node(id="mi-" + "0" * 17, name="web-1", scope=scope, **values)  # type: ignore[arg-type]  # the tests' own


def test_every_property_has_a_column() -> None:
    item = a_node(
        connector="ssh",
        ssh=node_pb2.SshEndpoint(host="10.0.0.7", login="deploy"),
        properties={"platform": "Linux 6.1", "shoe_size": "45"},
        locked=True,
        lock_reason="leaks, maybe",
    )
    item.created_at.seconds, item.last_seen_at.seconds = 1_790_000_000, 1_790_000_060
    assert written(item) == [
        {
            "name": "web-1",
            "id": "mi-00000000000000000",
            "account": "prod",
            "region": "eu-1",
            "connector": "ssh",
            "host": "10.0.0.7",
            "port": "22",
            "login": "deploy",
            "connected": "",
            "last_seen": "2026-09-21T14:14:20Z",
            "added": "2026-09-21T14:13:20Z",
            "locked": "true",
            "lock_reason": "leaks, maybe",
            "agent_version": "",
            "clock_skew_seconds": "",
            "platform": "Linux 6.1",
            "shoe_size": "45",
            "ssh_version": "",
        }
    ]


def test_each_tag_key_has_a_column_and_whoever_has_no_such_tag_an_empty_cell() -> None:
    rows = written(a_node(tags={"Environment": "prod", "b": ""}), a_node(tags={"Owner": "me"}, connector="agent"))
    assert [key for key in rows[0] if key.startswith("tag:")] == ["tag:Environment", "tag:Owner", "tag:b"]
    assert [row["tag:Owner"] for row in rows] == ["", "me"]
    assert [row["connected"] for row in rows] == ["", "false"]


def test_nothing_is_a_head_alone() -> None:
    sheet = io.BytesIO()
    inventory.write([], sheet)
    assert sheet.getvalue().startswith(b"name,id,account,") and sheet.getvalue().count(b"\r\n") == 1


@pytest.mark.parametrize(
    "value", ["=1+1", "+1", "-1", "@SUM(A1)", "  =1+1", "\u00a0=1", "\uff1dSUM(A1)", '=HYPERLINK("x")']
)
def test_what_would_be_calculated_is_text(value: str) -> None:
    rows = written(a_node(tags={"a": value}, lock_reason=value))
    assert rows[0]["tag:a"] == rows[0]["lock_reason"] == f"'{value}"


@settings(max_examples=100)
@given(st.dictionaries(st.text(min_size=1), st.text(), max_size=5))
def test_any_tags_come_back_or_are_harmless(tags: dict[str, str]) -> None:
    sheet = io.BytesIO()
    inventory.write([a_node(tags=tags)], sheet)
    head, row = csv.reader(io.StringIO(sheet.getvalue().decode(), newline=""))
    assert len(head) == len(row) == 17 + len(tags)
    assert not any(cell.lstrip()[:1] in tuple("=+-@") and cell.strip() for cell in row)
    for key, value in tags.items():
        if key.isprintable() and value.isalnum():
            assert row[head.index(f"tag:{key}")] == value


def test_all_pages_and_the_filters(server: StandIn, jit: Jit) -> None:
    server.world.answers["ListNodes"] = _paged
    done = jit("nodes", "list", "tag:Environment=prod", "unseen=7d", "--output", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["name"] for row in rows] == [f"web-{number}" for number in range(2500)]
    assert rows[-1]["tag:last"] == "yes" and rows[0]["tag:last"] == ""
    assert "There are more" not in done.stderr
    asked = [request for name, _, request in server.world.calls if name == "ListNodes"]
    assert len(asked) == 3
    assert all(list(request.filters) == ["tag:Environment=prod", "unseen=7d"] for request in asked)


def test_a_limit_holds_and_is_said(server: StandIn, jit: Jit) -> None:
    server.world.answers["ListNodes"] = _paged
    done = jit("nodes", "list", "--limit", "7", JIT_OUTPUT="csv")
    assert len(done.stdout.splitlines()) == 8
    assert "There are more" in done.stderr
    assert len(json.loads(jit("nodes", "list", "--output", "json").stdout)["nodes"]) == 100


def test_other_commands_know_no_csv(jit: Jit) -> None:
    done = jit("users", "list", "--output", "csv")
    assert done.returncode == 2 and "csv" in done.stderr


def _paged(caller: str, request: node_pb2.ListNodesRequest) -> node_pb2.ListNodesResponse:
    """2500 nodes, the last of which has a tag that no other has."""
    start = int(request.page.token or 0)
    end = min(start + request.page.size, 2500)
    found = [a_node() for _ in range(start, end)]
    for number, item in enumerate(found, start):
        item.name = f"web-{number}"
        if number == 2499:
            item.tags["last"] = "yes"
    return node_pb2.ListNodesResponse(nodes=found, next_page_token=str(end) if end < 2500 else "")
