"""Choosing where to prove oneself, and the way back from the browser."""

import socket
import ssl
import sys
import threading
from pathlib import Path

import pytest

from clients.cli import providers
from clients.cli.errors import Failure
from clients.cli.loopback import Listener
from clients.cli.providers import Providers
from jitgate.v1.identity_pb2 import IdentityProvider

CORP = IdentityProvider(name="corp", title="Example Corp", browser=True, device=True)
PARTNERS = IdentityProvider(name="partners", title="Partners", browser=True)


def knowing(monkeypatch: pytest.MonkeyPatch, *known: IdentityProvider) -> Providers:
    made = Providers("127.0.0.1:1", ssl.create_default_context())
    monkeypatch.setattr(made, "all", lambda: list(known))
    return made


def test_the_only_provider_is_the_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert knowing(monkeypatch, CORP).choose("", needed=False) == CORP
    assert knowing(monkeypatch, CORP, PARTNERS).choose("partners", needed=True) == PARTNERS
    assert knowing(monkeypatch).choose("", needed=False) is None
    for missing in ("other", ""):
        with pytest.raises(Failure, match="no identity provider"):
            knowing(monkeypatch).choose(missing, needed=True)


@pytest.mark.parametrize(("typed", "picked"), [("1", CORP), ("2", PARTNERS), ("0", None)])
def test_one_of_several_is_picked_by_number(
    monkeypatch: pytest.MonkeyPatch, typed: str, picked: IdentityProvider | None
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(providers, "ask", lambda _prompt: typed)
    assert knowing(monkeypatch, CORP, PARTNERS).choose("", needed=False) == picked


@pytest.mark.parametrize("typed", ["3", "-1", "", "corp", "1 "])
def test_what_is_no_number_of_theirs(monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(providers, "ask", lambda _prompt: typed)
    known = knowing(monkeypatch, CORP, PARTNERS)
    if typed.strip() == "1":
        assert known.choose("", needed=False) == CORP
        return
    with pytest.raises(Failure, match="none of them"):
        known.choose("", needed=False)


def test_a_way_that_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Failure, match="takes no sign-in by device"):
        knowing(monkeypatch, PARTNERS).prove(PARTNERS, providers.DEVICE, b"")


@pytest.mark.parametrize(
    ("platform", "variables", "desktop"),
    [
        ("linux", {}, False),
        ("linux", {"DISPLAY": ":0"}, True),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, True),
        ("linux", {"DISPLAY": ":10", "SSH_CONNECTION": "192.0.2.1 1 192.0.2.2 22"}, False),
        ("darwin", {}, True),
        ("darwin", {"SSH_CONNECTION": "192.0.2.1 1 192.0.2.2 22"}, False),
        ("win32", {}, True),
    ],
)
def test_what_is_a_desktop(
    monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], desktop: bool
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert providers.is_desktop() is desktop


def test_only_web_addresses_are_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(providers, "is_desktop", lambda: True)

    def note(address: str) -> bool:
        opened.append(address)
        return True

    monkeypatch.setattr("webbrowser.open", note)
    for address in ("file:///etc/passwd", "javascript:alert(1)", "-h", "", "HTTPS://x"):
        assert not providers.open_in_browser(address)
    assert providers.open_in_browser("https://login.example.com/")
    assert opened == ["https://login.example.com/"]


def test_the_last_provider_is_remembered_and_forgotten(tmp_path: Path) -> None:
    providers.remember(tmp_path, "corp", "https://login.example.com/out")
    assert providers.remembered(tmp_path) == ("corp", "https://login.example.com/out")
    assert (tmp_path / "provider.json").stat().st_mode & 0o777 == 0o600
    for damage in (b"", b"[]", b"{}", b"\xff"):
        (tmp_path / "provider.json").write_bytes(damage)
        assert providers.remembered(tmp_path) == ("", "")
    providers.remember(tmp_path, "", "")
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken_is_passed_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy, socket.create_server(("127.0.0.1", 0)) as other:
        taken, free = busy.getsockname()[1], other.getsockname()[1]
        with pytest.raises(Failure, match="none of the ports"):
            Listener([taken, free])
        other.close()
        with Listener([taken, free]) as listener:
            assert listener.port == free


def test_a_browser_that_does_not_come_back() -> None:
    with Listener([]) as listener:
        listener.expect("s")
        with pytest.raises(Failure, match="did not come back"):
            listener.wait(0.05)


def test_who_connects_and_says_nothing_keeps_nobody_waiting() -> None:
    with Listener([]) as listener:
        listener.expect("s")
        silent = [socket.create_connection(("127.0.0.1", listener.port)) for _ in range(5)]

        def come_back() -> None:
            with socket.create_connection(("127.0.0.1", listener.port)) as browser:
                browser.sendall(b"GET /callback?code=c&state=s HTTP/1.0\r\n\r\n")
                while browser.recv(4096):
                    pass

        thread = threading.Thread(target=come_back)
        thread.start()
        assert listener.wait(15) == {"code": "c", "state": "s"}
        thread.join()
        for connection in silent:
            connection.close()
