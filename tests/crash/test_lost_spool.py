"""kill -9 and an empty spool while a program prints: under `durability = store` its output is whole."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.crash.resume.world import NODE, resume_world
from tests.processes import wait_for

pytestmark = [pytest.mark.alone, pytest.mark.slow, pytest.mark.rule("R27")]
PROGRAM = """
import pathlib, sys, time
number = 0
while not pathlib.Path(sys.argv[1]).exists():
    print(number, flush=True)
    number += 1
    time.sleep(0.01)
print("end", flush=True)
"""


def test_output_outlives_the_spool_of_its_gateway(tmp_path: Path) -> None:
    with resume_world(tmp_path, JITGATE_RECORDINGS__DURABILITY="store") as world:
        seen, enough = tmp_path / "seen", tmp_path / "enough"
        command = ("exec", NODE, "--reason", "to stay", "--", sys.executable, "-c", PROGRAM, str(enough))
        with seen.open("wb") as out, (tmp_path / "said").open("wb") as said:
            running = world.alice.popen(*command, stdin=subprocess.DEVNULL, stdout=out, stderr=said)
        try:
            _prints_on(seen)
            world.gateway.kill()
            shutil.rmtree(world.gateway.data_dir / "spool")
            world.gateway.start()
            _prints_on(seen)
            enough.touch()
            code = running.wait(90)
        finally:
            running.kill()
        assert code == 0, (tmp_path / "said").read_text()
        lines = seen.read_bytes().split(b"\n")
        assert lines == [*(b"%d" % number for number in range(len(lines) - 2)), b"end", b""]
        dave = world.on.dave
        (session,) = world.on.administrator.call("SessionService/ListSessions", user_id="alice")["sessions"]
        found: dict[str, Any] = {}

        def is_complete() -> bool:
            found.update(dave.call("RecordingService/GetRecording", session_id=session["id"])["recording"])
            return bool(found["status"] == "RECORDING_STATUS_COMPLETE")

        wait_for(is_complete, 60, "the recording")
        assert found["gaps"] == 1
        answers = dave.client.receive(
            "RecordingService/ExportRecording", session_id=session["id"], format="EXPORT_FORMAT_RAW"
        )
        assert b"".join(answer.chunk for answer in answers) == seen.read_bytes()
        assert dave.call("RecordingService/VerifyRecording", session_id=session["id"])["intact"]


def _prints_on(seen: Path) -> None:
    before = seen.stat().st_size
    wait_for(lambda: seen.stat().st_size > before + 500, 60, "more output")
