"""Who is deactivated at the identity provider loses a live shell within a second, and reads why (R25, R31).

Everything is real: the provider that fiona signs in at, the token of `jit scim create`, TLS, the gateway and sshd.
"""

import re
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.pseudoterminal import Person as Terminal
from tests.e2e.stage import Stage, stage
from tests.e2e.test_ends_e2e import MARGIN, PROMISE
from tests.gateway.http.provisioning import PATCH, USER
from tests.oidc_provider.running import Browser, OidcProvider
from tests.processes import GatewayProcess, Person

pytestmark = pytest.mark.alone

SUBJECT = "u-5"


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OidcProvider]:
    running = OidcProvider(tmp_path_factory.mktemp("provider"))
    running.start()
    running.says({SUBJECT: {"preferred_username": "fiona", "groups": []}})
    yield running
    running.stop()


@pytest.fixture(scope="module")
def gateway(provider: OidcProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    corp = (
        f'{{ issuer = "{provider.issuer}", insecure_loopback = true, client_id = "jitgate", '
        'scopes = ["profile", "groups"] }'
    )
    environment = {"JITGATE_HTTP_LISTEN": "127.0.0.1:0", "JITGATE_IDENTITY_PROVIDERS__CORP": corp}
    process = GatewayProcess(tmp_path_factory.mktemp("gateway"), environment)
    process.start()
    yield process
    process.stop()


@pytest.fixture(scope="module")
def on(gateway: GatewayProcess, folder: Path) -> Iterator[Stage]:
    with stage(gateway, folder) as found:
        yield found


@pytest.fixture(scope="module")
def scim(on: Stage) -> Iterator[httpx.Client]:
    """The provider's client, with the token that the administrator's command printed."""
    token = on.administrator.person.json("scim", "create", "corp")["token"]
    trusted = ssl.create_default_context(cafile=str(on.gateway.ca_file))
    url = f"https://{on.gateway.http_address}/scim/v2"
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url, headers=headers, verify=trusted, trust_env=False, timeout=60) as client:
        yield client
    assert token not in on.gateway.log.read_text()


@pytest.fixture(scope="module")
def fiona(on: Stage, scim: httpx.Client, provider: OidcProvider, folder: Path) -> Person:
    """Described by the provider, then signed in there."""
    said = {"schemas": [USER], "externalId": SUBJECT, "userName": "fiona", "displayName": "Fiona", "active": True}
    assert scim.post("/Users", json=said).status_code == 201
    on.administrator.call("AdministrationService/GrantRole", grant={"user_id": "fiona", "role": "ROLE_USER"})
    person = Person("fiona", folder / "fiona")
    signs_in(person, on.gateway, provider)
    return person


def signs_in(person: Person, gateway: GatewayProcess, provider: OidcProvider) -> None:
    """By a code, in a browser elsewhere."""
    where = ("--gateway", gateway.sign_in_address, "--ca-file", str(gateway.ca_file))
    login = person.popen("login", *where, "--device", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert login.stderr is not None
    address = next(
        found[0] for line in login.stderr if (found := re.search(r"http\S+user_code=\S+", line.decode()))
    )
    browser = Browser(provider.issuer)
    browser.sign_in(address, SUBJECT)
    browser.close()
    _, err = login.communicate(timeout=60)
    assert login.returncode == 0, err


def active(scim: httpx.Client, said: Any) -> None:
    operation = {"op": "replace", "path": "active", "value": said}
    answer = scim.patch("/Users/fiona", json={"schemas": [PATCH], "Operations": [operation]})
    assert answer.is_success, answer.text


@pytest.mark.rule("R25")
@pytest.mark.rule("R31")
def test_who_is_deactivated_loses_the_shell_within_a_second(
    on: Stage, scim: httpx.Client, fiona: Person, provider: OidcProvider
) -> None:
    request = fiona.json("request", "web-1", "--reason", "look")["request"]["id"]
    with Terminal("shell", "web-1", environment=fiona.environment) as terminal:
        terminal.waits_for("recorded")
        terminal.type("echo go' on'\r")
        terminal.waits_for("go on")
        asked = time.monotonic()
        active(scim, False)
        terminal.waits_for("deactivated at the identity provider corp")
        assert time.monotonic() - asked < PROMISE + MARGIN
        assert terminal.ends() == 255
    assert on.dave.call("AccessService/GetAccessRequest", id=request)["request"]["status"].endswith("REVOKED")
    on.settled_rows()
    [session] = on.dave.call("SessionService/ListSessions")["sessions"]
    assert (session["end"], session["user_id"]) == ("SESSION_END_LOCKED", "fiona")
    assert on.dave.call("RecordingService/VerifyRecording", session_id=session["id"])["intact"]
    assert "deactivated" in fiona.refused("shell", "web-1")
    assert "deactivated" in on.administrator.person.refused("unlock", "--user", "fiona")

    active(scim, True)
    signs_in(fiona, on.gateway, provider)
    fiona.json("request", "web-1", "--reason", "back again")
    assert fiona.jit("exec", "web-1", "--", "echo", "well").endswith("well\n")
