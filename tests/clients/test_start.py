"""What a session's start imports and how its command line is read: the quick way must stay quick, and right."""

import shlex
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.cli import options
from clients.cli.options import EXEC, SHELL
from tests.clients.conftest import Jit

SLOW = {"typer", "rich", "grpc", "asyncio", "dataclasses", "inspect", "cryptography", "typing_extensions"}


def imported(code: str, environment: dict[str, str] | None = None) -> set[str]:
    """Top-level modules that are loaded after running the code, and were not in a bare interpreter."""
    script = f"import sys; before = set(sys.modules); {code}; print(*(set(sys.modules) - before), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=30, check=True
    )
    return {name.partition(".")[0] for name in done.stderr.splitlines()[-1].split()}


def test_a_session_starts_without_what_is_slow(jit: Jit, environment: dict[str, str]) -> None:
    assert jit("exec", "web-1", "--reason", "x", "--", "true").returncode == 0
    run = "connect.run(options.read(['exec', 'web-1', '--', 'true']))"
    code = f"import clients.cli.__main__; from clients.cli import connect, options; {run}"
    loaded = imported(code, environment)
    assert "ssl" in loaded
    assert loaded & SLOW == set()


def test_no_command_imports_grpc() -> None:
    modules = "app, signin, waiting, window, playback, transfer, relay, explanation"
    code = f"from clients.cli import {modules}; app._add_commands()"
    assert "grpc" not in imported(code)


def test_every_command_is_there_without_what_only_unix_has() -> None:
    away = "for name in 'termios tty pty fcntl pwd grp resource'.split(): sys.modules[name] = None"
    code = f"import sys\n{away}\nfrom clients.cli import app, connect, relay, terminal\napp._add_commands()"
    subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=True)


def test_nothing_of_unix_is_imported_with_the_commands() -> None:
    code = "from clients.cli import app, connect, terminal; app._add_commands(); assert 'tty' not in sys.modules"
    assert "clients" in imported(code)


@pytest.mark.parametrize(
    ("arguments", "node", "command"),
    [
        (["shell", "web-1"], "web-1", None),
        (["shell", "--reason", "x", "web-1"], "web-1", None),
        (["exec", "web-1", "--", "ls", "-l"], "web-1", ["ls", "-l"]),
        (["exec", "web-1", "ls"], "web-1", ["ls"]),
        (["exec", "-t", "web-1", "--", "--", "a"], "web-1", ["--", "a"]),
    ],
)
def test_plain_command_lines_are_read_at_once(arguments: list[str], node: str, command: list[str] | None) -> None:
    plan = options.read(arguments)
    assert plan
    assert (plan.node, plan.command) == (node, command)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nodes", "list"],
        ["shell"],
        ["shell", "a", "b"],
        ["shell", "--help"],
        ["shell", "--bogus", "a"],
        ["shell", "a", "--reason"],
        ["exec", "a"],
        ["exec", "--hours", "x", "a", "--", "b"],
        ["exec", "-tn", "a", "--", "b"],
        ["exec", "--terminal=1", "a", "b"],
    ],
)
def test_the_rest_is_left_to_typer(arguments: list[str]) -> None:
    assert options.read(arguments) is None


def test_options_come_from_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JIT_REGION", "eu")
    monkeypatch.setenv("JIT_ACCESS_TOKEN", "jgt_1")
    plan = options.read(["shell", "web-1", "--account=prod", "--hours", "3"])
    assert plan
    assert (plan.account, plan.region, plan.token, plan.hours) == ("prod", "eu", "jgt_1", 3)
    assert options.read(["shell", "web-1", "--region", "us"]).region == "us"  # type: ignore[union-attr]  # it is plain


def test_typer_knows_the_same_options(jit: Jit) -> None:
    for name, table in (("shell", SHELL), ("exec", EXEC)):
        shown = jit(name, "--help", COLUMNS="200").stdout
        assert all(flag in shown for option in table for flag in option.flags)


@settings(max_examples=100)
@given(
    st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=2, max_size=5)
)
def test_quoted_words_come_back_from_a_shell(words: list[str]) -> None:
    plan = options.Plan("node", words)
    assert shlex.split(plan.command_line) == words
