"""Configuration is taken as written, or refused by name."""

from pathlib import Path

import pytest

from gateway.config import BadConfiguration, Configuration, load


def _file(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "jitgate.toml"
    file.write_text(text)
    return file


def test_defaults_need_no_file() -> None:
    assert load(None, {}) == Configuration()


def test_a_file_and_the_environment_over_it(tmp_path: Path) -> None:
    file = _file(tmp_path, 'listen = "0.0.0.0:1"\nretention_days = 400\n[recordings]\ndurability = "sync"\n')
    loaded = load(file, {"JITGATE_LISTEN": "[::1]:7443", "JITGATE_TLS__NAMES": '["a.example"]', "PATH": "/bin"})
    assert loaded.listen == "[::1]:7443"
    assert loaded.retention_days == 400
    assert loaded.recordings.durability == "sync"
    assert loaded.tls.names == ("a.example",)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("lisen = '127.0.0.1:1'", "lisen: unknown key"),
        ("[recordings]\nspol = '/x'", "recordings.spol: unknown key"),
        ("retention_days = 'long'", "retention_days"),
        ("listen = 'localhost'", "listen"),
        ("listen = ", "is not TOML"),
        ("tls = 3", "tls"),
    ],
)
def test_what_is_wrong_is_refused_by_name(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(BadConfiguration, match=named):
        load(_file(tmp_path, text), {})


@pytest.mark.rule("R28")
def test_retention_below_a_year_is_refused() -> None:
    with pytest.raises(BadConfiguration, match="retention_days"):
        load(None, {"JITGATE_RETENTION_DAYS": "364"})


def test_unreadable_unknown_and_oversized_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match=r"missing\.toml: cannot be read"):
        load(tmp_path / "missing.toml", {})
    with pytest.raises(BadConfiguration, match="lisen: unknown key"):
        load(None, {"JITGATE_LISEN": "127.0.0.1:1"})
    with pytest.raises(BadConfiguration, match="larger than"):
        load(_file(tmp_path, "#" * (1 << 20) + "\n"), {})
    with pytest.raises(BadConfiguration, match="listen is not a section"):
        load(_file(tmp_path, "listen = '127.0.0.1:1'"), {"JITGATE_LISTEN__PORT": "1"})
