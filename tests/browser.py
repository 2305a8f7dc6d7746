"""Pages as a browser without a window shows them."""

import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

PHONE: Final = 390
"""Pixels of CSS that a phone is wide."""
_SECONDS = 120
_LONG = 2400
# Chromium makes no window of less than 500 pixels, but frames of any width; one of `srcdoc` can be looked into.
_FRAME = """\
<!doctype html>
<meta charset="utf-8">
<style>body { margin: 0 } iframe { border: 0; display: block; width: %(width)dpx; height: %(height)dpx }</style>
<iframe srcdoc="%(page)s"></iframe>
<script>
  addEventListener("load", () => {
    const inner = document.querySelector("iframe").contentDocument;
    const width = document.querySelector("iframe").clientWidth;
    const seen = { width: inner.documentElement.scrollWidth, height: inner.body.scrollHeight,
                   over: [], letters: [], targets: [] };
    for (const element of inner.body.querySelectorAll("*")) {
      const box = element.getBoundingClientRect(), style = inner.defaultView.getComputedStyle(element);
      if (!box.width || !box.height) continue;
      const words = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
      if (box.right > width || box.left < 0 || element.scrollWidth > element.clientWidth + 1 && words
          && style.display !== "inline") seen.over.push(element.outerHTML.slice(0, 80));
      if (words) seen.letters.push(parseFloat(style.fontSize));
      if (element.matches("a, button, input, textarea, summary")) seen.targets.push(box.height);
    }
    document.body.dataset.seen = JSON.stringify(seen);
  });
</script>
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """All in pixels of CSS. `width`: of what there is to scroll through. `over`: what stands out of the page or of
    its place. `letters`: the smallest. `target`: the height of the lowest thing to tap."""

    width: int
    height: int
    over: tuple[str, ...]
    letters: float
    target: float


def chromium() -> str:
    """Skips the test where it is missing."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("chromium is missing: tests/debian-packages.sh")
    return found


def shown(page: Path, folder: Path, *, width: int, height: int, picture: Path | None = None) -> str:
    """The page's DOM after its scripts ran; a picture of it as well, if one is wanted. `width`: at least 500."""
    command = [
        chromium(), "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
        "--disable-background-networking", f"--user-data-dir={folder / 'profile'}",
        f"--window-size={width},{height}",
    ]  # fmt: skip
    if picture is not None:
        _run([*command, f"--screenshot={picture}", page.as_uri()])
    return _run([*command, "--dump-dom", page.as_uri()])


def on_a_phone(page: str, folder: Path, *, picture: Path | None = None) -> Seen:
    """A page that needs no other file."""
    file = folder / "phone.html"
    file.write_text(_FRAME % {"width": PHONE, "height": _LONG, "page": html.escape(page)}, encoding="utf-8")
    dom = shown(file, folder, width=500, height=_LONG, picture=picture)
    found = re.search(r'data-seen="([^"]*)"', dom)
    assert found is not None, dom[-2000:]
    seen = json.loads(html.unescape(found[1]))
    return Seen(
        seen["width"],
        seen["height"],
        tuple(seen["over"]),
        min(seen["letters"]),
        min(seen["targets"], default=float("inf")),
    )


def _run(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS).stdout.decode()
