"""What an operator says of the web listener."""

import pytest

from gateway.http.settings import Http


def test_settings_that_cannot_be_are_refused() -> None:
    for wrong in (
        {"public_url": "http://gate.example.org"},
        {"public_url": "https://gate.example.org/path"},
        {"certificate": "x.pem"},
        {"trusted_proxies": ["everybody"]},
        {"session_minutes": 31},
        {"unknown": 1},
    ):
        with pytest.raises(ValueError, match="validation error"):
            Http.model_validate(wrong)
