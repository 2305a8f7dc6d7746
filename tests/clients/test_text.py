"""What may reach a terminal."""

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.cli import view
from clients.cli.terminal import Escape
from clients.cli.text import clean


@settings(max_examples=200)
@given(st.text())
def test_cleaned_text_holds_nothing_that_acts(text: str) -> None:
    cleaned = clean(text)
    assert not any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in cleaned)
    assert not any(char in "\u202a\u202e\u2066\u2069\u2028" for char in cleaned)


def test_harmless_text_stays_as_it_is() -> None:
    assert clean("Grüße, 世界! 🙂") == "Grüße, 世界! 🙂"
    assert clean("a\udcffb") == "a\\udcffb"  # what no terminal can be sent
    assert clean("a\nb\tc") == "a\\x0ab\\x09c"
    assert clean("a\nb\r", keep_lines=True) == "a\nb\\x0d"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3661, "1 h 1 min"), (90_061, "1 d 1 h"), (86_401, "1 d")],
)
def test_lengths_of_time(seconds: int, words: str) -> None:
    assert view.length(timedelta(seconds=seconds)) == words


def test_moments_relative_to_now() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    stamp = Timestamp()
    assert view.relative(stamp, now) == ""
    stamp.FromDatetime(now + timedelta(minutes=5))
    assert view.relative(stamp, now) == "in 5 min"
    stamp.FromDatetime(now - timedelta(minutes=5))
    assert view.relative(stamp, now) == "5 min ago"


@pytest.mark.parametrize(
    ("typed", "passed", "leaves"),
    [
        ([b"ls\r"], b"ls\r", False),
        ([b"~."], b"", True),
        ([b"~", b"."], b"", True),
        ([b"x~."], b"x~.", False),
        ([b"x\r~."], b"x\r", True),
        ([b"~~."], b"~.", False),
        ([b"~x"], b"~x", False),
        ([b"cd ~\r"], b"cd ~\r", False),
        ([b"\r", b"~", b"/bin\r"], b"\r~/bin\r", False),
    ],
)
def test_the_escape(typed: list[bytes], passed: bytes, leaves: bool) -> None:
    escape = Escape()
    assert b"".join(escape.filter(part) for part in typed) == passed
    assert escape.leaves is leaves
