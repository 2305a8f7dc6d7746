"""The documentation is true where a test can tell: commands, links, settings, policies."""

import inspect
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
import yaml
from pydantic import BaseModel

from clients.cli import app as jit
from gateway import __main__ as jitgate
from gateway.config import Configuration
from gateway.identity.oidc.settings import IdentityProvider
from gateway.recordings_settings import S3, Kms
from notifiers.email.message import Composer
from notifiers.email.settings import EmailSettings
from notifiers.events.eventbridge import EventBridgeSettings
from notifiers.events.webhook import WebhookSettings
from notifiers.slack.settings import SlackSettings
from notifiers.teams import TeamsSettings
from notifiers.wording import LABELS, Templates, Wording
from policy.document import parse_manual
from policy.model import ManualPolicy, PolicyKind
from policy.validate import validate_cedar
from tests.notifiers.slack import workspace as slack
from tests.notifiers.told import delivery

REPOSITORY = Path(__file__).parents[1]
PAGES = (REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md", *sorted((REPOSITORY / "docs").glob("*.md")))
OPERATOR = REPOSITORY / "docs" / "operator.md"
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
# "jitgate segment v1" is a text that keys are derived with, no command.
INLINE = re.compile(r"`((?:jit|jitgate) (?!\w+ v\d)[^`\n]+)`")
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
PROMPT = re.compile(r"^\w*\$ ")


class Shown(NamedTuple):
    """A command line as a page shows it."""

    page: str
    text: str


def blocks(text: str) -> Iterator[str]:
    """What is shown as code, fenced or indented, a block each."""
    for match in FENCE.finditer(text):
        yield match[3]
    lines: list[str] = []
    for line in FENCE.sub("", text).splitlines():
        if line.startswith("    ") or (lines and not line):
            lines.append(line.strip())
        else:
            yield "\n".join(lines)
            lines = []
    yield "\n".join(lines)


def shown_commands() -> Iterator[Shown]:
    """Whole command lines of blocks."""
    for page in PAGES:
        for block in blocks(page.read_text()):
            for line in block.replace("\\\n", " ").splitlines():
                text = PROMPT.sub("", line.strip())
                if text.startswith(("jit ", "jitgate ")):
                    yield Shown(page.name, text)


def mentioned_commands() -> Iterator[Shown]:
    """Commands within sentences and tables, whose arguments may be left out."""
    for page in PAGES:
        for match in INLINE.finditer(FENCE.sub("", page.read_text())):
            yield Shown(page.name, match[1])


@cache
def programs() -> dict[str, Any]:
    jit._add_commands()
    return {"jit": typer.main.get_command(jit.app), "jitgate": typer.main.get_command(jitgate.app)}


def parse(words: list[str]) -> None:
    """Raises what the command line itself would complain about. Runs nothing."""
    command = programs()[words[0]]
    arguments = words[1:]
    while hasattr(command, "commands") and arguments and not arguments[0].startswith("-"):
        assert arguments[0] in command.commands, f"{words[0]} has no command {arguments[0]!r}"
        command = command.commands[arguments[0]]
        arguments = arguments[1:]
    command.make_context(words[-1], arguments)


def test_there_are_commands_to_check() -> None:
    assert len(list(shown_commands())) > 50
    assert len(list(mentioned_commands())) > 20


@pytest.mark.parametrize("shown", sorted(set(shown_commands())), ids=lambda shown: f"{shown.page}: {shown.text}")
def test_a_command_line_parses(shown: Shown) -> None:
    parse(shlex.split(shown.text, comments=True))


@pytest.mark.parametrize(
    "shown", sorted(set(mentioned_commands())), ids=lambda shown: f"{shown.page}: {shown.text}"
)
def test_a_mentioned_command_exists_and_has_the_options(shown: Shown) -> None:
    name, *words = shown.text.partition(" -- ")[0].split()
    command = programs()[name]
    while hasattr(command, "commands") and words and re.fullmatch(r"[a-z][a-z-]*,?", words[0]):
        assert words[0].rstrip(",") in command.commands, f"{name} has no such command: {words[0]}"
        listed = words[0].endswith(",")  # "jit nodes list, show, add"
        below = command.commands[words[0].rstrip(",")]
        words = words[1:]
        command = command if listed else below
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    used = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", " ".join(words)))
    assert used <= known | {"--help", "-h"}, f"unknown options: {used - known}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(FENCE.sub("", page.read_text())):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(file), f"{page.name} links to {target}"


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", heading.lower()).replace(" ", "-") for heading in headings}


def settings(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for field, item in model.model_fields.items():
        name = item.alias or field
        kind = item.annotation
        if inspect.isclass(kind) and issubclass(kind, BaseModel):
            yield from settings(kind, f"{prefix}{name}.")
        else:
            yield prefix + name


def test_the_table_of_settings_is_that_of_the_configuration() -> None:
    rows = re.findall(r"^\| `([a-z0-9_.]+)` \| `(JITGATE_\w+)` \|", OPERATOR.read_text(), re.MULTILINE)
    expected = {key: "JITGATE_" + key.upper().replace(".", "__") for key in settings(Configuration)}
    assert dict(rows) == expected
    assert len(rows) == len(expected)


def test_the_table_of_identity_providers_is_that_of_the_configuration() -> None:
    section = OPERATOR.read_text().partition("## Identity providers\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([A-Za-z_.]+)` \|", section, re.MULTILINE)
    assert sorted(rows) == sorted(settings(IdentityProvider))


@pytest.mark.parametrize(("section", "model"), [("## The bucket\n", S3), ("## The key\n", Kms)])
def test_the_tables_of_recordings_on_aws_are_those_of_the_configuration(
    section: str, model: type[BaseModel]
) -> None:
    text = (REPOSITORY / "docs" / "aws.md").read_text().partition(section)[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([a-z_]+)` \|", text, re.MULTILINE)
    assert rows == list(model.model_fields)


@pytest.mark.parametrize(
    ("title", "channel", "model"),
    [("Slack", "slack", SlackSettings), ("Microsoft Teams", "teams", TeamsSettings)],
)
def test_the_tables_of_chats_are_those_of_their_settings(title: str, channel: str, model: type[BaseModel]) -> None:
    section = OPERATOR.read_text().partition(f"## {title}\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE) == list(model.model_fields)
    for text in FENCE.findall(section):
        said = Configuration.model_validate(tomllib.loads(text[2])).notifications[channel]
        model.model_validate(dict(said.own))


def test_the_table_of_event_sinks_is_that_of_their_settings() -> None:
    section = OPERATOR.read_text().partition("## Events for other systems\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE)
    assert rows == [*WebhookSettings.model_fields, *EventBridgeSettings.model_fields]


def test_the_values_that_templates_get_are_those_listed() -> None:
    section = OPERATOR.read_text().partition("## Words of your own\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| (`.+`) \| (.*) \|$", section, re.MULTILINE))
    words, mail, told = Seen(), Seen(), delivery()
    Wording(words).say(told)
    composer = Composer(EmailSettings(host="mail", sender="a@example.org"))
    composer._templates = mail
    composer.compose(told, "b@example.org")
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == set(words.context)
    assert set(re.findall(r"`(\w+)`", rows["`facts`"])) == set(LABELS)
    assert set(re.findall(r"`(\w+)`", section.partition("in `email/` get")[2])) - {"id", "label", "value"} == set(
        mail.context
    )


class Seen(Templates):
    """Ours, which keep what they were given."""

    context: Mapping[str, object]

    def render(self, name: str, context: Mapping[str, object]) -> str:
        self.context = context
        return super().render(name, context)


def test_the_manifest_of_slack_asks_for_what_is_used_and_no_more() -> None:
    manifest = yaml.safe_load(slack.MANIFEST.read_text())
    assert manifest["settings"]["socket_mode_enabled"]
    assert manifest["settings"]["interactivity"]["is_enabled"]
    assert manifest["settings"]["event_subscriptions"]["bot_events"] == ["message.im"]
    assert [one["command"] for one in manifest["features"]["slash_commands"]] == [slack.COMMAND]
    calling = set[str]().union(*slack.SCOPES.values(), slack.READING.values())
    assert set(manifest["oauth_config"]["scopes"]["bot"]) == {"commands"} | calling


def test_the_manifest_of_slack_without_socket_mode() -> None:
    """As its head says: the three comments away."""
    text = slack.MANIFEST.read_text().replace("socket_mode_enabled: true", "socket_mode_enabled: false")
    text, count = re.subn(r"^( +)# ((?:request_)?url: )", r"\1\2", text, flags=re.MULTILINE)
    assert count == 3
    manifest, address = yaml.safe_load(text), "https://gate.example.org/chat/slack"
    assert f"`{address}`" in OPERATOR.read_text()
    assert not manifest["settings"]["socket_mode_enabled"]
    assert manifest["features"]["slash_commands"][0]["url"] == address
    assert manifest["settings"]["interactivity"]["request_url"] == address
    events = manifest["settings"]["event_subscriptions"]
    assert events == {"request_url": address, "bot_events": ["message.im"]}


def test_the_configurations_shown_are_accepted() -> None:
    shown = [match[3] for page in PAGES for match in FENCE.finditer(page.read_text()) if match[2] == "toml"]
    shown += [text for text in blocks((REPOSITORY / "README.md").read_text()) if text.startswith("data_dir =")]
    assert len(shown) >= 2
    for text in shown:
        Configuration.model_validate(tomllib.loads(text))


def test_the_policies_shown_are_valid() -> None:
    seen = dict.fromkeys(PolicyKind, 0)
    texts = [text for page in PAGES for text in blocks(page.read_text())]
    texts += [file.read_text() for file in (REPOSITORY / "tests" / "demo" / "policies").iterdir()]
    for text in texts:
        if re.search(r"^(permit|forbid) ?\(", text, re.MULTILINE) and "action == AWS::SSM::get" not in text:
            kind = PolicyKind.DENY if "forbid" in text else PolicyKind.AUTO
            assert validate_cedar(kind, text) == [], text
        elif '"mainSteps"' in text:
            kind = PolicyKind.MANUAL
            read = parse_manual(text, account="default", region="default", version=1, name="shown")
            assert isinstance(read, ManualPolicy), (read, text)
        elif re.search(r"^accessHours:", text, re.MULTILINE):
            kind = PolicyKind.MANUAL
            read = parse_manual(text, account="default", region="default", version=1)
            assert isinstance(read, ManualPolicy), (read, text)
        else:
            continue
        seen[kind] += 1
    assert all(count >= 2 for count in seen.values()), seen
