"""What tests take from npm: the packages that a folder's package-lock.json names, beside it."""

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest

_SECONDS = 240


def require_packages(folder: Path) -> None:
    """Installs them, once, whoever else wants them at the same time. Skips the test where there is no npm."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is missing: {folder.name} needs it")
    lock, installed = folder / "package-lock.json", folder / "node_modules" / ".package-lock.json"
    # Two at work in one folder take each other's files away.
    with lock.open() as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
            command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
            done = subprocess.run(
                command, cwd=folder, check=False, capture_output=True, text=True, timeout=_SECONDS
            )
            assert done.returncode == 0, done.stderr
