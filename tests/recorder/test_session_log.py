"""A session's output as JSON lines: what they say, that none is kept from it, and that it waits for none."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.session_log.batches import (
    EVENT_OVERHEAD,
    MAX_BYTES,
    MAX_EVENTS,
    MAX_LINE_BYTES,
    MAX_SPAN_MS,
    batches,
)
from recorder.session_log.lines import MAX_TEXT, Dropped, Entry, Lines, Noted, Output
from recorder.session_log.log import Loss, Room, SessionLog
from recorder.session_log.plain import Plain, to_file
from recorder.session_log.ports import LogLine, LogRefused, LogSink, LogUnavailable
from recorder.terminal_text import TerminalText
from tests.recorder.turns import taking_turns

pytestmark = pytest.mark.rule("R26")
ABOUT = {"session": "s-1", "user": "alice", "node": "i-1"}
START = datetime(2026, 3, 2, 9, tzinfo=UTC)
MS = int(START.timestamp() * 1000)


def told(*entries: Entry) -> list[dict[str, Any]]:
    lines = Lines(ABOUT)
    return [json.loads(line.text) for entry in entries for line in lines.of(entry)]


def out(text: str | bytes, *, stderr: bool = False, ms: int = MS) -> Output:
    return Output(ms, stderr, text.encode() if isinstance(text, str) else text)


def outputs(found: list[dict[str, Any]]) -> list[str]:
    return [each["output"] for each in found if each["type"] == "output"]


class TestLines:
    def test_each_says_who_where_when_and_what(self) -> None:
        found = told(Noted(MS, "start", {"source_address": "192.0.2.1"}), out("one\r\ntwo\r\n", ms=MS + 1500))
        assert found == [
            {
                **ABOUT,
                "type": "start",
                "number": 1,
                "time": "2026-03-02T09:00:00.000Z",
                "source_address": "192.0.2.1",
            },
            {
                **ABOUT,
                "type": "output",
                "number": 2,
                "time": "2026-03-02T09:00:01.500Z",
                "stream": "stdout",
                "output": "one\ntwo\n",
            },
        ]

    def test_a_corrected_command_reads_as_it_was_sent(self) -> None:
        typed = "\x1b[?2004hops@web-1:~$ lx\b\x1b[Ks\x1b[1m -l\x1b[0m\r\n\x1b[?2004l\rtotal 0\r\n"
        assert outputs(told(*(out(byte.encode()) for byte in typed))) == ["ops@web-1:~$ ls -l\n", "total 0\n"]

    def test_a_character_that_came_in_two_chunks_is_one(self) -> None:
        euro = "€\n".encode()
        assert outputs(told(out(euro[:1]), out(euro[1:]))) == ["€\n"]
        assert outputs(told(out(b"\xff\xfe\n"))) == ["\ufffd\ufffd\n"]

    def test_what_is_not_finished_comes_before_the_next_thing_that_happened(self) -> None:
        found = told(out("half"), out("err", stderr=True), Dropped(MS, 3, 9000), out("on\n"), Noted(MS, "end", {}))
        assert [(each["type"], each.get("output"), each.get("stream")) for each in found] == [
            ("output", "half", "stdout"),
            ("output", "err", "stderr"),
            ("dropped", None, None),
            ("output", "on\n", "stdout"),
            ("end", None, None),
        ]
        assert (found[2]["chunks"], found[2]["bytes"]) == (3, 9000)

    def test_a_clock_that_steps_back_turns_nothing_around(self) -> None:
        lines = Lines(ABOUT)
        made = [line for ms in (5000, 4000, 6000) for line in lines.of(out("x\n", ms=ms))]
        assert [line.time_ms for line in made] == [5000, 5000, 6000]

    def test_a_line_that_never_ends_is_cut_and_every_line_fits_into_an_event(self) -> None:
        long = '"\\€' * 40_000
        found = told(out(long), out("\n"), Noted(MS, "end", {}))
        assert "".join(outputs(found)).replace("\n", "") == long
        lines = Lines({**ABOUT, "command": "\x01" * 1024})
        for text in ("\U0001f600" * 100_000 + "\n", '"' * 100_000 + "\n", long):
            assert all(line.size <= MAX_LINE_BYTES for line in lines.of(out(text)))
        assert max(len(each) for each in outputs(found)) <= MAX_TEXT

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(
            st.text(st.sampled_from("ab \t\r\n\b\x1b[]0K;\x07\x7f\x9b€"), max_size=40)
            | st.sampled_from(["plain text\r\nand more\r\n", "a\nb\nc\n", "\x1b]0;title", "\x1b[31m"]),
            max_size=12,
        )
    )
    def test_the_short_way_of_plain_text_reads_as_the_long_one(self, chunks: list[str]) -> None:
        terminal = TerminalText()
        expected = "".join(terminal.feed(chunk) for chunk in chunks) + terminal.flush()
        found = told(*map(out, chunks), Noted(MS, "end", {}))
        assert "".join(outputs(found)).rstrip("\n") == expected.rstrip("\n")


def line(ms: int, size: int = 10) -> LogLine:
    return LogLine(ms, "x" * size)


class TestBatches:
    def test_nothing_makes_no_batch(self) -> None:
        assert list(batches([])) == []

    def test_ten_thousand_events(self) -> None:
        assert [len(batch) for batch in batches([line(MS)] * (MAX_EVENTS + 1))] == [MAX_EVENTS, 1]

    def test_bytes_count_with_their_overhead(self) -> None:
        each = MAX_BYTES // 8 - EVENT_OVERHEAD
        assert [len(batch) for batch in batches([line(MS, each)] * 9)] == [8, 1]
        assert [len(batch) for batch in batches([line(MS, each + 1)] * 8)] == [7, 1]
        assert [len(batch) for batch in batches([LogLine(MS, "€" * (each // 3 + 1))] * 8)] == [7, 1]  # as UTF-8

    def test_a_day_at_most_and_in_order(self) -> None:
        found = list(batches([line(MS + MAX_SPAN_MS), line(MS), line(MS + MAX_SPAN_MS - 1)]))
        assert [[each.time_ms - MS for each in batch] for batch in found] == [
            [0, MAX_SPAN_MS - 1],
            [MAX_SPAN_MS],
        ]

    def test_what_no_event_can_hold_is_left_out(self) -> None:
        assert list(batches([line(MS, MAX_LINE_BYTES + 1)])) == []
        assert list(batches([line(MS, MAX_LINE_BYTES)])) == [[line(MS, MAX_LINE_BYTES)]]

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 3 * MAX_SPAN_MS), st.integers(0, 300_000)), max_size=40))
    def test_whatever_comes_each_batch_is_one_that_aws_takes(self, given: list[tuple[int, int]]) -> None:
        lines = [line(ms, size) for ms, size in given]
        found = list(batches(lines))
        for batch in found:
            times = [each.time_ms for each in batch]
            assert times == sorted(times)
            assert times[-1] - times[0] < MAX_SPAN_MS
            assert sum(each.size + EVENT_OVERHEAD for each in batch) <= MAX_BYTES
        kept = [each for batch in found for each in batch]
        assert sorted(kept, key=str) == sorted((each for each in lines if each.size <= MAX_LINE_BYTES), key=str)


@dataclass
class Sink:
    """Remembers lines; does as it is told before it takes any."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    before: Callable[[], Awaitable[None]] | None = None
    rejects: int = 0

    async def put(self, stream: str, lines: Sequence[LogLine]) -> int:
        if self.before is not None:
            await self.before()
        self.lines += [{**json.loads(each.text), "in": stream} for each in lines]
        return self.rejects

    def types(self) -> list[str]:
        return [each["type"] for each in self.lines]


@dataclass
class Ears:
    heard: list[str] = field(default_factory=list)
    losses: list[Loss | None] = field(default_factory=list)

    async def failing(self, reason: str) -> None:
        self.heard.append(reason)

    async def works(self) -> None:
        self.heard.append("works")

    async def ended(self, loss: Loss | None) -> None:
        self.losses.append(loss)


def log(sink: Sink, ears: Ears, **changes: Any) -> SessionLog:
    async def find() -> LogSink:
        return sink

    values = {"clock": lambda: START, "room": Room(), "gather_seconds": 0.001, "last_seconds": 30.0}
    return SessionLog("a/stream", ABOUT, find, ears, **{**values, **changes})


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.002)


class TestLog:
    async def test_everything_arrives_in_order_and_the_end_is_told(self) -> None:
        sink, ears, room = Sink(), Ears(), Room()
        made = log(sink, ears, room=room)
        made.note("start")
        for number in range(100):
            made.output(b"%d\n" % number, False)
        made.end(end="EXITED", status=0)
        made.end(end="TWICE")
        made.output(b"too late\n", False)
        made.note("too late")
        await made.drained()
        assert sink.types()[0] == "start"
        assert "".join(outputs(sink.lines)) == "".join(f"{number}\n" for number in range(100))
        assert (sink.lines[-1]["type"], sink.lines[-1]["status"], sink.lines[-1]["in"]) == ("end", 0, "a/stream")
        assert [each["number"] for each in sink.lines] == list(range(1, len(sink.lines) + 1))
        assert (ears.losses, room.used) == ([None], 0)

    async def test_a_sink_that_hangs_holds_nothing_up_and_what_has_no_room_is_counted(self) -> None:
        sink, ears, room = Sink(), Ears(), Room()
        opened = asyncio.Event()
        sink.before = opened.wait  # type: ignore[assignment]  # what it returns is nobody's
        made = log(sink, ears, room=room, session_bytes=64 * 1024)
        for _ in range(1000):
            made.output(b"x" * 1023 + b"\n", False)
            await asyncio.sleep(0)
        assert room.used <= 64 * 1024
        opened.set()
        await until(lambda: room.used == 0)
        made.output(b"again\n", False)
        made.end()
        await made.drained()
        (dropped,) = (each for each in sink.lines if each["type"] == "dropped")
        arrived = sum(len(text) for text in outputs(sink.lines))
        assert dropped["chunks"] * 1024 == dropped["bytes"]
        assert arrived + dropped["bytes"] == 1000 * 1024 + len("again\n")
        assert sink.types()[-3:] == ["dropped", "output", "end"]
        assert ears.losses == [
            Loss(dropped["chunks"], dropped["bytes"], 0, "it printed faster than its log was taken")
        ]

    async def test_sessions_share_the_process_room(self) -> None:
        room, sink = Room(limit=10_000), Sink()
        first, second = log(sink, Ears(), room=room), log(sink, ears := Ears(), room=room)
        first.output(b"x" * 9_500, False)
        second.output(b"y" * 9_500, False)
        for each in (first, second):
            each.end()
            await each.drained()
        assert room.used == 0
        assert ears.losses[0] is not None
        assert "y" not in "".join(outputs(sink.lines))

    async def test_a_sink_that_refuses_for_a_while_gets_everything_and_that_is_told(self) -> None:
        sink, ears, left = Sink(), Ears(), [2]

        async def refuse() -> None:
            if left[0]:
                left[0] -= 1
                raise LogUnavailable("throttled")

        sink.before = refuse
        made = log(sink, ears)
        made.output(b"kept\n", False)
        made.end()
        await made.drained()
        assert outputs(sink.lines) == ["kept\n"]
        assert ears.heard == ["throttled", "throttled", "works"]
        assert ears.losses == [None]

    async def test_after_its_session_it_is_tried_for_a_while_only(self) -> None:
        async def refuse() -> None:
            raise LogUnavailable("no such log group")

        sink, ears, room = Sink(before=refuse), Ears(), Room()
        made = log(sink, ears, room=room, last_seconds=0.05)
        made.output(b"lost\n", False)
        made.end()
        await made.drained()
        assert (sink.lines, room.used) == ([], 0)
        assert ears.losses == [Loss(0, 0, 2, "no such log group")]

    async def test_what_is_never_taken_is_lost_and_the_session_goes_on(self) -> None:
        sink, ears = Sink(), Ears()
        allowed = False

        async def find() -> LogSink:
            if not allowed:
                raise LogRefused("the log group is not allowed")
            return sink

        made = log(sink, ears)
        made._find = find
        made.output(b"before\n", False)
        await until(lambda: ears.heard)
        allowed = True
        made.output(b"after\n", False)
        made.end()
        await made.drained()
        assert outputs(sink.lines) == ["after\n"]
        assert ears.losses == [Loss(0, 0, 1, "the log group is not allowed")]

    async def test_lines_that_aws_rejects_are_counted(self) -> None:
        sink, ears = Sink(rejects=1), Ears()
        made = log(sink, ears)
        made.end()
        await made.drained()
        assert ears.losses[0] is not None
        assert (ears.losses[0].lines, "too old" in ears.losses[0].reason) == (1, True)

    async def test_a_fault_of_ours_ends_the_log_and_nothing_else(self) -> None:
        async def fault() -> None:
            raise ZeroDivisionError("ours")

        sink, ears, room = Sink(before=fault), Ears(), Room()
        made = log(sink, ears, room=room)
        made.output(b"x\n", False)
        await until(lambda: made._task is None)
        made.end()
        await made.drained()
        assert room.used == 0
        assert ears.losses[0] is not None
        assert "ZeroDivisionError" in ears.losses[0].reason

    async def test_a_fault_in_what_is_told_frees_its_room(self) -> None:
        ears, room = Ears(), Room()
        made = log(Sink(), ears, room=room)
        made.note("odd", value=object())  # no JSON
        made.output(b"x\n", False)
        made.end()
        await made.drained()
        assert (room.used, made._size) == (0, 0)
        assert ears.losses[0] is not None
        assert "TypeError" in ears.losses[0].reason

    async def test_abandoned_it_lets_go_at_once_and_says_what_it_took_along(self) -> None:
        sink, ears, room, asked = Sink(), Ears(), Room(), asyncio.Event()

        async def never() -> None:
            asked.set()
            await asyncio.Event().wait()

        sink.before = never
        made = log(sink, ears, room=room)
        made.output(b"stuck\n", False)
        await asked.wait()
        made.output(b"waits\n", False)
        made.abandon()
        await made.drained()
        assert room.used == 0
        assert ears.losses == [Loss(1, 6, 1, "the gateway was stopped")]

    @pytest.mark.parametrize("when", ["before it begins", "while it tells how it went"])
    async def test_abandoned_at_its_very_begin_or_end_it_has_drained(self, when: str) -> None:
        telling = asyncio.Event()

        class Stuck(Ears):
            async def ended(self, loss: Loss | None) -> None:
                telling.set()
                await asyncio.Event().wait()

        made = log(Sink(), Stuck(), room=(room := Room()))
        made.output(b"x\n", False)
        if when != "before it begins":
            made.end()
            await telling.wait()
        made.abandon()
        async with asyncio.timeout(30):
            await made.drained()
        assert room.used == 0

    async def test_abandoned_while_it_makes_lines_it_says_so_as_well(self) -> None:
        sink, ears, room = Sink(), Ears(), Room()
        made = log(sink, ears, room=room)
        for _ in range(20):
            made.output(b"x" * 8191 + b"\n", False)
        await asyncio.sleep(0.003)  # gathered for a millisecond; then it pauses between slices
        made.abandon()
        await made.drained()
        assert room.used == 0
        assert not sink.lines
        (loss,) = ears.losses
        assert loss is not None
        assert loss.lines + loss.chunks == 20

    @pytest.mark.parametrize("printed", [b"\x1b[999@" * 20_000, b"\t" * 130_000])
    async def test_what_is_printed_to_be_slow_leaves_the_loop_to_others(self, printed: bytes) -> None:
        sink, ears = Sink(), Ears()
        made = log(sink, ears)
        async with taking_turns() as turns:
            made.output(printed, False)
            made.end()
            await made.drained()
        assert turns.longest < 1 / 4
        assert ears.losses == [None]


class TestPlain:
    async def test_a_file_gets_lines_for_its_owner_alone_and_is_made_anew_after_a_rotation(
        self, tmp_path: Path
    ) -> None:
        file = tmp_path / "sessions.jsonl"
        sink = to_file(file)
        await sink.put("s", [LogLine(1, '{"a": 1}'), LogLine(2, '{"b": "€"}')])
        assert file.read_text() == '{"a": 1}\n{"b": "€"}\n'
        assert file.stat().st_mode & 0o777 == 0o600
        file.rename(tmp_path / "sessions.jsonl.1")
        await sink.put("s", [LogLine(3, "{}")])
        assert file.read_text() == "{}\n"

    async def test_a_disk_that_is_full_is_unavailable(self) -> None:
        with pytest.raises(LogUnavailable, match="No space left"):
            await to_file(Path("/dev/full")).put("s", [LogLine(1, "{}")])

    async def test_nobody_waits_for_a_reader_that_stopped(self) -> None:
        reading, writing = os.pipe()
        stuck = threading.Event()

        def write(data: bytes) -> None:
            stuck.set()
            while data:
                data = data[os.write(writing, data) :]

        sink = Plain(write, "a pipe")
        putting = asyncio.create_task(sink.put("s", [LogLine(1, "x" * 1_000_000)]))
        await until(stuck.is_set)
        await asyncio.to_thread(lambda: None)  # the threads that others use are free
        putting.cancel()
        await asyncio.gather(putting, return_exceptions=True)
        os.set_blocking(reading, False)
        got = 0

        def drained() -> bool:
            nonlocal got
            with contextlib.suppress(BlockingIOError):
                got += len(os.read(reading, 1 << 20))
            return got == 1_000_001

        await until(drained)
        os.close(reading)
        os.close(writing)
