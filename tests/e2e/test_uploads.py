"""A recording in whose place is something else: `jit` shows that, and has it tried again once that is cured."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.clock import Clock
from tests.e2e.live import Live
from tests.e2e.stage import Stage
from tests.processes import wait_for

pytestmark = pytest.mark.rule("R27")


@pytest.fixture(scope="module")
def on(shared_stage: tuple[Stage, Clock]) -> Stage:
    return shared_stage[0]


def test_what_is_in_quarantine_is_shown_and_tried_again(on: Stage) -> None:
    with Live(on.alice.client, on.token(), command="echo seen; read line") as live:
        live.until_output(b"seen\n")
        in_the_way = _laid_in_the_way(on, live.id)
        live.send(b"\n")
        live.until_over()
    uploads: list[dict[str, Any]] = []

    def is_aside() -> bool:
        found = json.loads(on.dave.person.jit("recordings", "uploads", "--output", "json"))["uploads"]
        uploads[:] = [each for each in found if each["session_id"] == live.id]
        return [each["status"] for each in uploads] == ["RECORDING_STATUS_QUARANTINED"]

    wait_for(is_aside, 45, "the quarantine")
    (upload,) = uploads
    assert upload["replica"] == (on.gateway.data_dir / "replica-id").read_text()
    shown = on.administrator.person.jit("recordings", "uploads")
    assert live.id in shown
    assert "quarantined" in shown
    assert upload["failure"] in shown
    assert b"in quarantine: 1" in on.administrator.person.run("doctor").stdout
    refused = on.dave.person.run("recordings", "uploads", "--retry", live.id)
    assert refused.returncode == 4
    in_the_way.unlink()
    on.administrator.person.jit("recordings", "uploads", "--retry", live.id)
    wait_for(lambda: _status(on, live.id) == "RECORDING_STATUS_COMPLETE", 45, "the recording")
    assert on.dave.call("RecordingService/VerifyRecording", session_id=live.id)["intact"]
    events = on.dave.person.jit("events", "list", "--subject", live.id, "--type", "recording.")
    for kind in ("quarantined", "retried", "completed"):
        assert events.count(f"recording.{kind}") == 1
    again = on.administrator.person.run("recordings", "uploads", "--retry", live.id)
    assert again.returncode == 1
    assert b"is not in quarantine" in again.stderr


def _laid_in_the_way(on: Stage, session_id: str) -> Path:
    """Something of the name that the session's first segment will have."""
    started = on.session(session_id)["started_at"][:10].replace("-", "/")
    folder: Path = on.gateway.data_dir / "recordings" / "default" / "default" / started / session_id
    folder.mkdir(parents=True)
    (folder / "0001-000000.seg").write_bytes(b"somebody else's")
    return folder / "0001-000000.seg"


def _status(on: Stage, session_id: str) -> str:
    return str(on.dave.call("RecordingService/GetRecording", session_id=session_id)["recording"]["status"])
