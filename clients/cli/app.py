"""All commands but the quick way into a session, put together."""

import os
from typing import Annotated

import typer

app = typer.Typer(
    name="jit",
    help="Just-in-time access to nodes: ask, decide, connect, replay.",
    epilog="Start with: jit login --gateway HOST:PORT    Then: jit shell NODE",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"jit {version('jitgate')}")
        raise typer.Exit


@app.callback()
def _everywhere(
    profile: Annotated[
        str, typer.Option("--profile", metavar="NAME", envvar="JIT_PROFILE", help="Which sign-in to use.")
    ] = "",
    _version_wanted: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    if profile:
        os.environ["JIT_PROFILE"] = profile


def _add_commands() -> None:
    from clients.cli.commands import (
        access,
        activations,
        allowances,
        connections,
        deciding,
        directory,
        doctor,
        events,
        nodes,
        notices,
        policies,
        preferences,
        recordings,
        roles,
        scim,
        sessions,
        signing_in,
        targets,
        uploads,
    )

    for commands in (signing_in, access, connections, deciding, directory, doctor, nodes, events, policies):
        commands.add_to(app)
    for commands in (activations, allowances, notices, preferences, recordings, roles, scim):
        commands.add_to(app)
    for commands in (sessions, targets, uploads):
        commands.add_to(app)


def run(arguments: list[str]) -> int:
    """Runs a command line; the exit code."""
    _add_commands()
    try:
        app(arguments, prog_name="jit")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    return 0
