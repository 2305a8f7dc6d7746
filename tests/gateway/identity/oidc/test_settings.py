"""What an operator can write, and what is refused before anybody signs in by it."""

from pathlib import Path
from typing import Any

import pytest

from gateway.config import BadConfiguration, Configuration, load

PROVIDER = '[identity_providers.corp]\nissuer = "https://login.example.com"\nclient_id = "jitgate"\n'


def loaded(tmp_path: Path, text: str, **environment: str) -> Configuration:
    file = tmp_path / "jitgate.toml"
    file.write_text(text)
    return load(file, environment)


def test_two_lines_are_enough(tmp_path: Path) -> None:
    said = loaded(tmp_path, PROVIDER).identity_providers["corp"]
    assert (said.issuer, said.create_users) == ("https://login.example.com", True)
    assert said.flows == {"browser", "device", "web"}
    assert said.claims.groups_required
    assert said.claims.subject == "sub"
    assert loaded(tmp_path, "").identity_providers == {}


def test_everything_that_the_documentation_shows(tmp_path: Path) -> None:
    """Each TOML block of the page is a configuration that can be used."""
    page = (Path(__file__).parents[4] / "docs" / "identity-provider.md").read_text()
    blocks = [block.partition("```")[0] for block in page.split("```toml\n")[1:]]
    assert len(blocks) >= 4
    for block in blocks:
        assert loaded(tmp_path, block).identity_providers, block


def test_the_environment_sets_it_too(tmp_path: Path) -> None:
    environment = {
        "JITGATE_IDENTITY_PROVIDERS__CORP__CLIENT_ID": "other",
        "JITGATE_IDENTITY_PROVIDERS__CORP__CLAIMS": '{ principal_tags = { Team = "team" } }',
    }
    said = loaded(tmp_path, PROVIDER, **environment).identity_providers["corp"]
    assert (said.client_id, said.claims.principal_tags) == ("other", {"Team": ("team",)})


@pytest.mark.parametrize(
    "issuer",
    [
        "http://login.example.com",
        "http://127.0.0.1:8080",
        "https://",
        "https://login.example.com?tenant=1",
        "https://login.example.com#x",
        "https://user:password@login.example.com",
        "https://login.example.com:port",
        "ftp://login.example.com",
        "login.example.com",
        "",
        "https://login.example.com/\\u0000",
        "https://[::1",
    ],
)
def test_an_issuer_that_nobody_should_send_secrets_to(tmp_path: Path, issuer: str) -> None:
    with pytest.raises(BadConfiguration, match=r"identity_providers\.corp"):
        loaded(tmp_path, f'[identity_providers.corp]\nissuer = "{issuer}"\nclient_id = "jitgate"\n')


@pytest.mark.parametrize(
    "host", ["192.0.2.1", "login.example.com", "127.0.0.1.example.com", "localhost.example.com"]
)
def test_plain_http_is_for_this_host_only(tmp_path: Path, host: str) -> None:
    text = PROVIDER.replace("https://login.example.com", f"http://{host}") + "insecure_loopback = true\n"
    with pytest.raises(BadConfiguration, match="https://"):
        loaded(tmp_path, text)
    loaded(tmp_path, text.replace(host, "127.0.0.1:8080"))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('algorithms = ["none"]', "algorithms"),
        ('algorithms = ["RS256", "HS256"]', "algorithms"),
        ("algorithms = []", "algorithms"),
        ("flows = []", "flows"),
        ('flows = ["implicit"]', "flows"),
        ('claims = { user_id = "email" }', "email addresses change hands"),
        ('claims = { subject = "email" }', "email addresses change hands"),
        ('claims = { user_id = ["profile", "email"] }', "email addresses change hands"),
        ('claims = { group_prefix = "-x" }', "group_prefix"),
        ('claims = { group_names = { x = "no id" } }', "group_names"),
        ('claims = { principal_tags = { "a;b" = "team" } }', "principal_tags"),
        ("claims = { groups = [] }", "groups"),
        ('claims = { attributes = { shoeSize = "size" } }', "shoeSize"),
        ("clock_skew_seconds = 3600", "clock_skew_seconds"),
        ('scopes = ["a b"]', "scopes"),
        ('client_secret = "in the file"', "unknown key"),
        ("loopback_ports = [80]", "loopback_ports"),
        ('loopback_ports = [8765]\nflows = ["device"]', "browser flow"),
    ],
)
def test_what_is_refused_by_name(tmp_path: Path, line: str, why: str) -> None:
    with pytest.raises(BadConfiguration, match=why):
        loaded(tmp_path, PROVIDER + line + "\n")


@pytest.mark.parametrize("name", ["Corp", "a b", "-x", "x" * 33])
def test_names_of_providers(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadConfiguration):
        loaded(tmp_path, PROVIDER.replace("providers.corp", f'providers."{name}"'))


@pytest.mark.rule("R31")
@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [("", "", False), ("", "b-", False), ("a-", "a-", False), ("a-", "a-b-", False), ("a-", "b-", True)],
)
def test_no_provider_can_speak_for_groups_of_another(tmp_path: Path, one: str, other: str, apart: bool) -> None:
    def said(name: str, prefix: str) -> str:
        return PROVIDER.replace("corp", name).replace("login.", f"{name}.") + f'claims.group_prefix = "{prefix}"\n'

    text = said("first", one) + said("second", other)
    if apart:
        assert len(loaded(tmp_path, text).identity_providers) == 2
        return
    with pytest.raises(BadConfiguration, match="could speak for groups"):
        loaded(tmp_path, text)


def test_two_providers_of_one_issuer_are_refused(tmp_path: Path) -> None:
    text = PROVIDER + PROVIDER.replace("corp", "again")
    with pytest.raises(BadConfiguration, match="same issuer"):
        loaded(tmp_path, text)


def test_secrets_are_in_files_only(tmp_path: Path) -> None:
    said: Any = loaded(tmp_path, PROVIDER + 'client_secret_file = "/run/secrets/oidc"\n')
    assert "/run/secrets/oidc" in said.model_dump_json()
