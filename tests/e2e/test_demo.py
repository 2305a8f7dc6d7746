"""`make demo` shows what it says it shows, leaves a gateway to play with, and goes when it is told to."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.notifiers.email.liar import liar
from tests.sshd import current_login

REPOSITORY = Path(__file__).parents[2]


def demo(folder: Path, *what: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.demo", *what, "--folder", folder],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    where = tmp_path_factory.mktemp("demo") / "stage"
    yield where
    demo(where, "stop")


@pytest.fixture(scope="module")
def mails() -> list[bytes]:
    """What arrived at a mail server of whoever ran the demo."""
    return []


@pytest.fixture(scope="module")
def shown(folder: Path, mails: list[bytes]) -> subprocess.CompletedProcess[str]:
    """By somebody who has mail of their own."""

    async def play() -> subprocess.CompletedProcess[str]:
        async with liar() as server:
            configured = (
                f'{{ host = "127.0.0.1", port = {server.port}, security = "none", sender = "jitgate@example.org", '
                'watchers = [{ address = { email = "you@example.org" } }] }'
            )
            done = await asyncio.to_thread(demo, folder, JITGATE_NOTIFICATIONS__EMAIL=configured)
            mails.extend(server.data)
            return done

    return asyncio.run(play())


@pytest.mark.slow
def test_it_shows_the_whole_way(shown: subprocess.CompletedProcess[str]) -> None:
    assert shown.returncode == 0, shown.stdout + shown.stderr
    for claim in (
        "Approved at once",
        "email, which you have configured, was sent the same for real",
        f"through the agent, as {current_login()}",
        "Subject: [Jitgate] alice: access to db-1",
        '"action_id": "approve"',
        '"type": "AdaptiveCard"',
        "The message in Slack has become the outcome: “Approved: alice's access to db-1”",
        "level 2 of 2: 1 of 1 approvals",
        "payment-data-by-hand: matched",
        "policy financial-data targets DataClass=financial",
        "✓ intact",
        "0001-000000.seg: was changed",
        "typed while nobody was there: 42",
        "revoked by bob: the incident is over",
    ):
        assert claim in shown.stdout, claim
    assert "\x1b" not in shown.stdout  # colours are for terminals


@pytest.mark.slow
@pytest.mark.usefixtures("shown")
def test_its_mail_goes_to_who_runs_it_as_well(mails: list[bytes]) -> None:
    asked = [mail for mail in mails if b"alice asks for access to db-1" in mail]
    assert asked
    assert all(b"To: you@example.org" in mail for mail in mails)


@pytest.mark.slow
@pytest.mark.parametrize("node", ["web-1", "edge-1"])
def test_its_gateway_goes_on_and_its_wrappers_work(
    shown: subprocess.CompletedProcess[str], folder: Path, node: str
) -> None:
    answer = subprocess.run(
        [folder / "alice", "exec", node, "--", "echo still there"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (answer.returncode, answer.stdout) == (0, "still there\n"), answer.stderr
    assert (folder / "passwords").stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_it_ends_when_it_is_told_to(shown: subprocess.CompletedProcess[str], folder: Path) -> None:
    noted = json.loads((folder / "running.json").read_text())
    assert demo(folder, "stop").stdout == f"stopped {len(noted['processes'])} processes\n"
    assert not any(_lives(process["id"], folder) for process in noted["processes"])
    assert not any(Path(each).exists() for each in noted["folders"])
    assert demo(folder, "stop").stdout == "stopped 0 processes\n"


# On request, for it takes as long as the plain one:
# JITGATE_TEST_DEMO_AWS=1 make test PYTEST_ARGS="tests/e2e/test_demo.py -k s3_and_kms"
if os.environ.get("JITGATE_TEST_DEMO_AWS"):

    @pytest.mark.slow
    @pytest.mark.timeout(450)
    def test_it_shows_it_with_s3_and_kms_as_well(tmp_path: Path) -> None:
        folder = tmp_path / "stage"
        try:
            done = demo(folder, "--aws")
            assert done.returncode == 0, done.stdout + done.stderr
            for claim in ("✓ intact", "0001-000000.seg: was changed", "typed while nobody was there: 42"):
                assert claim in done.stdout, claim
            (objects,) = folder.glob("**/buckets/*")
            kept = {path.parent for path in objects.rglob("manifest-*.json")}
            assert len(kept) > 3
            assert all(list(recording.glob("*.seg")) for recording in kept)
            assert not list((folder / "gateway").rglob("*.seg"))
        finally:
            demo(folder, "stop")


def test_no_process_of_somebody_else_is_ended(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        noted = {"processes": [{"id": stranger.pid, "started": 1}], "folders": []}
        (tmp_path / "running.json").write_text(json.dumps(noted))
        assert demo(tmp_path, "stop").stdout == "stopped 0 processes\n"
        assert stranger.poll() is None
        stranger.kill()


def _lives(process: int, folder: Path) -> bool:
    try:
        environment = Path(f"/proc/{process}/environ").read_bytes()
        return str(folder).encode() in environment
    except OSError:
        return False
