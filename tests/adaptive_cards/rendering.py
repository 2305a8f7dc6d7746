"""Adaptive Cards as their own library renders them, in a browser without a window."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent
_LIBRARY = FOLDER / "node_modules" / "adaptivecards" / "dist" / "adaptivecards.min.js"
_SECONDS = 120


def _browser() -> str:
    """Skips the test where what it needs is missing; installs the library once."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("chromium is missing: tests/debian-packages.sh")
    if shutil.which("npm") is None:
        pytest.skip("npm is missing: it brings the library that renders Adaptive Cards")
    installed, lock = FOLDER / "node_modules" / ".package-lock.json", FOLDER / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        subprocess.run(command, cwd=FOLDER, check=True, capture_output=True, timeout=300)
    return found


def render(card: Mapping[str, Any], folder: Path, *, picture: Path | None = None, width: int = 480) -> str:
    """The page's DOM with the card in it; a picture of it as well, if one is wanted."""
    browser = _browser()
    for file in (_LIBRARY, FOLDER / "page.html"):
        shutil.copy(file, folder)
    words = json.dumps(card).replace("<", "\\u003c")  # no end of the script in it
    (folder / "card.js").write_text(f"const card = {words};\n", encoding="utf-8")
    command = [
        browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
        "--disable-background-networking", f"--user-data-dir={folder / 'profile'}", f"--window-size={width},760",
    ]  # fmt: skip
    page = (folder / "page.html").as_uri()
    if picture is not None:
        subprocess.run(
            [*command, f"--screenshot={picture}", page], check=True, capture_output=True, timeout=_SECONDS
        )
    shown = subprocess.run([*command, "--dump-dom", page], check=True, capture_output=True, timeout=_SECONDS)
    return shown.stdout.decode()
