"""Sessions through a real agent and a real gateway, from the registration to the recording."""

import json
import time
from pathlib import Path

import pytest

from tests.agents import AgentProcess
from tests.clients.agent.conftest import Fleet
from tests.e2e.clock import clocked_gateway
from tests.e2e.live import Live
from tests.e2e.stage import Somebody, stage
from tests.processes import wait_for
from tests.sshd import current_login

DETACHED = "setsid nohup sh -c 'echo $$ >&3; exec sleep 300' 3>&1 >/dev/null 2>&1 & "
BUSY = DETACHED + "echo $$; exec sleep 300"
LIFETIME = 8.0
"""Seconds that are left of a window: enough to open a session in, on a machine that is busy too."""


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def busy(fleet: Fleet, agent: AgentProcess) -> tuple[Live, list[int]]:
    """A session, and the processes in it: its command and one that has detached itself."""
    live = fleet.session(agent, BUSY)
    return live, both(live)


def both(live: Live) -> list[int]:
    live.until_open()
    wait_for(lambda: live.output.count(b"\n") == 2, what="the session's processes")
    processes = [int(line) for line in live.output.split()]
    assert all(is_alive(process) for process in processes)
    return processes


def gone(processes: list[int], seconds: float = 20.0) -> None:
    wait_for(lambda: not any(is_alive(process) for process in processes), seconds, "the processes' end")


@pytest.mark.rule("R33")
def test_a_node_joins_with_its_activation_and_shows_itself(fleet: Fleet, edge: AgentProcess) -> None:
    node = fleet.node(edge)
    assert (node["name"], node["tags"], node["connector"]) == ("edge", {"Environment": "dev"}, "agent")
    assert node["connected"] and node["last_seen_at"]
    assert node["properties"]["platform"].startswith("Linux ") and node["properties"]["agent_version"]
    listed = fleet.on.administrator.person.jit("nodes", "list", "connected=true")
    assert "edge" in listed and "connected" in listed
    status = edge.run("status")
    assert status.returncode == 0 and "attached" in status.stdout and edge.node_id in status.stdout
    assert (edge.folder / "node.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.rule("R33")
def test_activations_are_managed_with_jit(fleet: Fleet) -> None:
    administrator = fleet.on.administrator.person
    options = ("--tag", "Environment=dev", "--login", current_login(), "--limit", "2", "--hours", "1")
    made = administrator.json("activations", "create", "rack", *options)
    activation, code = made["activation"]["id"], made["code"]
    assert made["activation"]["registration_limit"] == 2
    names = []
    for number in range(2):
        agent = AgentProcess(fleet.folder / f"rack{number}")
        done = fleet.register(agent, (activation, code))
        assert done.returncode == 0, done.stderr
        names.append(fleet.node(agent)["name"])
        assert agent.node_id in done.stdout and code not in done.stdout
    assert names == ["rack", "rack-2"]
    listed = administrator.jit("activations", "list")
    assert activation in listed and "2 of 2" in listed and code not in listed
    assert "never seen" in administrator.jit("nodes", "list", "name=rack*", "connected=false")
    administrator.jit("activations", "delete", activation, "--yes")
    assert activation not in administrator.jit("activations", "list")
    assert "activation" in administrator.refused("activations", "delete", activation, "--yes")
    shown = administrator.jit("activations", "create", "rack")
    assert "code" in shown and "act-" in shown
    refused = fleet.on.alice.person.refused("activations", "create", "mine")
    assert "lacks the permission" in refused
    administrator.jit("nodes", "update", "rack", "--login", "nobody")
    assert fleet.on.administrator.call("NodeService/GetNode", node="rack")["node"]["ssh"]["login"] == "nobody"
    assert "agent" in administrator.refused("nodes", "update", "rack", "--address", "192.0.2.1:22")
    assert "agent" in administrator.refused("nodes", "trust", "rack")


def test_a_shell_and_a_command_are_recorded(fleet: Fleet, edge: AgentProcess) -> None:
    with fleet.session(edge) as shell:
        shell.until_open().send(b"echo all$((40 + 2))well; exit 5\n")
        assert shell.until_over() == ("OK", "")
        assert b"all42well" in shell.output and shell.exit.status == 5
        assert shell.opened.login == current_login()
    with fleet.session(edge, "cat; printf err >&2; kill -TERM $$") as command:
        command.until_open().send(b"in and out")
        command.say(eof={})
        assert command.until_over() == ("OK", "")
        assert (bytes(command.output), bytes(command.errors)) == (b"in and out", b"err")
        assert command.exit.signal == "TERM"
    auditor = fleet.on.dave
    for live in (shell, command):
        wait_for(lambda id_=live.id: is_recorded(auditor, id_), what="the recording")  # type: ignore[misc]
        assert auditor.call("RecordingService/VerifyRecording", session_id=live.id)["intact"]
        played = b"".join(
            event.output or event.error_output
            for answer in auditor.client.receive("RecordingService/PlayRecording", session_id=live.id)
            for event in answer.events
        )
        assert played == bytes(live.output) + bytes(live.errors)


def is_recorded(auditor: Somebody, session_id: str) -> bool:
    found = auditor.call("RecordingService/GetRecording", session_id=session_id)["recording"]
    return bool(found["status"] == "RECORDING_STATUS_COMPLETE")


@pytest.mark.rule("R25")
def test_what_the_session_detached_ends_with_it(fleet: Fleet, edge: AgentProcess) -> None:
    live, processes = busy(fleet, edge)
    live.vanish()
    gone(processes)


@pytest.mark.alone
@pytest.mark.rule("R25")
def test_a_revocation_ends_everything_within_a_second(fleet: Fleet, edge: AgentProcess) -> None:
    live, processes = busy(fleet, edge)
    request = fleet.on.session(live.id)["access_request_id"]
    revoked = time.monotonic()
    fleet.on.administrator.call("ApprovalService/Revoke", access_request_id=request, comment="over")
    live.until_over()
    assert live.end == "REVOKED" and live.exit_at - revoked < 1
    gone(processes, 1)


def test_a_killed_agent_leaves_nothing_and_is_told_as_gone(fleet: Fleet) -> None:
    agent = fleet.joined("mortal")
    agent.start()
    live, processes = busy(fleet, agent)
    agent.kill()
    live.until_over()
    assert live.end == "NODE_GONE"
    gone(processes)
    wait_for(lambda: not fleet.connected(agent), what="the node's disconnection")
    refused = fleet.session(agent, "true")
    assert refused.until_over() == ("UNAVAILABLE", "NODE_UNREACHABLE")
    with pytest.raises(AssertionError, match="its agent is not connected; it was last seen at"):
        fleet.on.alice.person.jit("exec", "mortal", "--reason", "x", "--", "true")
    check = fleet.on.administrator.call("NodeService/CheckNode", node=agent.node_id)["checks"]
    passed = [(step["step"], step.get("passed", False)) for step in check]
    assert passed == [("agent", False), ("certificate", True), ("clock", True)]
    agent.start()
    with fleet.session(agent, "echo back") as again:
        assert again.until_over() == ("OK", "") and again.output == b"back\n"
    agent.stop()
    stopped = agent.run("status")
    assert stopped.returncode == 1 and "the agent does not run" in stopped.stderr


@pytest.mark.rule("R25")
def test_the_lifetime_is_kept_by_the_node_itself(tmp_path: Path) -> None:
    """The agent stands still, and with it everything that could be told: its supervisors need nobody."""
    gateway, clock = clocked_gateway(tmp_path / "gateway")
    gateway.start()
    try:
        with stage(gateway, tmp_path) as on:
            fleet = Fleet(on, tmp_path)
            agent = fleet.joined("slow")
            agent.start()
            token = on.alice.token(on.alice.request(agent.node_id)["id"])  # of a window of an hour
            clock.set(3600 - LIFETIME)
            began = time.monotonic()
            live = Live(on.alice.client, token, agent.node_id, BUSY)
            processes = both(live)
            assert agent.process is not None
            agent.process.send_signal(19)  # SIGSTOP: it can neither hear nor reach any gateway
            try:
                gone(processes, LIFETIME + 15)
                assert time.monotonic() - began > LIFETIME - 2
                live.vanish()
            finally:
                agent.process.send_signal(18)
                agent.stop()
    finally:
        gateway.stop()


def test_a_removed_node_is_cut_off_and_never_comes_back(fleet: Fleet) -> None:
    agent = fleet.joined("doomed")
    agent.start()
    _, processes = busy(fleet, agent)
    fleet.on.administrator.call("NodeService/RemoveNode", node=agent.node_id)
    gone(processes)
    wait_for(lambda: agent.said("detached"), what="the agent's detachment")
    wait_for(
        lambda: any("NODE_REMOVED" in json.dumps(e) or "was removed" in json.dumps(e) for e in agent.events())
    )
    agent.stop()


def test_a_locked_node_comes_back_when_it_is_unlocked(fleet: Fleet) -> None:
    agent = fleet.joined("locked")
    agent.start()
    fleet.on.administrator.call("AdministrationService/Lock", node=agent.node_id, reason="looking into it")
    wait_for(lambda: not fleet.connected(agent), what="the cut")
    fleet.on.administrator.call("AdministrationService/Unlock", node=agent.node_id)
    wait_for(lambda: fleet.connected(agent), 30, "the return")
    agent.stop()


def test_registering_twice_is_refused_on_both_sides(fleet: Fleet, edge: AgentProcess) -> None:
    activation = fleet.invite("twice")
    again = fleet.register(edge, activation)
    assert again.returncode == 1 and "registered already" in again.stderr
    first = AgentProcess(fleet.folder / "first")
    assert fleet.register(first, activation).returncode == 0
    second = AgentProcess(fleet.folder / "second")
    used_up = fleet.register(second, activation)
    assert used_up.returncode == 1 and "the activation does not work" in used_up.stderr
    assert not (second.folder / "node.json").exists()
    wrong = second.register(fleet.gateway.sign_in_address, "sha256:" + "0" * 64, *activation)
    assert wrong.returncode == 1 and "no certificate with that fingerprint" in wrong.stderr


def test_a_second_agent_with_the_same_state_does_not_start(edge: AgentProcess) -> None:
    second = edge.run("run")
    assert second.returncode == 1 and "runs already" in second.stderr


# Last: these take the gateway away.


@pytest.mark.rule("R25")
def test_a_killed_gateway_ends_the_sessions_and_the_agent_comes_back(fleet: Fleet, edge: AgentProcess) -> None:
    live, processes = busy(fleet, edge)
    fleet.gateway.kill()
    gone(processes)
    live.until_over()
    seen = len(edge.events())
    fleet.gateway.start()
    wait_for(lambda: edge.said("attached", seen), 60, "the agent's return")
    with fleet.session(edge, "echo again") as again:
        assert again.until_over() == ("OK", "") and again.output == b"again\n"
