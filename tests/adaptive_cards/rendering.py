"""Adaptive Cards as their own library renders them, in a browser without a window."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.browser import chromium, shown
from tests.npm import require_packages

FOLDER = Path(__file__).parent
_LIBRARY = FOLDER / "node_modules" / "adaptivecards" / "dist" / "adaptivecards.min.js"


def render(card: Mapping[str, Any], folder: Path, *, picture: Path | None = None, width: int = 500) -> str:
    """The page's DOM with the card in it; a picture of it as well, if one is wanted."""
    chromium()
    require_packages(FOLDER)
    for file in (_LIBRARY, FOLDER / "page.html"):
        shutil.copy(file, folder)
    words = json.dumps(card).replace("<", "\\u003c")  # no end of the script in it
    (folder / "card.js").write_text(f"const card = {words};\n", encoding="utf-8")
    return shown(folder / "page.html", folder, width=width, height=760, picture=picture)
