"""Each rule of the field that is built has tests that name it: of what it grants and of what it refuses."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.sources import parsed

TESTS = Path(__file__).parent
# R22 and R30 come later. Of R33 it is the registry.
BUILT = [*range(1, 22), *range(23, 30), 31, 32, 33, 34]


@cache
def marked() -> dict[str, set[str]]:
    """Rule -> the tests that are marked with it, whether one by one, by their class or by their file."""
    found: dict[str, set[str]] = defaultdict(set)
    for file in sorted(TESTS.rglob("test_*.py")):
        tree = parsed(file)
        everywhere = set(_rules_in(_assigned(tree, "pytestmark")))
        for test, decorators in _tests(tree):
            for rule in everywhere | set(_rules_in(decorators)):
                found[rule].add(f"{file.relative_to(TESTS)}::{test}")
    return found


def _tests(tree: ast.Module) -> Iterator[tuple[str, list[ast.expr]]]:
    """Each test with the decorators of it and of its class."""
    for outer in tree.body:
        if isinstance(outer, ast.ClassDef):
            of_class = [*outer.decorator_list, *_assigned(outer, "pytestmark")]
            for inner in outer.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield f"{outer.name}::{inner.name}", [*of_class, *inner.decorator_list]
        elif isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef) and outer.name.startswith("test_"):
            yield outer.name, outer.decorator_list


def _assigned(place: ast.Module | ast.ClassDef, name: str) -> list[ast.expr]:
    return [
        node.value
        for node in place.body
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets)
    ]


def _rules_in(nodes: list[ast.expr]) -> Iterator[str]:
    for node in (inner for outer in nodes for inner in ast.walk(outer)):
        match node:
            case ast.Call(func=ast.Attribute(attr="rule"), args=[ast.Constant(value=str(rule))]):
                yield rule


@pytest.mark.parametrize("number", BUILT)
def test_a_rule_that_is_built_is_shown(number: int) -> None:
    assert len(marked()[f"R{number}"]) >= 2, f"R{number} needs a test of what it grants and one of what it refuses"


def test_no_test_names_a_rule_that_is_none() -> None:
    assert set(marked()) <= {f"R{number}" for number in range(1, 35)}
