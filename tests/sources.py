"""Python files as data."""

import ast
import gc
from pathlib import Path


def parsed(file: Path) -> ast.Module:
    """Collects no garbage meanwhile: what that logs may be parsed too, at which CPython 3.11 fails (gh-106905)."""
    gc.disable()
    try:
        return ast.parse(file.read_text())
    finally:
        gc.enable()
