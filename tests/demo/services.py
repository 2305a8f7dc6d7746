"""`python -m tests.demo.services FOLDER`: stand-ins of mail server, Slack and Teams for the demo's gateway.

They are those of the tests, on the loopback. What the gateway needs to be told goes to FOLDER/settings.json, what
arrived to FOLDER/arrived.json, as it stands there now: {"mail": [text], "slack": [message], "teams": [activity]}.
"""

import asyncio
import contextlib
import functools
import json
import sys
from collections.abc import Mapping
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

from tests.notifiers.email.liar import liar
from tests.notifiers.slack import workspace as slack
from tests.notifiers.teams import cloud as teams

ADDRESS = "approvers@example.org"
PREFIX = "demo_"
"""Of the channels' names, so that one of your own can be beside each."""
_LOOK_SECONDS = 0.1


async def serve(folder: Path) -> None:
    """Until the process is ended."""
    async with liar() as mail, slack.workspace() as workspace, teams.running_cloud() as cloud:
        secret = folder / "teams"
        secret.write_text(teams.SECRET)
        bot = cloud.settings(client_secret_file=str(secret))
        del bot["client_secret_environment"]
        post = {"host": "127.0.0.1", "port": mail.port, "security": "none", "sender": "jitgate@example.org"}
        _write(
            folder / "settings.json",
            dict(
                (
                    _channel("email", post, {"email": ADDRESS}),
                    _channel("slack", workspace.settings(folder, socket=True), {"channel": slack.CHANNEL}),
                    _channel("teams", bot, {"channel": teams.CHANNEL}),
                )
            ),
        )
        shown: dict[str, Any] = {}
        while True:
            arrived = {
                "mail": [_readable(raw) for raw in mail.data],
                "slack": [message.content for message in workspace.messages.values()],
                "teams": list(cloud.messages.values()),
            }
            if arrived != shown:
                _write(folder / "arrived.json", arrived)
                shown = arrived
            await asyncio.sleep(_LOOK_SECONDS)


def _channel(kind: str, settings: Mapping[str, Any], watcher: Mapping[str, str]) -> tuple[str, str]:
    """The environment variable of a channel. Strings, numbers and booleans are written alike in JSON and TOML."""
    address = ", ".join(f"{name} = {json.dumps(value)}" for name, value in watcher.items())
    said = {"kind": kind, **settings}
    values = ", ".join(f"{name} = {json.dumps(value)}" for name, value in said.items())
    name = f"JITGATE_NOTIFICATIONS__{PREFIX}{kind}".upper()
    return name, f"{{ {values}, watchers = [{{ address = {{ {address} }} }}] }}"


@functools.cache
def _readable(raw: bytes) -> str:
    """Headers that a reader sees, and the text part. Each mail is read once: it is looked at all the time."""
    mail = message_from_bytes(raw.removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n."), policy=policy.default)
    text = mail.get_body(("plain",))
    headers = (f"{name}: {mail[name]}" for name in ("From", "To", "Subject"))
    return "\n".join([*headers, "", text.get_content().rstrip() if text else ""])


def _write(file: Path, content: Any) -> None:
    """Whole or not at all: somebody reads it meanwhile."""
    beside = file.with_suffix(".new")
    beside.write_text(json.dumps(content))
    beside.replace(file)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(Path(sys.argv[1])))
