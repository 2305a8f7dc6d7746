"""People with `jit` at a real gateway, a real provider and a browser of their own."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.gateway.identity.oidc.conftest import ALICE, Browsers
from tests.oidc_provider.running import OidcProvider
from tests.processes import GatewayProcess, Person


@pytest.fixture(scope="module")
def gateway(running: OidcProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that knows two providers, one of which never answers."""
    folder = tmp_path_factory.mktemp("gateway")
    file = folder / "jitgate.toml"
    file.write_text(
        f"""
        [identity_providers.corp]
        issuer = "{running.issuer}"
        client_id = "jitgate"
        title = "Example Corp"
        scopes = ["profile", "groups"]
        insecure_loopback = true
        claims = {{ group_prefix = "corp-" }}

        [identity_providers.gone]
        issuer = "http://127.0.0.1:1"
        client_id = "jitgate"
        insecure_loopback = true
        claims = {{ group_prefix = "gone-" }}
        """
    )
    process = GatewayProcess(folder, {"JITGATE_CONFIG": str(file)})
    process.start()
    yield process
    process.stop()


@pytest.fixture
def alice(provider: OidcProvider, tmp_path: Path) -> Person:
    return Person("alice", tmp_path / "alice")


def begin(gateway: GatewayProcess, person: Person, *how: str) -> "subprocess.Popen[bytes]":
    address = ("--gateway", gateway.sign_in_address, "--ca-file", str(gateway.ca_file))
    return person.popen("login", *address, *how, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def told(process: "subprocess.Popen[bytes]", pattern: str) -> str:
    """What jit prints next that fits."""
    assert process.stderr is not None
    seen = ""
    while line := process.stderr.readline().decode():
        seen += line
        if found := re.search(pattern, line):
            return found[1]
    raise AssertionError(f"jit did not say {pattern}: {seen}")


def ended(process: "subprocess.Popen[bytes]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=30)
    return process.returncode, out.decode(), err.decode()


@pytest.mark.rule("R31")
def test_with_a_code_while_the_gateway_is_killed_in_between(
    gateway: GatewayProcess, provider: OidcProvider, browsers: Browsers, alice: Person
) -> None:
    login = begin(gateway, alice, "--provider", "corp")  # no desktop here: it takes the device flow by itself
    address = told(login, r"(http\S+user_code=\S+)")
    gateway.kill()
    browsers(provider).sign_in(address, "u-1")
    gateway.start()
    code, out, err = ended(login)
    assert code == 0, err
    assert out.startswith("Signed in as alice until ")
    who = alice.json("whoami")["identity"]
    assert (who["user_id"], who["issuer"], who["subject"]) == ("alice", provider.issuer, "u-1")
    assert who["groups"] == ["corp-dba", "corp-sre"]
    folder = alice.home / ".jit" / "default"
    assert "eyJ" not in "".join(file.read_text() for file in folder.iterdir())  # the client never has a token
    result = alice.run("logout")
    assert result.returncode == 0
    assert f"{provider.issuer}/session/end?client_id=jitgate" in result.stderr.decode()
    assert list(folder.iterdir()) == []


@pytest.mark.rule("R31")
def test_in_a_browser_and_at_the_same_provider_again(
    gateway: GatewayProcess, provider: OidcProvider, browsers: Browsers, alice: Person
) -> None:
    browser = browsers(provider)
    for how in (("--provider", "corp", "--browser"), ("--browser",)):
        login = begin(gateway, alice, *how)
        back = browser.sign_in(told(login, r"(http\S+)"), "u-1")
        assert back.startswith("http://127.0.0.1:")
        # Whoever else comes to that port, without the state or with another one, changes nothing.
        for other in ("", "?code=x&state=y", "?state=", "?code=x", "?" + "a=1&" * 50, "?error=access_denied"):
            assert httpx.get(back.partition("?")[0] + other, trust_env=False).status_code == 404
        page = browser.visit(back)
        assert page.status_code == 200
        assert "code" not in page.text
        code, _, err = ended(login)
        assert code == 0, err
    assert alice.json("whoami")["identity"]["user_id"] == "alice"


def test_who_says_no_in_the_browser(
    gateway: GatewayProcess, provider: OidcProvider, browsers: Browsers, alice: Person
) -> None:
    login = begin(gateway, alice, "--provider", "corp", "--browser")
    browser = browsers(provider)
    form = browser.visit(told(login, r"(http\S+)"))
    for _ in range(5):
        if form.is_redirect:
            form = browser.visit(str(form.next_request.url if form.next_request else ""))
    abort = re.search(r'href="(\S+/abort)"', form.text)
    assert abort is not None
    form = browser.visit(abort[1])
    while form.is_redirect:
        form = browser.visit(str(form.next_request.url if form.next_request else ""))
    code, _, err = ended(login)
    assert code == 1
    assert "error: Example Corp did not sign you in" in err


def test_several_providers_are_listed(gateway: GatewayProcess, alice: Person) -> None:
    code, _, err = ended(begin(gateway, alice))
    assert code == 2
    assert "corp (Example Corp), gone (gone)" in err
    code, _, err = ended(begin(gateway, alice, "--provider", "other"))
    assert (code, "no identity provider 'other'" in err, "corp (Example Corp)" in err) == (2, True, True)
    code, _, err = ended(begin(gateway, alice, "--provider", "corp", "--user", "alice"))
    assert code == 2
    code, _, err = ended(begin(gateway, alice, "--browser", "--device"))
    assert code == 2


def test_a_provider_that_is_down_is_told_by_name(
    gateway: GatewayProcess, provider: OidcProvider, browsers: Browsers, alice: Person
) -> None:
    code, _, err = ended(begin(gateway, alice, "--provider", "gone"))
    assert code == 7
    assert "the identity provider gone can't be used" in err
    login = begin(gateway, alice, "--provider", "corp")
    browsers(provider).sign_in(told(login, r"(http\S+user_code=\S+)"), "u-1")
    assert ended(login)[0] == 0
    result = alice.run("doctor")
    said = result.stdout.decode()
    assert result.returncode == 1
    assert "✓ identity provider corp: " in said
    assert "✗ identity provider gone: " in said


@pytest.mark.rule("R31")
def test_a_claim_that_is_missing_keeps_people_out(
    gateway: GatewayProcess, provider: OidcProvider, browsers: Browsers, alice: Person
) -> None:
    provider.says({"u-9": {name: value for name, value in ALICE.items() if name != "groups"}})
    login = begin(gateway, alice, "--provider", "corp")
    browsers(provider).sign_in(told(login, r"(http\S+user_code=\S+)"), "u-9")
    code, _, err = ended(login)
    assert code == 4
    assert "the groups claim groups is missing" in err
    assert not (alice.home / ".jit" / "default").exists()
    log = gateway.log.read_text()
    assert "eyJ" not in log
    assert "device_code" not in log


def test_a_gateway_starts_without_its_providers(
    gateway: GatewayProcess, provider: OidcProvider, tmp_path: Path
) -> None:
    with provider.away():
        restarted = GatewayProcess(tmp_path / "other", dict(gateway.environment))
        restarted.start()  # nothing is asked of a provider at the start
        restarted.stop()
