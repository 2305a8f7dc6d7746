"""The options of `jit shell` and `jit exec`, defined once: for the lean reading here and for Typer's help.

Importing Typer takes as long as opening a session. So what is plain enough is read here; whatever is not (help, a
typing error, an option that is not known) is left to Typer, which reads by the same table.
"""

import os


class Option:
    """An option with a value, or without where `metavar` is empty. `variable`: where its value may come from."""

    def __init__(
        self, flags: tuple[str, ...], metavar: str, what: str, *, number: bool = False, variable: str = ""
    ) -> None:
        self.flags = flags
        self.name = flags[-1].removeprefix("--").replace("-", "_")
        self.metavar = metavar
        self.what = what
        self.number = number
        self.variable = variable


_COMMON = (
    Option(("--reason",), "TEXT", "Why you need access, if a request must be made for it."),
    Option(("--hours",), "N", "Ask for less time than the policy gives.", number=True),
    Option(("--token",), "TOKEN", "Use this access token and make no request.", variable="JIT_ACCESS_TOKEN"),
    Option(("--account",), "NAME", "The node's account.", variable="JIT_ACCOUNT"),
    Option(("--region",), "NAME", "The node's Region.", variable="JIT_REGION"),
)
SHELL = _COMMON
EXEC = (
    Option(("-t", "--terminal"), "", "Give the command a terminal."),
    Option(("-n", "--no-stdin"), "", "Give the command no input."),
    *_COMMON,
)


class Plan:
    """What to do on which node."""

    def __init__(
        self,
        node: str,
        command: list[str] | None = None,
        *,
        reason: str = "",
        hours: int = 0,
        token: str = "",
        account: str = "",
        region: str = "",
        terminal: bool = False,
        no_stdin: bool = False,
    ) -> None:
        """`command` is None for a shell."""
        self.node = node
        self.command = command
        self.reason = reason
        self.hours = hours
        self.token = token
        self.account = account
        self.region = region
        self.terminal = terminal or command is None
        self.no_stdin = no_stdin

    @property
    def command_line(self) -> str:
        """What the node's login shell runs: one argument as it is, several quoted so that each arrives whole."""
        if not self.command:
            return ""
        if len(self.command) == 1:
            return self.command[0]
        from shlex import join

        return join(self.command)


def read(arguments: list[str]) -> Plan | None:
    """The plan of `shell …` or `exec …`; None for what is not plain, to be judged by Typer."""
    options = {"shell": SHELL, "exec": EXEC}.get(arguments[0] if arguments else "")
    if options is None:
        return None
    by_flag = {flag: option for option in options for flag in option.flags}
    given: dict[str, str] = {
        option.name: os.environ[option.variable] for option in options if option.variable in os.environ
    }
    words: list[str] = []
    waiting = iter(arguments[1:])
    for argument in waiting:
        if argument == "--":
            words += waiting
        elif not argument.startswith("-") or argument == "-":
            words.append(argument)
        else:
            flag, equals, value = argument.partition("=")
            option = by_flag.get(flag)
            if option is None or (equals and not (option.metavar and flag.startswith("--"))):
                return None
            if option.metavar and not equals:
                following = next(waiting, None)
                if following is None:
                    return None
                value = following
            given[option.name] = value if option.metavar else "yes"
    return _plan(arguments[0], words, given)


def _plan(name: str, words: list[str], given: dict[str, str]) -> Plan | None:
    hours = given.pop("hours", "0")
    if not hours.isdecimal() or (len(words) != 1 if name == "shell" else len(words) < 2):
        return None
    return Plan(
        words[0],
        words[1:] if name == "exec" else None,
        hours=int(hours),
        terminal=bool(given.pop("terminal", "")),
        no_stdin=bool(given.pop("no_stdin", "")),
        **given,
    )
