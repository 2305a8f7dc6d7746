"""Notices at the command line: who can be reached, what waits and why, and what is done about it."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from tests.e2e.clock import Clock, clocked_gateway
from tests.e2e.stage import Stage, stage
from tests.processes import GatewayProcess, wait_for

SECRET_PATH = "/hooks/T0/a-path-that-is-secret?token=abc"
NOBODY_LISTENS = f"http://127.0.0.1:1{SECRET_PATH}"


class TakesAll(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections stay, as with most receivers

    taken: ClassVar[list[bytes]] = []

    def do_POST(self) -> None:
        assert self.path == SECRET_PATH
        self.taken.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nowhere."""


@pytest.fixture(scope="module")
def receiver() -> Iterator[str]:
    """The address of a receiver of webhooks that takes whatever comes."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), TakesAll)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}{SECRET_PATH}"
    server.shutdown()
    server.server_close()
    thread.join(30)


@pytest.fixture(scope="module")
def clocked(tmp_path_factory: pytest.TempPathFactory) -> tuple[GatewayProcess, Clock]:
    return clocked_gateway(tmp_path_factory.mktemp("notices") / "gateway")


@pytest.fixture(scope="module")
def on(clocked: tuple[GatewayProcess, Clock], receiver: str) -> Iterator[Stage]:
    """A gateway that tells people on standard output, and other systems, of which one is not there."""
    gateway, _ = clocked
    folder = gateway.directory.parent
    secret = folder / "secret"
    secret.write_text("whsec_" + "A" * 44)
    gateway.environment |= {
        "JITGATE_NOTIFICATIONS__CONSOLE": '{ watchers = [{ address = { place = "the operators" } }] }',
        "JITGATE_EVENTS__HOOK": (
            f'{{ kind = "webhook", url = "{NOBODY_LISTENS}", secret_files = ["{secret}"], '
            'types = ["access_request.opened"] }'
        ),
        "JITGATE_EVENTS__TAKEN": (
            f'{{ kind = "webhook", url = "{receiver}", secret_files = ["{secret}"], types = ["access_request."] }}'
        ),
        "JITGATE_LOG_LEVEL": "debug",
    }
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
    wait_for(lambda: "To watcher the operators: alice asks" in on.gateway.out.read_text(), what="what is printed")
    assert "0 tried again" in root.jit("notices", "retry")


def test_the_path_of_a_webhook_is_in_no_log(on: Stage) -> None:
    request = on.alice.request("db-1", "told to others")["id"]
    wait_for(lambda: any(request.encode() in body for body in TakesAll.taken), 60, "what is told")
    wait_for(lambda: request in on.administrator.person.jit("notices", "list"), 60, "what nobody takes")
    log = on.gateway.log.read_text()
    assert "call" in log
    assert "secret" not in log
    assert "token=abc" not in log


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


@pytest.mark.rule("R22")
def test_whoever_has_access_is_warned_before_it_ends(on: Stage, clocked: tuple[GatewayProcess, Clock]) -> None:
    """By the worker of a gateway that starts meanwhile: it looks at once. The window has two hours."""
    gateway, clock = clocked
    on.window("db-1")
    warned = "alice's access to db-1 ends soon"
    clock.on(110 * 60)
    assert warned not in gateway.out.read_text()
    gateway.kill()
    gateway.start()
    wait_for(lambda: warned in gateway.out.read_text(), 60, "the warning")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("JITGATE_NOTIFICATIONS__PAGER", "{}", "[notifications.pager]: there is no kind 'pager'"),
        ("JITGATE_NOTIFICATIONS__CONSOLE", "{ colour = 1 }", "[notifications.console]: colour"),
        ("JITGATE_EVENTS__WEBHOOK", '{ url = "http://x.example/" }', "[events.webhook]: "),
        ("JITGATE_EVENTS__STDOUT", "{ types = [] }", "events.stdout.types"),
        (
            "JITGATE_NOTIFICATIONS__SLACK",
            '{ workspace = "T0JITGATE", bot_token_environment = "PATH", signing_secret_environment = "PATH" }',
            "[notifications.slack] is for a service that posts to the web listener, and there is none",
        ),
        (
            "JITGATE_NOTIFICATIONS__EMAIL",
            '{ host = "127.0.0.1", security = "none", sender = "jitgate@example.org", '
            'watchers = [{ address = { mail = "team@example.org" } }] }',
            "[notifications.email]: watchers.0.address: the recipient's address is no mail address",
        ),
    ],
)
def test_channels_that_are_configured_wrong_stop_the_start_by_name(
    tmp_path_factory: pytest.TempPathFactory, name: str, value: str, said: str
) -> None:
    gateway = GatewayProcess(tmp_path_factory.mktemp("wrong"), {name: value})
    with pytest.raises(AssertionError) as refused:
        gateway.start()
    assert said in str(refused.value)
