"""Tab in real shells, on the words that only the gateway knows."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jitgate.v1 import access_pb2 as access
from jitgate.v1 import node_pb2 as node
from tests.clients.conftest import Jit
from tests.clients.standin import StandIn

BASH = """
source completion
COMP_WORDS=({words})
COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_jit_completion jit
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
# What would be offered is printed: a list needs a line editor.
ZSH = """
compdef() {{ }}
_files() {{ }}
source completion
words=({words})
CURRENT=${{#words}}
_arguments() {{ print -r -- "$1" }}
_jit_completion
"""
FISH = """
source completion
complete --do-complete '{words}'
"""


Words = Callable[[str], list[str]]
# A machine that is busy may need the two seconds that a person is kept waiting at most.
PATIENT = (
    "import clients.cli.completing as c; c.SECONDS = 60.0; from clients.cli.__main__ import main; exit(main())"
)


@pytest.fixture
def words(environment: dict[str, str]) -> Words:
    """What is offered for a line of bash's."""
    return lambda line: _words(environment, line, "-c", PATIENT)


@pytest.fixture
def shell_environment(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """`jit` on the path; a home of its own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "jit"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{PATIENT}' \"$@\"\n")
    program.chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return environment | {"PATH": path, "HOME": str(tmp_path), "PYTHONPATH": str(Path.cwd())}


@pytest.mark.parametrize(
    ("shell", "line", "offered"),
    [
        ("bash", "jit shell w", {"web-1"}),
        ("zsh", "jit exec l", {"lonely"}),
        ("fish", "jit --profile bob request d", {"db-1"}),
    ],
)
def test_shells_complete_the_names_of_nodes(
    shell: str, line: str, offered: set[str], shell_environment: dict[str, str], tmp_path: Path
) -> None:
    assert _completed(shell, line, shell_environment, tmp_path) == offered


def test_shells_that_explain_words_complete_the_ids_of_requests(
    jit: Jit, shell_environment: dict[str, str], tmp_path: Path
) -> None:
    jit("request", "db-1", "--reason", "look")
    for shell in ("zsh", "fish"):
        assert _completed(shell, "jit approve oi-", shell_environment, tmp_path) == {"oi-000000000000"}


def test_the_gateway_is_asked_for_what_the_line_says(server: StandIn, words: Words) -> None:
    assert words("jit nodes show --account shop --region north we") == ["web-1"]
    (asked,) = server.world.asked("ListNodes")
    assert (list(asked.filters), asked.scope.account, asked.scope.region) == (["name=we*"], "shop", "north")


def test_nothing_reaches_the_shell_that_it_could_run(server: StandIn, words: Words) -> None:
    names = ["web-1", "web-$(id)", "web-`id`", "web-\\$(id)", "web-'\"", "web-\x1b[2J", "web 2", "web-\n"]
    server.world.answers["ListNodes"] = lambda *_: node.ListNodesResponse(
        nodes=[node.Node(name=name) for name in names]
    )
    made = [access.AccessRequest(id="oi-1", node_name="a$(id)"), access.AccessRequest(id="oi-`id`", node_name="a")]
    server.world.answers["ListAccessRequests"] = lambda *_: access.ListAccessRequestsResponse(requests=made)
    assert words("jit shell web") == ["web-1"]
    assert words("jit approve oi") == ["oi-1"]


def test_what_no_name_begins_with_is_not_asked_for(server: StandIn, words: Words) -> None:
    assert words("jit shell we*") == []
    assert server.world.asked("ListNodes") == []


@pytest.mark.parametrize("trouble", ["never signed in", "damaged", "nobody listens"])
def test_it_is_silent_where_the_gateway_cannot_be_asked(
    trouble: str, home: Path, server: StandIn, words: Words
) -> None:
    profile = home / "default" / "profile.json"
    if trouble == "never signed in":
        profile.unlink()
    elif trouble == "damaged":
        profile.write_text("{")
    else:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            profile.write_text(_with_address(profile, unused.getsockname()[1]))
    assert words("jit shell w") == []


@pytest.mark.alone
def test_it_does_not_wait_for_a_gateway_that_says_nothing(
    home: Path, server: StandIn, environment: dict[str, str]
) -> None:
    profile = home / "default" / "profile.json"
    with socket.create_server(("127.0.0.1", 0)) as mute:
        profile.write_text(_with_address(profile, mute.getsockname()[1]))
        began = time.monotonic()
        assert _words(environment, "jit shell w", "-m", "clients.cli") == []
    # Two seconds are its own; without a limit a connection is waited for ten, twice.
    assert time.monotonic() - began < 10


def _with_address(profile: Path, port: int) -> str:
    return json.dumps(json.loads(profile.read_text()) | {"gateway_address": f"127.0.0.1:{port}"})


def _words(environment: dict[str, str], line: str, *program: str) -> list[str]:
    """By the protocol of bash's script; nothing may be said beside the words."""
    words = line.split(" ")
    asked = {"_JIT_COMPLETE": "complete_bash", "COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run(
        [sys.executable, *program],
        env=environment | asked,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.strip("\n").splitlines()


def _completed(shell: str, line: str, environment: dict[str, str], folder: Path) -> set[str]:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    script = {"bash": BASH, "zsh": ZSH, "fish": FISH}[shell].format(words=line)
    shown = subprocess.run(
        ["jit"],
        env=environment | {"_JIT_COMPLETE": f"source_{shell}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        executable=str(folder / "bin" / "jit"),
    )
    (folder / "completion").write_text(shown.stdout)
    plain = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    done = subprocess.run(
        [shell, *plain, "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    offered = done.stdout.split("\n")
    if shell == "zsh":  # *: :(("web-1" "oi-1":"db-1"))
        offered = [part.split('"')[1] for part in done.stdout.replace("*: :((", "").split() if '"' in part]
    return {word.split("\t")[0] for word in offered if word}
