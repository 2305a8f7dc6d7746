"""`jit doctor`: what works between here and the gateway, and what to do about what does not."""

import json
import time
from datetime import UTC, datetime
from typing import Annotated

import typer

from clients.cli import completing, profile, view
from clients.cli.commands.parameters import SIGN_IN, Account, Output, Region, set_scope
from clients.cli.errors import REFUSED, Failure, of_call
from clients.cli.gateway import gateway
from clients.cli.view import Format
from clients.cli.wire.channel import Channel
from clients.cli.wire.failure import CallFailed
from jitgate.v1 import administration_pb2 as administration
from jitgate.v1 import node_pb2 as node

MOST_SKEW_SECONDS = 30

# part, healthy, message, what to do
Finding = tuple[str, bool, str, str]


def add_to(app: typer.Typer) -> None:
    app.command(rich_help_panel=SIGN_IN)(doctor)


def doctor(
    name: Annotated[
        str,
        typer.Argument(
            metavar="[NODE]",
            help="A node that can't be reached; none: the way to the gateway.",
            autocompletion=completing.node_names,
        ),
    ] = "",
    account: Account = "",
    region: Region = "",
    output: Output = Format.TABLE,
) -> None:
    """Say what works and what to do about what does not: sign-in, gateway, clocks; or all of the way to a node.

    Exit code 1: something does not.
    """
    found = _examine_node(name, account, region) if name else _examine()
    if output is Format.JSON:
        keys = ("part", "healthy", "message", "what_to_do")
        print(json.dumps({"parts": [dict(zip(keys, item, strict=True)) for item in found]}, indent=2))
    else:
        for part, healthy, message, what_to_do in found:
            view.say(view.finding(part, message, passed=healthy))
            if not healthy and what_to_do:
                view.say(f"  {what_to_do}")
    if not all(healthy for _, healthy, _, _ in found):
        raise typer.Exit(REFUSED)


def _examine_node(name: str, account: str, region: str) -> list[Finding]:
    wanted = node.DiagnoseNodeRequest(node=name)
    set_scope(wanted, account, region)
    with gateway() as channel:
        answer = channel.unary("/jitgate.v1.NodeService/DiagnoseNode", wanted, node.DiagnoseNodeResponse)
    return [(item.step, item.passed, item.message, item.what_to_do) for item in answer.findings]


def _examine() -> list[Finding]:
    try:
        signed_in = profile.load()
        context = signed_in.context()
    except Failure as failure:
        return [("sign-in", False, failure.message, failure.what_to_do)]
    until = datetime.fromtimestamp(signed_in.expires_at, UTC)
    found: list[Finding] = [
        ("sign-in", True, f"{signed_in.user_id}, for another {view.length(until - datetime.now(UTC))}", "")
    ]
    try:
        channel = Channel(signed_in.gateway_address, context)
        began = time.perf_counter()
        path = "/jitgate.v1.AdministrationService/Diagnose"
        answer = channel.unary(path, administration.DiagnoseRequest(), administration.DiagnoseResponse)
        took = time.perf_counter() - began
    except CallFailed as failed:
        problem = of_call(failed)
        return [*found, ("gateway", False, problem.message, problem.what_to_do)]
    channel.close()
    message = f"{signed_in.gateway_address}, version {answer.gateway_version}, answers in {took * 1000:.0f} ms"
    found.append(("gateway", True, message, ""))
    found.append(_clock(answer))
    found += [(part.part, part.healthy, part.message, part.what_to_do) for part in answer.parts]
    return found


def _clock(answer: administration.DiagnoseResponse) -> Finding:
    there = answer.gateway_time.ToDatetime(UTC)
    skew = (there - datetime.now(UTC)).total_seconds()
    if not answer.gateway_time.seconds or abs(skew) <= MOST_SKEW_SECONDS:
        return ("clock", True, "agrees with the gateway's", "")
    order = "behind" if skew > 0 else "ahead of"
    message = f"this machine is {abs(skew):.0f} s {order} the gateway"
    return ("clock", False, message, "Set both clocks (NTP): certificates and windows depend on them.")
