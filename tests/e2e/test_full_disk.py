"""A full disk under the spool, or a full quota: strict sessions end and say so, none begins, nothing is lost."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.live import Live, run
from tests.e2e.stage import Stage
from tests.processes import GatewayProcess, wait_for

pytestmark = pytest.mark.rule("R27")


def _mount(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["mount", *options], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small disk of its own."""
    folder = tmp_path_factory.mktemp("disk")
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    mounted = _mount("-t", "tmpfs", "-o", "size=2m", "none", str(folder))
    if mounted.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, disk: Path) -> Iterator[GatewayProcess]:
    process = GatewayProcess(
        tmp_path_factory.mktemp("gateway"),
        environment={
            "JITGATE_RECORDINGS__SPOOL": str(disk / "spool"),
            "JITGATE_RECORDINGS__SPOOL_MIN_FREE_MIB": "0",
        },
    )
    process.start()
    yield process
    process.stop()


def test_a_disk_that_fills_up_and_gets_room_again(on: Stage, disk: Path) -> None:
    token = on.token()
    assert run(on.alice.client, token, "echo room").output == b"room\n"
    filler = disk / "filler"
    with Live(on.alice.client, token, command="head -c 100000 /dev/urandom; sleep 60") as quiet:
        wait_for(lambda: len(quiet.output) == 100_000, what="what it prints")
        with Live(on.alice.client, token, command="while head -c 20000 /dev/urandom; do :; done") as loud:
            wait_for(lambda: len(loud.output) > 4_000_000, 45, "more than the disk holds: it is stored meanwhile")
            # What is stored makes room again, which something else takes.
            wait_for(lambda: _fill(filler) and loud.refusal, 45, "the session's end")
            assert loud.until_over() == ("OK", "")
        assert loud.end == "RECORDING_FAILED"
        assert any(severity == "end" and "recording failed" in text for severity, text in loud.notices)
        wait_for(lambda: _is_complete(on, loud.id), 45, "the recording of what was seen until then")
        _fill(filler)
        # Nobody is let in while nothing can be kept of it.
        with Live(on.alice.client, token, command="echo unrecorded") as late:
            assert late.until_over() == ("UNAVAILABLE", "RECORDING_FAILED")
        assert late.output == b""
        said = on.alice.person.run("exec", "web-1", "--reason", "look", "--", "echo unrecorded")
        assert (said.returncode, said.stdout) == (255, b"")
        assert "cannot be recorded" in said.stderr.decode()
        wait_for(
            lambda: b"the spool is full" in on.administrator.person.run("doctor").stdout,
            45,
            "what the doctor finds",
        )
    assert on.is_alive()
    filler.unlink()
    assert _mount("-o", "remount,size=64m", str(disk)).returncode == 0
    assert run(on.alice.client, token, "echo room again").output == b"room again\n"
    wait_for(lambda: _is_complete(on, quiet.id), 45, "the recording that needed room to be finished")
    for live in (quiet, loud):
        answers = on.dave.client.receive(
            "RecordingService/ExportRecording", session_id=live.id, format="EXPORT_FORMAT_RAW"
        )
        recorded = b"".join(answer.chunk for answer in answers)
        assert recorded.startswith(bytes(live.output))
        assert on.dave.call("RecordingService/VerifyRecording", session_id=live.id)["intact"]
    assert on.session(loud.id)["end"] == "SESSION_END_RECORDING_FAILED"


def _fill(filler: Path) -> bool:
    """Takes what is left, to the last byte; it did."""
    with filler.open("ab", buffering=0) as file:
        for size in (65_536, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return True


def _is_complete(on: Stage, session_id: str) -> bool:
    found = on.dave.call("RecordingService/GetRecording", session_id=session_id)["recording"]
    assert found["status"] != "RECORDING_STATUS_QUARANTINED", found
    return bool(found["status"] == "RECORDING_STATUS_COMPLETE")
