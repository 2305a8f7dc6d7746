"""Events, journal and segments as bytes: everything comes back, nothing broken passes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder import canonical
from recorder.errors import DamagedRecording, RecorderError
from recorder.events import HEAD, Batch, Tally, gap_of, gap_payload, input_payload, kind_of
from recorder.journal import Part, read_part
from recorder.model import GENESIS, Event, Gap, Kind, SegmentEntry, Stream
from recorder.sealing import journal_seal
from recorder.segment import Place, entry_of, open_segment, seal_segment
from tests.recorder.conftest import session

KEY = bytes(range(32))
PLACE = Place(session().session_id, 1, 3, GENESIS)

payloads = st.one_of(
    st.tuples(st.sampled_from([Kind.OUTPUT, Kind.STDERR, Kind.SIGNAL]), st.binary(max_size=300)),
    st.tuples(st.just(Kind.INPUT), st.integers(0, 2**32 - 1).map(input_payload)),
    st.tuples(st.just(Kind.INPUT_CONTENT), st.binary(min_size=17, max_size=100)),
    st.tuples(st.just(Kind.RESIZE), st.binary(min_size=4, max_size=4)),
    st.tuples(st.just(Kind.EXIT), st.binary(min_size=4, max_size=4)),
    st.tuples(st.just(Kind.NOTICE), st.text(max_size=20).map(str.encode)),
)
happenings = st.lists(st.tuples(payloads, st.integers(0, 2**40)), min_size=1, max_size=30)


def start() -> Tally:
    return Tally(80, 24)


def batch_of(happened: list[tuple[tuple[Kind, bytes], int]]) -> Batch:
    batch = Batch(start())
    for (kind, payload), time_us in happened:
        batch.add(kind, time_us, payload)
    return batch


def journal_of(batch: Batch, number: int = 0) -> bytes:
    """The file that a part with these events is."""
    with tempfile.TemporaryDirectory() as folder:
        part = Part(Path(folder) / "part", number, journal_seal(KEY), start())
        for event in batch.events():
            part.write(event.kind, event.time_us, event.offset, event.payload)
        part.close()
        part.close()
        assert part.batch is not None
        assert (part.batch.heads, part.batch.payloads) == (batch.heads, batch.payloads)
        return part.path.read_bytes()


def read(data: bytes, number: int = 0) -> tuple[list[Event], int]:
    reading = read_part(data, number, journal_seal(KEY), start())
    return list(reading.batch.events()), reading.torn


def sizes(data: bytes) -> list[int]:
    """Where each record of a journal ends."""
    ends, position = [], 0
    while position < len(data):
        position += 4 + int.from_bytes(data[position : position + 4], "big")
        ends.append(position)
    return ends


@settings(max_examples=60, deadline=None)
@given(happenings)
def test_a_journal_gives_back_what_was_written(happened: list[tuple[tuple[Kind, bytes], int]]) -> None:
    batch = batch_of(happened)
    events, torn = read(journal_of(batch))
    assert events == list(batch.events())
    assert torn == 0


def test_a_journal_cut_at_any_byte_keeps_every_whole_record() -> None:
    batch = batch_of([((Kind.OUTPUT, b"x" * length), length) for length in (1, 30, 7, 2)])
    data, whole = journal_of(batch), list(batch.events())
    ends = sizes(data)
    for cut in range(len(data) + 1):
        events, torn = read(data[:cut])
        complete = sum(end <= cut for end in ends)
        assert events == whole[:complete]
        assert torn == cut - (ends[complete - 1] if complete else 0)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_changed_byte_becomes_a_gap_and_the_rest_is_read(data: st.DataObject) -> None:
    batch = batch_of([((Kind.OUTPUT, bytes([65 + n]) * (n + 1)), n) for n in range(6)])
    journal, whole = bytearray(journal_of(batch)), list(batch.events())
    ends = [0, *sizes(bytes(journal))]
    at = data.draw(st.integers(0, len(journal) - 1))
    journal[at] ^= data.draw(st.integers(1, 255))
    events, torn = read(bytes(journal))
    hit = max(number for number, begin in enumerate(ends) if begin <= at)
    told = [event for event in events if event.kind is not Kind.GAP]
    assert told[:hit] == whole[:hit]
    assert all(event in whole for event in told)  # with their offsets
    assert len(told) < len(whole)
    assert torn or any(event.kind is Kind.GAP for event in events)
    if at - ends[hit] >= 4:
        assert told == whole[:hit] + whole[hit + 1 :]


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_garbage_is_no_journal_and_no_segment(garbage: bytes) -> None:
    events, _ = read(garbage)
    assert all(event.kind is Kind.GAP for event in events)
    with pytest.raises(DamagedRecording):
        open_segment(garbage, PLACE, KEY)


def test_zeros_after_a_power_cut_are_counted_as_a_gap() -> None:
    batch = batch_of([((Kind.OUTPUT, b"kept"), 9)])
    events, torn = read(journal_of(batch) + bytes(4096))
    assert (events[0].payload, torn) == (b"kept", 0)
    assert gap_of(events[1].payload)[2] == 4096
    assert events[1].time_us == 9


def test_records_and_parts_cannot_change_places() -> None:
    batch = batch_of([((Kind.OUTPUT, b"aa"), 1), ((Kind.OUTPUT, b"bb"), 2)])
    data = journal_of(batch)
    half = len(data) // 2
    events, _ = read(data[half:] + data[:half])
    assert [event.kind for event in events] == [Kind.GAP]
    assert [event.kind for event in read(data, number=1)[0]] == [Kind.GAP]


@settings(max_examples=60, deadline=None)
@given(happenings)
def test_a_segment_gives_back_its_events(happened: list[tuple[tuple[Kind, bytes], int]]) -> None:
    batch = batch_of(happened)
    blob, entry = seal_segment(PLACE, KEY, batch)
    opened = open_segment(blob, PLACE, KEY)
    assert list(opened.events()) == list(batch.events())
    assert entry_of(blob, opened) == entry
    assert opened.begins_with(batch, len(batch))


def test_sealing_twice_never_uses_a_key_and_nonce_twice() -> None:
    batch = batch_of([((Kind.OUTPUT, b"same"), 1)])
    one, two = seal_segment(PLACE, KEY, batch)[0], seal_segment(PLACE, KEY, batch)[0]
    assert one[:70] == two[:70]
    assert one[70:86] != two[70:86]  # the salt of the key
    assert one[86:] != two[86:]


def test_a_segment_cut_or_changed_at_any_byte_does_not_open() -> None:
    blob, _ = seal_segment(PLACE, KEY, batch_of([((Kind.OUTPUT, b"hello"), 1)]))
    for at in range(len(blob)):
        with pytest.raises(DamagedRecording):
            open_segment(blob[:at], PLACE, KEY)
        with pytest.raises(DamagedRecording):
            open_segment(blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :], PLACE, KEY)


@pytest.mark.parametrize(
    "elsewhere",
    [
        Place(session(2).session_id, 1, 3, GENESIS),
        Place(PLACE.session_id, 2, 3, GENESIS),
        Place(PLACE.session_id, 1, 4, GENESIS),
        Place(PLACE.session_id, 1, 3, b"\x01" * 32),
    ],
)
def test_a_segment_opens_only_where_it_belongs(elsewhere: Place) -> None:
    blob, _ = seal_segment(PLACE, KEY, batch_of([((Kind.OUTPUT, b"hello"), 1)]))
    with pytest.raises(DamagedRecording):
        open_segment(blob, elsewhere, KEY)
    with pytest.raises(DamagedRecording):
        open_segment(blob, PLACE, bytes(32))


def test_columns_that_do_not_fit_each_other_are_refused() -> None:
    head = HEAD.pack(Kind.OUTPUT << 24 | 3, 0)
    Batch(start(), bytearray(head), bytearray(b"abc")).check()
    for heads, column in ((head, b"ab"), (head, b"abcd"), (head[:-1], b"abc"), (b"", b"a")):
        with pytest.raises(DamagedRecording):
            Batch(start(), bytearray(heads), bytearray(column)).check()


def test_kinds_and_payloads_from_elsewhere_are_refused() -> None:
    with pytest.raises(DamagedRecording, match="newer version"):
        kind_of(99 << 24)
    tally = start()
    for kind, payload in (
        (Kind.RESIZE, b"abc"),
        (Kind.INPUT, b""),
        (Kind.INPUT_CONTENT, b"short"),
        (Kind.EXIT, b"a"),
        (Kind.GAP, b"\x09" + bytes(16)),
        (Kind.GAP, bytes(16)),
        (Kind.END, b"\xff"),
    ):
        with pytest.raises(DamagedRecording):
            tally.take(kind, 0, payload)


def test_a_gap_moves_the_offset() -> None:
    tally = start()
    tally.take(Kind.GAP, 5, gap_payload(Stream.STDERR, 70, 9, "lost"))
    assert (tally.stderr, tally.output, tally.gaps) == (70, 0, [Gap(5, 9, "lost")])


ENTRY = SegmentEntry(0, 1, "ab", 2, 3, 4, 5, 80, 24)


def test_canonical_json_has_one_form() -> None:
    text = canonical.dump(ENTRY)
    assert canonical.build(SegmentEntry, canonical.load(text)) == ENTRY
    assert text.startswith(b'{"columns":80,"events":3,')


@pytest.mark.parametrize(
    "change",
    [
        (b'"columns":80,', b""),
        (b'"columns":80', b'"columns":80,"more":1'),
        (b'"columns":80', b'"columns":"80"'),
        (b'"columns":80', b'"columns":80.0'),
        (b'"columns":80', b'"columns":true'),
        (b'"columns":80', b'"columns":null'),
        (b'"ab"', b'"\\ud800"'),
        (b"}", b""),
        (b"{", b"[" * 100_000 + b"{"),
    ],
)
def test_another_form_is_refused(change: tuple[bytes, bytes]) -> None:
    text = canonical.dump(ENTRY).replace(*change)
    with pytest.raises(DamagedRecording):
        canonical.build(SegmentEntry, canonical.load(text))


def test_a_session_that_could_leave_its_folder_is_refused() -> None:
    for bad in ({"session_id": "s-1"}, {"account": "../x"}, {"region": ""}, {"columns": 70_000}):
        with pytest.raises(RecorderError):
            session(1, **{"session_id": session().session_id, **bad})
