"""What became of one shell: what its node printed and took, what its client saw and typed, what was recorded."""

import re
from collections import Counter
from dataclasses import dataclass, field

from tests.crash.resume.shell import Shell
from tests.e2e.stage import Stage
from tests.processes import wait_for

_FINISHED_SECONDS = 60.0


@dataclass
class Verdict:
    """Output is counted in bytes, input in lines."""

    name: str
    sessions_lost: int = 0
    printed: int = 0
    bytes_lost: int = 0
    bytes_repeated: int = 0
    typed: int = 0
    inputs_lost: int = 0
    inputs_repeated: int = 0
    recorded: int = 0
    recordings_with_gaps: int = 0
    recordings_verified: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        return self.recordings_verified == 1 and not (
            self.sessions_lost
            or self.bytes_lost
            or self.bytes_repeated
            or self.inputs_lost
            or self.inputs_repeated
            or self.recordings_with_gaps
            or self.problems
        )


def judge(on: Stage, shell: Shell) -> Verdict:
    """After its end, with the gateway up."""
    verdict = Verdict(shell.name)
    seen = shell.file("seen").read_bytes()
    _judge_end(shell, verdict)
    _judge_output(shell, seen, verdict)
    _judge_input(shell, verdict)
    if shell.session_id:
        _judge_recording(on, shell, seen, verdict)
    else:
        verdict.problems.append("it never had a session")
    return verdict


def difference(truth: bytes, got: bytes) -> tuple[list[bytes], list[bytes]]:
    """Lines of `truth` that are missing in `got`, and lines that are there though they should not be, or again."""
    if truth == got:
        return [], []
    due, there = (Counter(text.splitlines(keepends=True)) for text in (truth, got))
    return list((due - there).elements()), list((there - due).elements())


def _judge_end(shell: Shell, verdict: Verdict) -> None:
    code = shell.process.poll()
    if code != 0:
        verdict.sessions_lost = 1
        told = re.sub(rb"\x1b\[[0-9;]*m", b"", shell.file("told").read_bytes()).decode(errors="replace")
        verdict.problems.append(f"jit ended with {code}: {' / '.join(told.split(chr(10))[-4:]).strip()}")


def _judge_output(shell: Shell, seen: bytes, verdict: Verdict) -> None:
    printed = _read(shell, "printed")
    first = f"{shell.name} begins\n".encode()
    # Before that line the prompt was there, and the echo of the command.
    shown = seen[at:] if (at := seen.find(first)) >= 0 else b""
    lost, repeated = difference(printed, shown)
    verdict.printed = len(printed)
    verdict.bytes_lost, verdict.bytes_repeated = sum(map(len, lost)), sum(map(len, repeated))
    if printed != shown:
        verdict.problems.append(f"output: lost {_few(lost)}, more than printed {_few(repeated)}")


def _judge_input(shell: Shell, verdict: Verdict) -> None:
    typed, taken = _read(shell, "typed"), _read(shell, "taken")
    lost, repeated = difference(typed, taken)
    verdict.typed = typed.count(b"\n")
    verdict.inputs_lost, verdict.inputs_repeated = len(lost), len(repeated)
    if typed != taken:
        verdict.problems.append(f"input: lost {_few(lost)}, more than typed {_few(repeated)}")


def _judge_recording(on: Stage, shell: Shell, seen: bytes, verdict: Verdict) -> None:
    session = shell.session_id
    try:
        status = wait_for(lambda: _finished(on, session), _FINISHED_SECONDS)
    except AssertionError:
        status = "not finished"
    if status != "COMPLETE":
        verdict.problems.append(f"{session}: its recording is {status}")
        return
    answers = on.dave.client.receive(
        "RecordingService/ExportRecording", session_id=session, format="EXPORT_FORMAT_RAW"
    )
    recorded = b"".join(answer.chunk for answer in answers)
    verdict.recorded = len(recorded)
    checked = on.dave.call("RecordingService/VerifyRecording", session_id=session)
    if checked.get("intact"):
        verdict.recordings_verified = 1
    else:
        verdict.problems.append(f"{session}: {checked.get('problems')}")
    lost, repeated = difference(seen, recorded)
    if checked.get("gaps") or recorded != seen:
        verdict.recordings_with_gaps = 1
        verdict.problems.append(
            f"{session}: {checked.get('gaps', 0)} gaps; lost {_few(lost)}, more than seen {_few(repeated)}"
        )


def _finished(on: Stage, session: str) -> str:
    """The recording's status once it will not change any more."""
    answer = on.dave.call("RecordingService/GetRecording", session_id=session)["recording"]
    status = str(answer["status"]).removeprefix("RECORDING_STATUS_")
    return status if status in ("COMPLETE", "QUARANTINED") else ""


def _read(shell: Shell, what: str) -> bytes:
    file = shell.file(what)
    return file.read_bytes() if file.exists() else b""


def _few(lines: list[bytes]) -> str:
    """The first of them, for people."""
    shown = ", ".join(repr(line[:60])[1:] for line in lines[:3])
    return f"{len(lines)} lines ({shown})" if lines else "nothing"
