"""Options that many commands share."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from clients.cli import completing
from clients.cli.errors import USAGE, Failure
from clients.cli.view import Format, print_json

Output = Annotated[
    Format, typer.Option("--output", help="For people or for scripts.", envvar="JIT_OUTPUT", show_envvar=False)
]
Account = Annotated[
    str, typer.Option("--account", metavar="NAME", envvar="JIT_ACCOUNT", help="Account; default: default.")
]
Region = Annotated[
    str, typer.Option("--region", metavar="NAME", envvar="JIT_REGION", help="Region; default: default.")
]
Limit = Annotated[int, typer.Option("--limit", min=0, help="How many to show at most; 0 for all.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]
Comment = Annotated[
    str, typer.Option("--comment", metavar="TEXT", help="Shown to the requester and the auditors.")
]
RequestId = Annotated[
    str, typer.Argument(metavar="ID", help="Access request, oi-….", autocompletion=completing.request_ids)
]
Node = Annotated[
    str, typer.Argument(metavar="NODE", help="Id or name of the node.", autocompletion=completing.node_names)
]

# How `jit --help` groups the commands.
SIGN_IN, ACCESS, APPROVALS, ADMINISTRATION, OVERSIGHT = (
    "Signing in",
    "Access",
    "Approvals",
    "Administration",
    "Oversight",
)


def printed(message: Message, output: Format) -> bool:
    """Prints the message where scripts want it; whether it did."""
    if output is Format.JSON:
        print_json(message)
    return output is Format.JSON


def set_scope(message: Message, account: str, region: str) -> None:
    """Names account and Region where the person did; else leaves the scope unset."""
    if account or region:
        message.scope.account, message.scope.region = account, region  # type: ignore[attr-defined]  # callers know


def split_pairs(given: list[str], what: str) -> dict[str, str]:
    """ "KEY=VALUE" or "KEY" each. Raises Failure."""
    result = {}
    for item in given:
        key, _, value = item.partition("=")
        if not key:
            raise Failure(f"{item!r} is no {what}", f"Write it as KEY=VALUE: --{what} Environment=prod", USAGE)
        result[key] = value
    return result


def since(text: str) -> Timestamp:
    """ "2026-01-31", "2026-01-31T12:00", or that long ago: "90m", "12h", "7d". Raises Failure."""
    stamp = Timestamp()
    if match := re.fullmatch(r"(\d{1,6})([mhd])", text):
        unit = {"m": "minutes", "h": "hours", "d": "days"}[match[2]]
        stamp.FromDatetime(datetime.now(UTC) - timedelta(**{unit: int(match[1])}))
        return stamp
    try:
        stamp.FromDatetime(datetime.fromisoformat(text).astimezone(UTC))
    except ValueError:
        raise Failure(
            f"{text!r} is no time", "Write 2026-01-31, 2026-01-31T12:00, 90m, 12h or 7d.", USAGE
        ) from None
    return stamp
