"""A mail server, a receiver of webhooks, Slack and Teams, in a thread of their own: they outlive every gateway."""

import asyncio
import base64
import contextlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tests.notifiers.email.servers import PASSWORD, USER, MailServer, mail_server
from tests.notifiers.events.receiver import Receiver, receiving
from tests.notifiers.slack.workspace import CHANNEL, Message, Workspace, workspace
from tests.notifiers.teams.cloud import CHANNEL as TEAMS_CHANNEL
from tests.notifiers.teams.cloud import SECRET as TEAMS_SECRET
from tests.notifiers.teams.cloud import Cloud, running_cloud

TEAM = "approvers@example.org"
K = TypeVar("K")
T = TypeVar("T")


class Stamped(list[T]):
    """A list that knows when each was added; seconds since 1970."""

    def __init__(self) -> None:
        super().__init__()
        self.at: list[float] = []

    def append(self, item: T) -> None:
        self.at.append(time.time())
        super().append(item)


class StampedMessages(dict[K, T]):
    """Messages that know when each was posted, whatever becomes of it later; seconds since 1970."""

    def __init__(self) -> None:
        super().__init__()
        self.at: list[float] = []

    def __setitem__(self, key: K, message: T) -> None:
        if key not in self:
            self.at.append(time.time())
        super().__setitem__(key, message)


@dataclass
class Receivers:
    mail: MailServer
    hook: Receiver
    slack: Workspace
    teams: Cloud
    folder: Path
    called: Stamped[str] = field(default_factory=Stamped)
    mailed: Stamped[bytes] = field(default_factory=Stamped)
    hooked: Stamped[dict[str, object]] = field(default_factory=Stamped)
    slacked: StampedMessages[tuple[str, str], Message] = field(default_factory=StampedMessages)
    teamed: StampedMessages[tuple[str, str], dict[str, Any]] = field(default_factory=StampedMessages)

    def __post_init__(self) -> None:
        self.mail.calls = self.called
        self.mail.received = self.mailed
        self.hook.events = self.hooked
        self.slack.messages = self.slacked
        self.teams.messages = self.teamed

    @property
    def configuration(self) -> dict[str, str]:
        """Of a gateway that tells them: bob and carol once they have addresses, and their team's in any case."""
        password, secret = self.folder / "smtp-password", self.folder / "hook-secret"
        bot = self.folder / "teams-secret"
        bot.write_text(TEAMS_SECRET)
        password.write_text(PASSWORD)
        secret.write_text(f"whsec_{base64.b64encode(self.hook.secret).decode()}")
        teams = self.teams.settings(client_secret_file=str(bot))
        del teams["client_secret_environment"]
        return {
            "JITGATE_HTTP_LISTEN": "127.0.0.1:0",
            "JITGATE_NOTIFICATIONS__SLACK": (
                f"{{ {_said(self.slack.settings(self.folder))}, "
                f'watchers = [{{ address = {{ channel = "{CHANNEL}" }} }}] }}'
            ),
            "JITGATE_NOTIFICATIONS__TEAMS": (
                f'{{ {_said(teams)}, watchers = [{{ address = {{ channel = "{TEAMS_CHANNEL}" }} }}] }}'
            ),
            "JITGATE_MAX_PENDING_REQUESTS": "10000",
            "JITGATE_NOTIFICATIONS__EMAIL": (
                f'{{ host = "127.0.0.1", port = {self.mail.port}, ca_file = "{self.mail.pem}", '
                f'sender = "jitgate@example.org", username = "{USER}", password_file = "{password}", '
                f'watchers = [{{ address = {{ email = "{TEAM}" }} }}] }}'
            ),
            "JITGATE_EVENTS__HOOK": (
                f'{{ kind = "webhook", url = "{self.hook.url}", secret_files = ["{secret}"], '
                'types = ["access_request."] }'
            ),
        }


def _said(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key} = {json.dumps(value)}" for key, value in settings.items())


@contextlib.contextmanager
def receivers(folder: Path) -> Iterator[Receivers]:
    ready: list[Receivers] = []
    begun, over = threading.Event(), threading.Event()

    async def serve() -> None:
        async with (
            mail_server(folder) as mail,
            receiving(secrets.token_bytes(32), time.time()) as hook,
            workspace() as slack,
            running_cloud() as teams,
        ):
            ready.append(Receivers(mail, hook, slack, teams, folder))
            begun.set()
            while not over.is_set():
                hook.now = time.time()  # its clock stands still otherwise
                await asyncio.sleep(0.1)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    try:
        assert begun.wait(30), "the receivers did not start"
        yield ready[0]
    finally:
        over.set()
        thread.join(60)
