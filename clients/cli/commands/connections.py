"""`jit shell` and `jit exec`, as Typer knows them: its help and its errors. The options are those of `options`."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from clients.cli import completing, connect
from clients.cli.commands.parameters import ACCESS
from clients.cli.options import EXEC, SHELL, Option, Plan


def add_to(app: typer.Typer) -> None:
    app.command("shell", rich_help_panel=ACCESS, help=_SHELL_HELP)(_command(SHELL, takes_command=False))
    app.command("exec", rich_help_panel=ACCESS, help=_EXEC_HELP)(_command(EXEC, takes_command=True))


_SHELL_HELP = """Open a shell on a node; does whatever that takes.

Without an open window it asks for the reason, requests access, shows who is asked, waits, and connects as soon
as the request is approved. Ctrl-C while waiting leaves the request pending. In the shell, "~." at the start of a
line leaves.

The exit code is that of the shell, 128 plus the signal's number, or 255 where jit itself failed.
"""

_EXEC_HELP = """Run a command on a node, with this process's input and output.

jit exec NODE -- ls -l "my file": several words, each arrives whole, as it was given here.

jit exec NODE -- 'cd /srv && ls | wc': a single word is a command line for the node's shell.

The exit code is that of the command, 128 plus the signal's number, or 255 where jit itself failed. With --reason,
access is requested and waited for where there is no open window; without, that is an error.
"""


def _command(options: tuple[Option, ...], *, takes_command: bool) -> Callable[..., None]:
    """A function whose signature says what the table of options says."""

    def run(**given: Any) -> None:
        raise typer.Exit(connect.run(Plan(**{name: value for name, value in given.items() if value is not None})))

    node = typer.Argument(metavar="NODE", help="Id or name of the node.", autocompletion=completing.node_names)
    parameters = [_positional("node", str, node)]
    if takes_command:
        what = typer.Argument(metavar="COMMAND", help="What to run, after two dashes.")
        parameters.append(_positional("command", list[str], what))
    parameters += [_option(option) for option in options]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what inspect.signature reads
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _positional(name: str, kind: Any, what: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[kind, what])


def _option(option: Option) -> inspect.Parameter:
    kind: Any = int if option.number else str if option.metavar else bool
    extras: dict[str, Any] = {"metavar": option.metavar} if option.metavar else {}
    if option.variable:
        extras |= {"envvar": option.variable}
    if option.number:
        extras |= {"min": 0, "max": 336}
    what = typer.Option(*option.flags, help=option.what, show_default=False, **extras)
    return inspect.Parameter(
        option.name, inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[kind, what], default=kind()
    )
