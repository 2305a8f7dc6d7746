"""Sessions whose output is told as JSON lines while they run, where preferences want that (R26)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.nodes.ports import Exited, UpstreamKind
from gateway.places.model import Allowance, AllowanceKind, Choice
from gateway.sessions.model import End
from gateway.store import allowances, events
from gateway.store.preferences import RecordingMode
from tests.gateway.access.world import HOME, WEB, World
from tests.gateway.places.examples import GROUP, WRITER
from tests.gateway.sessions.client import data, hangup, until
from tests.gateway.sessions.conftest import Rig, Stay
from tests.gateway.sessions.test_adopting import Gateways

pytestmark = [pytest.mark.rule("R26"), pytest.mark.parametrize("database_server", ["sqlite"], indirect=True)]


async def logged(rig: Rig, kind: str = "end") -> list[dict[str, Any]]:
    """All lines, once there is one of that type."""
    await until(lambda: any(line["type"] == kind for line in rig.logged.lines))
    return rig.logged.lines


def output_of(lines: list[dict[str, Any]], stream: str = "stdout") -> str:
    return "".join(line["output"] for line in lines if line["type"] == "output" and line["stream"] == stream)


async def events_of(rig: Rig, prefix: str) -> list[events.Event]:
    async with rig.world.database.read() as connection:
        found = await events.page(connection, [("*", "*")], events.Filter(prefix), 100)
    return [event for _, event in reversed(found)]


async def exits(stay: Stay, rig: Rig, session_id: str) -> None:
    rig.node().exits(Exited(0))
    await stay.over()
    await rig.ended(session_id)


async def test_output_is_told_while_the_session_runs_and_input_never(rig: Rig) -> None:
    await rig.prefer(log_sessions=True)
    stay = await rig.stay()
    session_id = await stay.opened()
    stay.client.say(data(b"hunter2\n"))
    await until(lambda: rig.node().input == b"hunter2\n")
    rig.node().say(b"Password: \r\nwelcome\r\n")
    lines = await logged(rig, "output")
    assert stay.client.exit is None
    assert [(line["type"], line["user"], line["session"]) for line in lines] == [
        ("start", "alice", session_id),
        ("output", "alice", session_id),
    ]
    assert output_of(lines) == "Password:\nwelcome\n"
    rig.node().say(b"on stderr\n", stderr=True)
    await exits(stay, rig, session_id)
    lines = await logged(rig)
    assert output_of(lines, "stderr") == "on stderr\n"
    assert (lines[-1]["end"], lines[-1]["status"]) == ("EXITED", 0)
    session = await rig.session(session_id)
    known = {
        "request": session.request_id,
        "node": WEB,
        "node_name": "web-1",
        "login": "deploy",
        "account": HOME[0],
        "region": HOME[1],
        "kind": "shell",
        "stream_name": f"2026/03/02/{session_id}",
    }
    for line in lines:
        assert known.items() <= line.items()
        assert "command" not in line  # nobody can tell it of a shell
        assert "hunter2" not in str(line)


async def test_an_exec_tells_its_command_in_each_line(rig: Rig) -> None:
    await rig.prefer(log_sessions=True)
    stay = await rig.stay(kind=UpstreamKind.EXEC, command="uptime " + "x" * 2000)
    session_id = await stay.opened()
    rig.node().say(b"up 3 days\n")
    await exits(stay, rig, session_id)
    lines = await logged(rig)
    assert {line["command"] for line in lines} == {("uptime " + "x" * 2000)[:1024]}


async def test_nothing_is_told_unless_preferences_want_it(rig: Rig) -> None:
    quiet = await rig.stay()
    quiet_id = await quiet.opened()
    rig.node().say(b"quiet\n")
    await exits(quiet, rig, quiet_id)
    await rig.prefer(log_sessions=True)
    loud = await rig.stay()
    loud_id = await loud.opened()
    await exits(loud, rig, loud_id)
    assert {line["session"] for line in await logged(rig)} == {loud_id}


async def test_a_target_that_takes_nothing_holds_no_session_up_and_is_told(rig: Rig) -> None:
    rig.logged.problem = "the disk is full"
    await rig.prefer(log_sessions=True)
    stay = await rig.stay()
    session_id = await stay.opened()
    rig.node().say(b"seen at once\n")
    await until(lambda: stay.client.output() == b"seen at once\n")
    await exits(stay, rig, session_id)
    async with asyncio.timeout(30):
        while not (told := await events_of(rig, "session.log_incomplete")):
            await asyncio.sleep(0.01)
    assert (told[0].subject, told[0].details["lost_lines"]) == (session_id, 3)
    assert "the disk is full" in told[0].summary
    assert [each.type for each in await events_of(rig, "session_log.")] == ["session_log.failed"]
    rig.logged.problem = ""
    again = await rig.stay()
    again_id = await again.opened()
    await exits(again, rig, again_id)
    await logged(rig)
    async with asyncio.timeout(30):
        while len(told := await events_of(rig, "session_log.")) < 2:
            await asyncio.sleep(0.01)
    assert [each.type for each in told] == ["session_log.failed", "session_log.works"]


async def test_a_log_group_that_is_allowed_no_more_is_not_written_to(rig: Rig) -> None:
    place = Choice(role=WRITER)
    await rig.prefer(log_sessions=True, log_group=GROUP, recording_place=place)
    stay = await rig.stay()
    session_id = await stay.opened()
    await exits(stay, rig, session_id)
    async with asyncio.timeout(30):
        while not (told := await events_of(rig, "session.log_incomplete")):
            await asyncio.sleep(0.01)
    assert f"{GROUP} is not allowed for account {HOME[0]}" in told[0].summary
    elsewhere = GROUP.replace(":123456789012:", ":999999999999:")
    async with rig.world.database.transaction() as tx:
        for kind, name in ((AllowanceKind.LOG_GROUP, elsewhere), (AllowanceKind.ROLE, WRITER)):
            new = Allowance(HOME[0], kind, name, changed_at=rig.world.clock(), changed_by="root")
            await allowances.put(tx.connection, new)
    await rig.prefer(log_sessions=True, log_group=elsewhere, recording_place=place)
    stay = await rig.stay()
    await exits(stay, rig, await stay.opened())
    async with asyncio.timeout(30):
        while len(told := await events_of(rig, "session.log_incomplete")) < 2:
            await asyncio.sleep(0.01)
    assert "another AWS account" in told[1].summary


async def test_a_session_that_is_no_longer_recorded_is_still_logged(rig: Rig) -> None:
    await rig.prefer(log_sessions=True, recording=RecordingMode.BEST_EFFORT)
    stay = await rig.stay()
    session_id = await stay.opened()
    rig.watch.live[0].recording.fail("no space left on device")  # type: ignore[union-attr]  # it is recorded
    rig.node().say(b"goes on\n")
    await exits(stay, rig, session_id)
    assert output_of(await logged(rig)) == "goes on\n"


@pytest.fixture
async def gateways(world: World, tmp_path: Path) -> AsyncIterator[Gateways]:
    made = Gateways(world, tmp_path)
    rig = await made.start()
    await rig.prefer(log_sessions=True)
    await rig.with_agent()
    yield made
    await made.aclose()


async def test_the_log_of_a_session_that_outlives_its_gateway_goes_on(gateways: Gateways) -> None:
    first = gateways.rig
    stay = await first.stay(resumable=True)
    session_id = await stay.opened()
    process = first.process()
    process.say(b"before\n")
    await until(lambda: stay.client.output() == b"before\n")
    rig = await gateways.next(killed=False)
    await stay.refused()
    assert [line["type"] for line in first.logged.lines] == ["start", "output", "pause"]
    process.say(b"between\n")
    await gateways.named(session_id)
    back = await rig.back(session_id, 7)
    await back.opened()
    process.exits(Exited(0))
    await until(lambda: back.client.exit)
    back.client.say(hangup())
    assert (await rig.ended(session_id)).end is End.EXITED
    lines = await logged(rig)
    assert [line["type"] for line in lines] == ["resume", "output", "end"]
    assert output_of(lines) == "between\n"
    assert {line["stream_name"] for line in lines} == {first.logged.lines[0]["stream_name"]}
