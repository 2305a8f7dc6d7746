"""`jit doctor`: what works between here and the gateway, and what to do about what does not."""

import json
import time
from datetime import UTC, datetime

import typer
from rich.text import Text

from clients.cli import profile, view
from clients.cli.commands.parameters import SIGN_IN, Output
from clients.cli.errors import REFUSED, Failure, of_call
from clients.cli.text import clean
from clients.cli.view import Format
from clients.cli.wire.channel import Channel
from clients.cli.wire.failure import CallFailed
from jitgate.v1 import administration_pb2 as administration

MOST_SKEW_SECONDS = 30

# part, healthy, message, what to do
Finding = tuple[str, bool, str, str]


def add_to(app: typer.Typer) -> None:
    app.command(rich_help_panel=SIGN_IN)(doctor)


def doctor(output: Output = Format.TABLE) -> None:
    """Check the sign-in, the way to the gateway, the clocks, and what the gateway knows of its own health."""
    found = _examine()
    if output is Format.JSON:
        keys = ("part", "healthy", "message", "what_to_do")
        print(json.dumps({"parts": [dict(zip(keys, item, strict=True)) for item in found]}, indent=2))
    else:
        for part, healthy, message, what_to_do in found:
            mark, style = ("✓", "green") if healthy else ("✗", "red")
            view.say(Text(f"{mark} {clean(part)}: ", style=style).append(clean(message), style=""))
            if not healthy and what_to_do:
                view.say(f"  {what_to_do}")
    if not all(healthy for _, healthy, _, _ in found):
        raise typer.Exit(REFUSED)


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
