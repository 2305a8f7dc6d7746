"""The same with a real agent and real processes: what it keeps comes back byte for byte."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.nodes.agents.attachment import Attachment
from gateway.nodes.agents.errors import stopping
from gateway.nodes.ports import Exited, Lost, ResumableUpstream
from tests.agents import AgentProcess
from tests.conformance.connectors import eventually
from tests.gateway.nodes.agents.puppet import REQUEST, Sink
from tests.gateway.nodes.agents.rig import Rig
from tests.sshd import current_login

SESSION = REQUEST.session_id
pytestmark = [pytest.mark.rule("R33"), pytest.mark.parametrize("database_server", ["sqlite"], indirect=True)]


@pytest.fixture
async def agent(rig: Rig, tmp_path: Path) -> AsyncIterator[AgentProcess]:
    activation = await rig.invite()
    made = AgentProcess(tmp_path / "agent")
    registered = await asyncio.to_thread(
        made.register, rig.joining.address, rig.fingerprint, activation.id, rig.codes[activation.id]
    )
    assert registered.returncode == 0, registered.stderr
    made.launch()
    try:
        await connected(rig, made)
        yield made
    finally:
        await asyncio.to_thread(made.stop)


async def connected(rig: Rig, agent: AgentProcess) -> Attachment:
    await eventually(lambda: rig.attachments.of(agent.node_id) is not None, agent.log.read_text)
    attachment = rig.attachments.of(agent.node_id)
    assert attachment is not None
    return attachment


async def running(rig: Rig, agent: AgentProcess, command: str) -> tuple[ResumableUpstream, Sink]:
    request = replace(REQUEST, login=current_login(), command=command, grace_seconds=60)
    upstream = await rig.connector.open(await rig.node(agent.node_id), request)
    sink = Sink()
    await upstream.start(sink)
    return upstream, sink


async def test_output_and_input_over_many_calls(rig: Rig, agent: AgentProcess) -> None:
    script = "seq 1 300000; cat"
    upstream, sink = await running(rig, agent, script)
    expected = b"".join(b"%d\n" % number for number in range(1, 300_001))
    typed = bytes(range(256)) * 1200
    begins = 0
    for number in range(8):
        upstream.write(typed[number * 38_400 : (number + 1) * 38_400])
        had = len(sink.out)
        await eventually(lambda had=had: len(sink.out) > had, agent.log.read_text)  # type: ignore[misc]  # bound here
        if number % 4 == 1:
            (await connected(rig, agent)).end(stopping())
            assert sink.heard[-1:] == ["suspended"]
        else:
            assert sink.out == (expected + typed)[begins : begins + len(sink.out)]
            upstream.acknowledged(begins + len(sink.out) - 1000)
            begins = upstream.oldest + 500
            sink.out.clear()
            upstream.rewind(begins)
    upstream.write_eof()

    def is_done() -> bool:
        upstream.acknowledged(begins + len(sink.out))
        return sink.end is not None

    await eventually(is_done, agent.log.read_text)
    assert (sink.end, bytes(sink.out)) == (Exited(0), (expected + typed)[begins:])
    assert sink.heard == ["suspended", "resumed"] * 2
    upstream.release()
    await eventually(lambda: agent.said("session_ended"), agent.log.read_text)


async def test_a_kept_session_is_adopted_or_killed(rig: Rig, agent: AgentProcess, tmp_path: Path) -> None:
    adopted: list[tuple[ResumableUpstream, Sink]] = []

    class Adopting:
        async def held(self, node_id: str, session_ids: Sequence[str]) -> None:
            assert session_ids == [SESSION]
            sink = Sink()
            node = await rig.node(node_id)
            upstream = await rig.connector.adopt(
                node, SESSION, recorded=3, recorded_input=6, grace_seconds=60, sink=sink
            )
            adopted.append((upstream, sink))

    rig.attachments.tell(Adopting())
    pid = tmp_path / "pid"
    upstream, sink = await running(rig, agent, f"echo $$ > {pid}; cat; sleep 300")
    upstream.write(b"abcdef")
    await eventually(lambda: sink.out == b"abcdef")
    upstream.leave()
    (await connected(rig, agent)).end(stopping())
    await eventually(lambda: bool(adopted), agent.log.read_text)
    upstream, sink = adopted[0]
    upstream.write(b"ghi")
    await eventually(lambda: sink.out == b"defghi")
    assert (upstream.oldest, upstream.input_offset) == (0, 9)
    (await connected(rig, agent)).end(stopping())
    upstream.close()  # while nobody can be told
    process = Path(f"/proc/{pid.read_text().strip()}")
    await eventually(lambda: not process.exists(), agent.log.read_text)
    assert sink.end is None


async def test_an_agent_that_was_killed_has_kept_nothing(rig: Rig, agent: AgentProcess) -> None:
    upstream, sink = await running(rig, agent, "sleep 300")
    await asyncio.to_thread(agent.kill)
    await eventually(lambda: sink.heard == ["suspended"])
    assert sink.end is None
    agent.launch()
    await eventually(lambda: isinstance(sink.end, Lost), agent.log.read_text)
    await upstream.wait_closed()
