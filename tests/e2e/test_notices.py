"""Notices at the command line: who can be reached, what waits and why, and what is done about it."""

from collections.abc import Iterator

import pytest

from tests.e2e.stage import Stage, stage
from tests.processes import GatewayProcess, wait_for

NOBODY_LISTENS = "http://127.0.0.1:1/a-path-that-is-secret"


@pytest.fixture(scope="module")
def on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A gateway that tells people on standard output, and other systems where nobody listens."""
    folder = tmp_path_factory.mktemp("notices")
    secret = folder / "secret"
    secret.write_text("whsec_" + "A" * 44)
    configured = {
        "JITGATE_NOTIFICATIONS__CONSOLE": '{ watchers = [{ address = { place = "the operators" } }] }',
        "JITGATE_EVENTS__HOOK": (
            f'{{ kind = "webhook", url = "{NOBODY_LISTENS}", secret_files = ["{secret}"], '
            'types = ["access_request.opened"] }'
        ),
    }
    gateway = GatewayProcess(folder / "gateway", configured)
    gateway.start()
    try:
        with stage(gateway, folder) as made:
            yield made
    finally:
        gateway.stop()


def test_what_waits_is_listed_with_its_reason_and_discarded(on: Stage) -> None:
    request = on.alice.request("db-1", "wake <!channel> up")
    root = on.administrator.person

    def waiting() -> list[dict[str, str]]:
        listed = root.json("notices", "list").get("notices", [])
        return [item for item in listed if item["subject"] == request["id"] and item.get("last_error")]

    wait_for(waiting, 30)
    [item] = waiting()
    assert (item["channel"], item["kind"]) == ("events/hook", "access_request.opened")
    assert "127.0.0.1:1 does not answer" in item["last_error"]
    assert "secret" not in str(item)
    table = root.jit("notices", "list")
    assert request["id"] in table
    findings = root.run("doctor").stdout.decode()
    assert "events/hook" in findings
    assert "notifications/console" in findings
    assert "1 discarded" in root.jit("notices", "discard", item["id"], "--yes")
    assert not waiting()
    assert "To watcher the operators: alice asks" in on.gateway.out.read_text()
    assert "0 tried again" in root.jit("notices", "retry")


def test_people_are_reached_where_an_administrator_says(on: Stage) -> None:
    root, bob = on.administrator.person, on.bob.person
    assert not bob.json("contacts", "list").get("contacts")
    root.jit("contacts", "add", "bob", "email", "Bob@example.org")
    assert "Bob@example.org" in bob.jit("contacts", "list")
    assert "another user's" in root.refused("contacts", "add", "carol", "email", "bob@EXAMPLE.org")
    assert "no plain mail address" in root.refused("contacts", "add", "carol", "email", "carol@x\r\nBcc: all")
    assert "linked by the person" in root.refused("contacts", "add", "carol", "slack", "U123")
    assert "there is no user" in root.refused("contacts", "add", "nobody", "email", "n@example.org")
    assert "lacks the permission" in bob.refused("contacts", "add", "bob", "pager", "555")
    assert bob.refused("contacts", "list", "carol")
    root.jit("contacts", "remove", "bob", "email", "--yes")
    assert "has no email address" in root.refused("contacts", "remove", "bob", "email", "--yes")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("JITGATE_NOTIFICATIONS__PAGER", "{}", "[notifications.pager]: there is no kind 'pager'"),
        ("JITGATE_NOTIFICATIONS__CONSOLE", "{ colour = 1 }", "[notifications.console]: colour"),
        ("JITGATE_EVENTS__WEBHOOK", '{ url = "http://x.example/" }', "[events.webhook]: "),
        ("JITGATE_EVENTS__STDOUT", "{ types = [] }", "events.stdout.types"),
    ],
)
def test_channels_that_are_configured_wrong_stop_the_start_by_name(
    tmp_path_factory: pytest.TempPathFactory, name: str, value: str, said: str
) -> None:
    gateway = GatewayProcess(tmp_path_factory.mktemp("wrong"), {name: value})
    with pytest.raises(AssertionError) as refused:
        gateway.start()
    assert said in str(refused.value)
