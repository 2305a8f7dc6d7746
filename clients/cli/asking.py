"""Asking the person: on standard error, so that standard output stays a command's result."""

import os
import sys
from collections.abc import Callable

from clients.cli.errors import USAGE, Failure


def has_person() -> bool:
    """Whether somebody is there to be asked."""
    return os.isatty(0) and sys.stderr.isatty()


def ask(prompt: str) -> str:
    """A line typed by the person. Raises Failure when there is nobody."""
    print(prompt, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        print(file=sys.stderr)
        raise Failure("there was no answer", "Give it as an option (see --help) where nobody can be asked.", USAGE)
    return line.rstrip("\n")


def ask_secret(prompt: str) -> str:
    """A line typed without echo; read from standard input where there is no terminal."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    from getpass import getpass

    try:
        return getpass(prompt, stream=sys.stderr)
    except EOFError:
        raise Failure("there was no answer", "Try again.", USAGE) from None


def ask_new_secret(prompt: str, judge: Callable[[str], str]) -> str:
    """A new secret, typed twice; `judge` says what is wrong with it, or nothing."""
    while True:
        first = ask_secret(prompt)
        problem = judge(first)
        if not problem and sys.stdin.isatty() and ask_secret("Again: ") != first:
            problem = "These were not the same."
        if not problem:
            return first
        if not sys.stdin.isatty():
            raise Failure(problem.rstrip(".").lower(), "Give another one.", USAGE)
        print(problem, file=sys.stderr)


def confirm(question: str, *, sure: bool) -> None:
    """Raises Failure unless the person says yes, or has with --yes (`sure`)."""
    if sure:
        return
    if not sys.stdin.isatty():
        raise Failure("this needs a confirmation", "Confirm it with --yes.", USAGE)
    if ask(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise Failure("nothing was changed")
