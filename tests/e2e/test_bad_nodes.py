"""Nodes that do not do their part: a clear error, an ended session, and access that is as good as before."""

import contextlib
import select
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.clock import Clock
from tests.e2e.live import Live, run
from tests.e2e.stage import Stage
from tests.sshd import running_sshd

DEV = {"Environment": "dev"}
Handler = Callable[[socket.socket], None]


@pytest.fixture(scope="module")
def on(shared_stage: tuple[Stage, Clock]) -> Stage:
    return shared_stage[0]


class Listener:
    """Something that listens where an sshd should."""

    def __init__(self, handle: Handler) -> None:
        self._handle = handle
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.held: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = self._socket.accept()[0]
                self.held.append(connection)
                threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):  # the latter from select, of what was closed just now
            self._handle(connection)

    def close(self) -> None:
        for connection in (self._socket, *self.held):
            with contextlib.suppress(OSError):  # wakes whoever waits for it
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


def says_nothing(connection: socket.socket) -> None:
    """Never answers; holds the line."""


def hangs_up(connection: socket.socket) -> None:
    connection.close()


def is_no_ssh(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    connection.close()


def closes_half_way(connection: socket.socket) -> None:
    """Says who it is, begins the handshake, and is gone."""
    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
    connection.recv(100)
    connection.close()


def never_ends_its_greeting(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"welcome " * 1000 + b"\r\n")


def answers_slowly_with_junk(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-x\r\n" + b"\xff" * 40_000)


@contextlib.contextmanager
def listening(handle: Handler) -> Iterator[int]:
    listener = Listener(handle)
    try:
        yield listener.port
    finally:
        listener.close()


NODE_UNREACHABLE = ("UNAVAILABLE", "NODE_UNREACHABLE")


def test_nodes_that_cannot_be_reached(on: Stage) -> None:
    """All at once, since one of them keeps everybody waiting; none keeps the others."""
    handlers = [
        says_nothing, hangs_up, is_no_ssh, closes_half_way, never_ends_its_greeting, answers_slowly_with_junk
    ]  # fmt: skip
    with contextlib.ExitStack() as undo:
        ports = {handle.__name__: undo.enter_context(listening(handle)) for handle in handlers}
        ports["is_closed"] = undo.enter_context(_closed())
        lives = {}
        for number, (name, port) in enumerate(ports.items()):
            on.add_node(name, f"mi-1000000000000000{number}", tags=DEV, ssh={"port": port})
            lives[name] = undo.enter_context(Live(on.alice.client, _token(on, name), name, "echo never"))
        quick = {name: live.until_over() for name, live in lives.items() if name != "says_nothing"}
        assert quick == dict.fromkeys(quick, NODE_UNREACHABLE)
        assert run(on.alice.client, on.token(), "echo others go on").output == b"others go on\n"
        assert lives["says_nothing"].until_over() == NODE_UNREACHABLE
        assert all(live.output == b"" and live.opened is None for live in lives.values())
    on.settled_rows()
    with on.database() as database:
        ends = database.execute(
            "SELECT DISTINCT \"end\" FROM sessions WHERE node_id LIKE 'mi-1000%' AND ended_at IS NOT NULL"
        ).fetchall()
        kept = database.execute(
            "SELECT DISTINCT status, output_bytes FROM recordings WHERE node_id LIKE 'mi-1000%'"
        ).fetchall()
    assert ends == [("NODE_GONE",)]
    # A recording is prepared while the node is dialed; where that was quicker it is kept, whole and empty.
    assert kept in ([], [("COMPLETE", 0)])
    assert on.is_alive()


def test_what_the_command_line_says_of_a_node_that_is_away(on: Stage) -> None:
    with _closed() as port:
        on.add_node("away-1", "mi-20000000000000001", tags=DEV, ssh={"port": port})
        done = on.alice.person.run("exec", "away-1", "--reason", "look", "--", "id")
    assert done.returncode == 255
    said = done.stderr.decode()
    assert f"127.0.0.1:{port} cannot be reached: nothing listens there" in said
    assert len(said.partition("error: ")[2].strip().splitlines()) == 2
    # Registered with its right port, the open window is as good as new.
    ssh = {"host": "127.0.0.1", "port": on.sshd.port, "login": on.sshd.login, "host_keys": [on.sshd.host_key]}
    on.administrator.call("NodeService/UpdateNode", node="away-1", ssh=ssh)
    on.sshd.allow(on.sshd.login, f"mi-20000000000000001/{on.sshd.login}", *_principals(on))
    assert on.alice.person.jit("exec", "away-1", "--", "echo back") == "back\n"


def test_a_node_with_another_host_key(on: Stage, folder: Path) -> None:
    """Nothing is sent to it, not even a login."""
    trust = on.administrator.call("NodeService/GetNodeTrust", login=on.sshd.login)
    node_id = "mi-30000000000000001"
    principal = f"{node_id}/{on.sshd.login}"
    with running_sshd(folder / "other", trust["user_ca"], {on.sshd.login: [principal]}) as other:
        on.add_node("rebuilt-1", node_id, tags=DEV, ssh={"port": other.port})
        token = _token(on, "rebuilt-1")
        with Live(on.alice.client, token, "rebuilt-1", "id") as live:
            assert live.until_over() == ("FAILED_PRECONDITION", "HOST_KEY_CHANGED")
        assert "Accepted" not in other.log()
        checks = on.administrator.call("NodeService/CheckNode", node="rebuilt-1")["checks"]
        failed = next(check for check in checks if not check.get("passed"))
        assert failed["step"] == "host_key"
        assert failed["what_to_do"]
        ssh = {"host": other.host, "port": other.port, "login": other.login, "host_keys": [other.host_key]}
        on.administrator.call("NodeService/UpdateNode", node="rebuilt-1", ssh=ssh)
        assert run(on.alice.client, token, "echo known", node="rebuilt-1").output == b"known\n"
    assert on.is_alive()


def test_a_node_that_does_not_trust_us(on: Stage) -> None:
    on.add_node("strange-1", "mi-40000000000000001", tags=DEV)
    with Live(on.alice.client, _token(on, "strange-1"), "strange-1", "id") as live:
        assert live.until_over() == ("FAILED_PRECONDITION", "LOGIN_REFUSED")
    assert on.is_alive()


@pytest.mark.rule("R27")
def test_a_node_that_is_gone_in_the_middle_of_a_session(on: Stage) -> None:
    """What it printed until then reaches the client and the recording, and the user reads what happened."""
    with _proxy(on.sshd.port) as proxy:
        node_id = "mi-50000000000000001"
        on.sshd.allow(on.sshd.login, f"{node_id}/{on.sshd.login}", *_principals(on))
        on.add_node("fragile-1", node_id, tags=DEV, ssh={"port": proxy.port})
        token = _token(on, "fragile-1")
        with Live(on.alice.client, token, "fragile-1", "echo begun; sleep 60") as live:
            live.until_output(b"begun\n")
            proxy.close()
            assert live.until_over() == ("OK", "")
        assert live.end == "NODE_GONE"
        assert "The connection to the node was lost" in live.exit.message
    on.settled_rows()
    assert on.session(live.id)["end"] == "SESSION_END_NODE_GONE"
    assert on.dave.call("RecordingService/VerifyRecording", session_id=live.id)["intact"]
    answers = on.dave.client.receive(
        "RecordingService/ExportRecording", session_id=live.id, format="EXPORT_FORMAT_RAW"
    )
    assert b"".join(answer.chunk for answer in answers) == b"begun\n"
    assert on.is_alive()


def test_a_node_that_is_gone_reads_at_the_command_line(on: Stage) -> None:
    with _proxy(on.sshd.port) as proxy:
        node_id = "mi-50000000000000002"
        on.sshd.allow(on.sshd.login, f"{node_id}/{on.sshd.login}", *_principals(on))
        on.add_node("fragile-2", node_id, tags=DEV, ssh={"port": proxy.port})
        process = on.alice.person.popen(
            *("exec", "-n", "fragile-2", "--reason", "look", "--", "echo begun; sleep 60"), stdout=-1, stderr=-1
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        proxy.close()
        said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 255
    assert "connection to the node was lost" in said


@contextlib.contextmanager
def _closed() -> Iterator[int]:
    """A port at which nobody listens, and nobody begins to."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def _token(on: Stage, node: str) -> str:
    return on.alice.token(on.alice.request(node)["id"])


def _principals(on: Stage) -> list[str]:
    """Those that sshd takes already."""
    return (on.sshd.principals / on.sshd.login).read_text().split()


@contextlib.contextmanager
def _proxy(port: int) -> Iterator[Listener]:
    """Passes everything on to the real sshd, until it is closed."""

    def pass_on(near: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", port)) as far:
            ways: dict[Any, Any] = {near: far, far: near}
            while near.fileno() >= 0:
                for source in select.select(list(ways), [], [], 0.05)[0]:
                    data = source.recv(65_536)
                    if not data:
                        return
                    ways[source].sendall(data)

    listener = Listener(pass_on)
    try:
        yield listener
    finally:
        listener.close()
