"""Which hosts may be talked to unencrypted: this one, by whatever address, and no name that could mean another."""

import pytest

from notifiers.loopback import is_loopback


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.0.2", "::1"])
def test_this_host_by_any_of_its_addresses(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "0.0.0.0",
        "::",
        "10.0.0.1",
        "127.1",
        "2130706433",
        "localhost.example.org",
        "127.0.0.1.example.org",
    ],
)
def test_what_is_or_could_be_another_host(host: str | None) -> None:
    assert not is_loopback(host)
