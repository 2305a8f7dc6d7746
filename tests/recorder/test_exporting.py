"""Recordings in other forms, read by the tools that know these forms."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.exporting import asciicast, plain_text, raw_output
from recorder.model import Stream, encryption_context
from recorder.playback import Playback
from recorder.terminal_text import TerminalText
from tests.recorder.conftest import Rig, session
from tests.recorder.turns import taking_turns


async def playback_of(rig: Rig, chunks: list[bytes], **changes: Any) -> Playback:
    recorder = rig.recorder()
    await recorder.start()
    asked = session(record_input_content=True, **changes)
    recording = await recorder.open(asked)
    recording.input(b"typed", 0)
    offset = 0
    for chunk in chunks:
        recording.output(chunk, offset)
        offset += len(chunk)
        rig.ticks.pass_seconds(0.5)
    recording.resize(100, 30)
    recording.notice("five minutes left")
    recording.gap("the store was away", 7)
    recording.exit(2)
    manifest = await recording.close("logout")
    return await Playback.open(manifest, rig.store, rig.keys, encryption_context(asked))


async def cast_of(playback: Playback) -> list[Any]:
    return [json.loads(line) async for line in asciicast(playback, idle_seconds=2.0)]


async def test_an_asciicast_has_everything_in_order(rig: Rig) -> None:
    header, *events = await cast_of(await playback_of(rig, [b"a", b"b\r\n"], columns=90, command="top"))
    assert (header["version"], header["width"], header["height"]) == (2, 90, 24)
    assert (header["command"], header["idle_time_limit"]) == ("top", 2.0)
    assert header["jitgate"]["invalid_utf8"] == 0
    assert events == [
        [0.0, "o", "a"],
        [0.5, "o", "b\r\n"],
        [1.0, "r", "100x30"],
        [1.0, "m", "notice: five minutes left"],
        [1.0, "m", "gap: the store was away (7 bytes)"],
        [1.0, "m", "exit: status 2"],
        [1.0, "m", "end: logout"],
    ]


async def test_input_shows_only_to_who_may_read_it(rig: Rig) -> None:
    playback = await playback_of(rig, [b"a"])
    assert "typed" not in str(await cast_of(playback))
    manifest = playback.manifest
    context = encryption_context(manifest.session)
    granted = await Playback.open(manifest, rig.store, rig.keys, context, with_input=True)
    assert [0.0, "i", "typed"] in await cast_of(granted)


async def test_characters_cut_by_a_chunk_are_joined(rig: Rig) -> None:
    text = "grüße 🎉".encode()
    header, *events = await cast_of(await playback_of(rig, [text[n : n + 1] for n in range(len(text))]))
    assert "".join(event[2] for event in events if event[1] == "o") == "grüße 🎉"
    assert header["jitgate"]["invalid_utf8"] == 0


async def test_bytes_that_are_no_utf8_are_replaced_and_counted(rig: Rig) -> None:
    playback = await playback_of(rig, [b"ok\xff\xfe", b"\x80 ", "ü".encode()[:1]])
    header, *events = await cast_of(playback)
    assert "".join(event[2] for event in events if event[1] == "o") == "ok\ufffd\ufffd\ufffd \ufffd"
    assert header["jitgate"]["invalid_utf8"] == 4
    assert b"".join([chunk async for chunk in raw_output(playback)]) == b"ok\xff\xfe\x80 \xc3"
    assert [chunk async for chunk in raw_output(playback, Stream.STDERR)] == []


async def test_a_real_asciinema_plays_it(rig: Rig, tmp_path: Path) -> None:
    playback = await playback_of(rig, [b"hello \x1b[1mworld\x1b[0m \xff\r\n"])
    cast = tmp_path / "session.cast"
    cast.write_bytes(b"".join([line async for line in asciicast(playback)]))
    done = subprocess.run(
        [sys.executable, "-m", "asciinema", "cat", str(cast)], capture_output=True, check=False, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode() == "hello \x1b[1mworld\x1b[0m \ufffd\r\n"


async def test_plain_text_reads(rig: Rig) -> None:
    playback = await playback_of(rig, [b"\x1b]0;title\x07$ lx\b\x1b[Ks\r\n", b"\x1b[31mfile\x1b[", b"0m\r\n$ "])
    text = "".join([piece async for piece in plain_text(playback)])
    assert text.splitlines() == [
        "$ ls",
        "file",
        "$",
        "[notice: five minutes left]",
        "[gap: the store was away (7 bytes)]",
        "[exit: status 2]",
        "[end: logout]",
    ]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("a\r\nb\n", "a\nb\n"),
        ("10%\r50%\r100%\n", "100%\n"),
        ("abcdef\r\x1b[2Cxy\x1b[K\n", "abxy\n"),
        ("echo hi\b\b\b\b\b\x1b[1P\n", "eco hi\n"),
        ("ac\b\x1b[1@b\n", "abc\n"),
        ("abc\x1b[2X\x1b[1D\x1b[X\n", "ab\n"),
        ("abc\x1b[1K\x1b[5Gd\n", "    d\n"),
        ("one\x1b[2;1Htwo\n", "one\ntwo\n"),
        ("\x1b(B\x1b[?25l\x1b=\x1bP1$r\x1b\\text\x1b[0m\n", "text\n"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\n", "link\n"),
        ("a\tb\n", "a       b\n"),
        ("\x1b[99999999999999999999Cx\n", " " * 1000 + "x\n"),
        (f"\x1b[{'9' * 4000}Cx\n", " " * 1000 + "x\n"),
        (f"\x1b[{'0' * 3000}1Cx\n", " x\n"),
        ("ab\r" + "\x1b[999@" * 9 + "x\n", "x\n"),
        ("x" * 150_000 + "\n", f"{'x' * 65536}\n{'x' * 65536}\n{'x' * 18928}\n"),
        ("\x1b\x1b[31mred\x00\x07\n", "red\n"),
        ("abc\x1b[2K\rnew\n", "new\n"),
        ("unfinished \x1b[3", "unfinished\n"),
    ],
)
def test_a_line_reads_as_it_ended(written: str, read: str) -> None:
    at_once = TerminalText()
    assert at_once.feed(written) + at_once.flush() == read
    by_letter = TerminalText()
    assert "".join(map(by_letter.feed, written)) + by_letter.flush() == read


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab\x1b[]P\\;0123KCHm\r\n\b\x07"), max_size=80), st.integers(0, 80))
def test_chunk_borders_do_not_matter_and_no_escape_is_left(text: str, cut: int) -> None:
    whole, pieces = TerminalText(), TerminalText()
    read = whole.feed(text) + whole.flush()
    assert pieces.feed(text[:cut]) + pieces.feed(text[cut:]) + pieces.flush() == read
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", read)


def test_a_number_may_have_more_digits_than_python_takes() -> None:
    assert TerminalText().feed(f"a\x1b[{'1' * 5000}mb\n") == "ab\n"


@pytest.mark.parametrize("written", ["x\r" + "\x1b[9999@" * 1000 + "y\n", "x" * 3_000_000, "\x1b[9999Cx\n" * 1000])
def test_what_is_written_to_be_large_takes_little_memory(written: str) -> None:
    screen = TerminalText()
    tracemalloc.start()
    try:
        read = screen.feed(written) + screen.flush()
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert len(read) < 4 << 20


async def test_what_a_node_calls_a_signal_acts_on_no_terminal(rig: Rig) -> None:
    recorder = rig.recorder()
    await recorder.start()
    recording = await recorder.open(session())
    recording.exit(128, "KILL\x1b]0;mine\x07\n[end: logout")
    manifest = await recording.close("logout")
    playback = await Playback.open(manifest, rig.store, rig.keys, encryption_context(session()))
    harmless = "exit: signal KILL\\x1b]0;mine\\x07\\x0a[end: logout"
    assert "".join([text async for text in plain_text(playback)]) == f"[{harmless}]\n[end: logout]\n"
    assert [event[2] for event in (await cast_of(playback))[1:]] == [harmless, "end: logout"]


@pytest.mark.parametrize("read", [plain_text, raw_output, asciicast])
async def test_others_have_their_turns_while_a_recording_is_read(rig: Rig, read: Callable[..., Any]) -> None:
    playback = await playback_of(rig, [b"\x1b" * 1000] * 3000)
    async with taking_turns() as turns:
        async for _ in read(playback):
            pass
    assert turns.longest < 1 / 3


def test_a_sequence_that_never_ends_is_given_up() -> None:
    screen = TerminalText()
    text = screen.feed("\x1b]" + "x" * 10_000 + "\n")
    assert text.startswith("]xxx")
    assert io.StringIO(text).readline().endswith("x\n")
