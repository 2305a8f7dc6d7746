import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Refused
from gateway.sessions.flow import (
    CONTROL_BURST,
    INPUT_WINDOW,
    OUTPUT_HIGH,
    OUTPUT_LOW,
    SCARCE_WINDOW,
    Budget,
    Inward,
    Outward,
    Pace,
)
from gateway.sessions.frames import MAX_CREDIT, MAX_PAYLOAD
from jitgate.v1.session_pb2 import SessionFrame


@pytest.mark.parametrize(
    ("offset", "size", "words"),
    [(1, 1, "offset 1"), (0, MAX_PAYLOAD + 1, "at most"), (0, INPUT_WINDOW - 99, "credit")],
)
def test_input_that_breaks_the_contract(offset: int, size: int, words: str) -> None:
    inward = Inward(credit=INPUT_WINDOW - 100)
    with pytest.raises(Refused, match="BROKEN_FRAMES") as caught:
        inward.take(offset, size)
    assert words in caught.value.message
    assert inward.offset == 0


def test_credit_is_granted_in_halves_of_the_window() -> None:
    inward = Inward()
    inward.take(0, 1)
    assert not inward.is_due
    inward.take(1, INPUT_WINDOW // 2)
    assert inward.is_due
    assert inward.regrant(scarce=False) == INPUT_WINDOW // 2 + 1
    assert inward.credit == INPUT_WINDOW


def test_scarce_memory_leaves_a_small_window_and_never_none() -> None:
    inward = Inward()
    inward.take(0, INPUT_WINDOW // 2)
    assert inward.regrant(scarce=True) == 0
    inward.take(INPUT_WINDOW // 2, INPUT_WINDOW // 2)
    assert inward.credit == 0
    assert inward.regrant(scarce=True) == SCARCE_WINDOW


def test_output_waits_for_credit_and_is_cut_to_it() -> None:
    outward = Outward(3, Budget())
    outward.add(0, b"abcdef")
    frame = outward.next_frame()
    assert frame is not None
    assert SessionFrame.FromString(frame).data.payload == b"abc"
    assert outward.next_frame() is None
    outward.grant(10)
    frame = outward.next_frame()
    assert frame is not None
    sent = SessionFrame.FromString(frame).data
    assert (sent.payload, sent.offset) == (b"def", 3)


@pytest.mark.parametrize("credit", [0, MAX_CREDIT + 1, MAX_CREDIT])
def test_credit_out_of_bounds(credit: int) -> None:
    with pytest.raises(Refused, match="BROKEN_FRAMES"):
        Outward(1, Budget()).grant(credit)


def test_what_waits_is_bounded_and_counted() -> None:
    budget = Budget(limit=OUTPUT_HIGH * 4)
    outward = Outward(0, budget)
    outward.add(0, bytes(OUTPUT_HIGH))
    assert not outward.is_full
    outward.add(0, b"x")
    assert outward.is_full
    assert budget.used == OUTPUT_HIGH + 1
    outward.grant(OUTPUT_HIGH - OUTPUT_LOW + 1)
    while outward.next_frame():
        assert budget.used == outward.size
    assert outward.is_low
    assert outward.drop() == OUTPUT_LOW
    assert budget.used == 0


def test_a_spent_budget_pauses_everybody_at_once_and_starves_nobody() -> None:
    budget = Budget(limit=100)
    hog, other = Outward(0, budget), Outward(10, budget)
    hog.add(0, bytes(100))
    assert hog.is_full
    assert other.is_low  # nothing of its own waits: it may go on
    other.add(0, b"x")
    assert other.is_full
    assert other.next_frame() is not None
    assert other.is_low


@given(st.lists(st.tuples(st.sampled_from((0, 1)), st.binary(max_size=50)), max_size=20), st.data())
def test_every_byte_once_and_in_order(chunks: list[tuple[int, bytes]], draw: st.DataObject) -> None:
    outward = Outward(0, Budget())
    for stream, chunk in chunks:
        outward.add(stream, chunk)
    seen: dict[int, bytes] = {0: b"", 1: b""}
    offset = 0
    while outward.size:
        outward.grant(draw.draw(st.integers(1, 60)))
        while (frame := outward.next_frame()) is not None:
            sent = SessionFrame.FromString(frame).data
            assert sent.offset == offset
            offset += len(sent.payload)
            seen[sent.stream] += sent.payload
    for stream in (0, 1):
        assert seen[stream] == b"".join(chunk for of, chunk in chunks if of == stream)


def test_control_frames_come_at_a_persons_pace() -> None:
    pace = Pace()
    for _ in range(CONTROL_BURST):
        pace.take(5.0)
    with pytest.raises(Refused, match="BROKEN_FRAMES"):
        pace.take(5.0)
    pace.take(6.0)
