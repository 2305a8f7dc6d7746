"""The demo's chapter about what people are told: what arrived at the services, and what goes out for real."""

import json
from typing import Any

from tests.demo.play import Play
from tests.demo.services import PREFIX
from tests.demo.stage import Stage
from tests.processes import wait_for

_SECONDS = 30
_WIDTH = 106
_MOST = 6  # elements of a list


def told(play: Play) -> None:
    stage, show = play.stage, play.show
    request_id = play.facts["db-1"]
    show.chapter(
        "What people are told meanwhile",
        "The gateway has mailed a list, and posted to a channel in Slack and one in Teams. The three services are "
        "stand-ins on this machine; what follows is what the gateway sent to them.",
    )
    mail = _arrived(stage, "mail", request_id)
    play.check("alice asks for access to db-1" in mail, "the mail does not say who asks for what")
    show.note("\nmail")
    show.output(mail)
    message = _arrived(stage, "slack", request_id)
    play.check('"action_id": "approve"' in json.dumps(message), "the message in Slack has no button to approve")
    show.note("\nSlack, chat.postMessage: blocks")
    show.output(readable(message["blocks"]))
    activity = _arrived(stage, "teams", request_id)
    show.note("\nTeams: Adaptive Card")
    show.output(readable(activity["attachments"][0]["content"]))
    if stage.own_channels:
        _for_real(play, request_id)


def told_the_outcome(play: Play) -> None:
    """After the decision."""

    def outcome() -> str | None:
        text: str = _arrived(play.stage, "slack", play.facts["db-1"])["text"]
        return text if text.startswith("Approved:") else None

    text = wait_for(outcome, _SECONDS, "the outcome in Slack")
    play.show.remark(f"The message in Slack has become the outcome: “{text}”.")


def readable(value: Any, indent: int = 0, before: int = 0) -> str:
    """JSON in which all that fits in a line is in one, without the middle of long lists. `before`: how much stands
    before it in its line."""
    line = json.dumps(value, ensure_ascii=False)
    if len(line) + indent + before <= _WIDTH or not isinstance(value, dict | list) or not value:
        return line
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    pairs = value.items() if isinstance(value, dict) else (("", each) for each in value)
    parts = []
    for name, each in pairs:
        key = f"{json.dumps(name)}: " if name else ""
        parts.append(" " * (indent + 2) + key + readable(each, indent + 2, len(key) + 1))
    if isinstance(value, list) and len(parts) > _MOST:
        left_out = f"{' ' * (indent + 2)}… {len(parts) - _MOST} more like these"
        parts = [*parts[: _MOST - 1], left_out, parts[-1]]
    return f"{opening}\n" + ",\n".join(parts) + f"\n{' ' * indent}{closing}"


def _arrived(stage: Stage, service: str, request_id: str) -> Any:
    """The first about the request, as it stands there now."""

    def first() -> Any:
        arrived = stage.arrived().get(service, [])
        return next((each for each in arrived if request_id in json.dumps(each)), None)

    return wait_for(first, _SECONDS, f"a message about {request_id} at the stand-in of {service}")


def _for_real(play: Play, request_id: str) -> None:
    """The channels of whoever runs the demo."""

    def listed() -> list[dict[str, Any]]:
        notices: list[dict[str, Any]] = play.json("admin", "notices", "list").get("notices", [])
        ours = (item for item in notices if item["subject"] == request_id)
        return [item for item in ours if not item["channel"].startswith(PREFIX)]

    def settled() -> tuple[list[dict[str, Any]]] | None:
        """None while something is on its way for the first time."""
        found = listed()
        return (found,) if all(item.get("last_error") for item in found) else None

    (failed,) = wait_for(settled, _SECONDS, "the services that you have configured")
    for name in play.stage.own_channels:
        problems = [item["last_error"] for item in failed if item["channel"] == name]
        if problems:
            play.show.failure(f"{name}, which you have configured, took nothing: {problems[0]}")
        else:
            play.show.remark(f"{name}, which you have configured, was sent the same for real: look there.")
