"""Offsets, credit and memory of one session, seen from the node."""

import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.agent.flow import (
    INPUT_HIGH,
    INPUT_WINDOW,
    KEPT_HIGH,
    LEAST_READ,
    LEAST_WINDOW,
    MAX_CREDIT,
    MAX_PAYLOAD,
    OUTPUT_FLOOR,
    OUTPUT_HIGH,
    BrokenFrames,
    Budget,
    Input,
    Output,
)
from jitgate.v1.session_pb2 import SESSION_STREAM_MAIN, SESSION_STREAM_STDERR, SessionStream


@given(
    st.lists(
        st.tuples(
            st.sampled_from([SESSION_STREAM_MAIN, SESSION_STREAM_STDERR]), st.binary(min_size=1, max_size=900)
        ),
        max_size=20,
    ),
    st.data(),
)
@settings(max_examples=100)
def test_output_goes_out_whole_in_order_and_within_its_credit(
    chunks: "list[tuple[SessionStream.ValueType, bytes]]", data: st.DataObject
) -> None:
    budget = Budget()
    output = Output(budget)
    for stream, chunk in chunks:
        output.add(stream, chunk)
    sent: list[tuple[int, bytes]] = []
    offset = credit = 0
    while output.size:
        granted = data.draw(st.integers(1, 1000))
        output.grant(granted)
        credit += granted
        while (taken := output.take()) is not None:
            at, stream, payload = taken
            assert at == offset and len(payload) <= credit
            offset += len(payload)
            credit -= len(payload)
            sent += [(stream, payload[index : index + 1]) for index in range(len(payload))]
    assert sent == [(stream, chunk[index : index + 1]) for stream, chunk in chunks for index in range(len(chunk))]
    assert budget.used == 0


@pytest.mark.parametrize(("is_kept", "limit"), [(False, OUTPUT_HIGH), (True, KEPT_HIGH)])
def test_there_is_room_up_to_the_limit_and_to_the_floor_when_the_budget_is_spent(
    is_kept: bool, limit: int
) -> None:
    output = Output(Budget(), is_kept=is_kept)
    assert output.room == limit
    output.add(SESSION_STREAM_MAIN, bytes(limit - LEAST_READ))
    assert output.room == LEAST_READ
    output.add(SESSION_STREAM_MAIN, b"x")
    assert output.room == 0
    output.grant(MAX_CREDIT)
    taken = output.take()
    assert taken is not None and len(taken[2]) == MAX_PAYLOAD
    assert bool(output.room) is not is_kept  # what is kept still takes its room
    budget = Budget(1000)
    greedy, modest = (Output(budget, is_kept=is_kept) for _ in range(2))
    greedy.add(SESSION_STREAM_MAIN, bytes(OUTPUT_FLOOR))
    modest.add(SESSION_STREAM_MAIN, b"x")
    assert greedy.room == 0 and modest.room == OUTPUT_FLOOR - 1
    greedy.drop()
    assert budget.used == 1 and modest.room == limit - 1


Said = st.lists(
    st.one_of(
        st.tuples(
            st.just("add"),
            st.sampled_from([SESSION_STREAM_MAIN, SESSION_STREAM_STDERR]),
            st.one_of(st.binary(min_size=1, max_size=3), st.binary(min_size=2000, max_size=6000)),
        ),
        st.tuples(st.just("take"), st.integers(1, 9000)),
        st.tuples(st.just("durable"), st.floats(0, 1)),
        st.tuples(st.just("rewind"), st.floats(0, 1)),
    ),
    max_size=60,
)


@given(Said)
@settings(max_examples=200)
def test_kept_output_is_the_same_from_every_offset_on(steps: "list[tuple[Any, ...]]") -> None:
    budget = Budget()
    output = Output(budget, is_kept=True)
    said = bytearray()
    streams = bytearray()
    oldest = cursor = 0
    for step in steps:
        if step[0] == "add":
            output.add(step[1], step[2])
            said += step[2]
            streams += bytes((step[1],)) * len(step[2])
        elif step[0] == "take":
            output.rewind(cursor)  # which takes what is left of the credit
            output.grant(step[1])
            while (taken := output.take()) is not None:
                offset, stream, payload = taken
                assert offset == cursor
                cursor += len(payload)
                assert payload == said[offset:cursor]
                assert set(streams[offset:cursor]) == {stream}
            assert cursor <= len(said)
        elif step[0] == "durable":
            oldest += int((cursor - oldest) * step[1])
            output.durable(oldest)
        else:
            cursor = oldest + int((len(said) - oldest) * step[1])
            output.rewind(cursor)
        assert (output.oldest, output.cursor, output.newest) == (oldest, cursor, len(said))
        assert budget.used == output.size == len(said) - oldest
    output.drop()
    assert budget.used == 0 and output.take() is None


@pytest.mark.parametrize("offset", [9, 51])
def test_what_is_not_kept_or_was_not_said_cannot_be_asked_for(offset: int) -> None:
    output = kept(said=50, sent=30)
    output.durable(10)
    with pytest.raises(BrokenFrames):
        output.rewind(offset)
    output.rewind(10)
    output.rewind(50)


@pytest.mark.parametrize("offset", [9, 31])
def test_durable_goes_forward_and_not_beyond_what_was_sent(offset: int) -> None:
    output = kept(said=50, sent=30)
    output.durable(10)
    output.durable(10)
    with pytest.raises(BrokenFrames):
        output.durable(offset)
    output.rewind(10)
    with pytest.raises(BrokenFrames):
        output.durable(11)
    with pytest.raises(BrokenFrames):
        Output(Budget()).durable(0)


def test_output_that_comes_byte_by_byte_costs_little_more_than_its_bytes() -> None:
    """One stream, or both by turns, before it is sent and after."""
    for streams in ((SESSION_STREAM_MAIN,), (SESSION_STREAM_MAIN, SESSION_STREAM_STDERR)):
        output = Output(Budget(), is_kept=True)
        tracemalloc.start()
        for number in range(1 << 16):
            output.add(streams[number % len(streams)], b"%d" % (number % 10))
        assert tracemalloc.get_traced_memory()[0] < 4 << 16
        output.grant(MAX_CREDIT)
        while output.take() is not None:
            pass
        assert tracemalloc.get_traced_memory()[0] < 4 << 16
        tracemalloc.stop()
        output.rewind(1 << 15)
        output.grant(1)
        assert output.take() == (1 << 15, streams[0], b"8")


def kept(*, said: int, sent: int) -> Output:
    output = Output(Budget(), is_kept=True)
    output.add(SESSION_STREAM_MAIN, bytes(said))
    output.grant(sent)
    output.take()
    return output


@pytest.mark.parametrize("credit", [0, MAX_CREDIT + 1])
def test_impossible_credit_is_refused(credit: int) -> None:
    with pytest.raises(BrokenFrames):
        Output(Budget()).grant(credit)


@pytest.mark.parametrize(("offset", "size"), [(1, 1), (0, 0), (0, MAX_PAYLOAD + 1)])
def test_input_that_breaks_the_contract_is_refused(offset: int, size: int) -> None:
    with pytest.raises(BrokenFrames):
        Input().add(offset, bytes(size))


def test_input_backwards_beyond_credit_or_after_its_end_is_refused() -> None:
    given_ = Input()
    given_.add(0, b"abc")
    with pytest.raises(BrokenFrames):
        given_.add(0, b"abc")
    given_.add(3, bytes(INPUT_WINDOW - 3))
    with pytest.raises(BrokenFrames):
        given_.add(INPUT_WINDOW, b"x")
    other = Input()
    other.ended = True
    with pytest.raises(BrokenFrames):
        other.add(0, b"x")


def test_credit_comes_back_as_the_process_takes_its_input() -> None:
    given_ = Input()
    given_.add(0, bytes(INPUT_WINDOW))
    assert given_.regrant() == 0
    first = given_.peek()
    assert first is not None and len(first) == INPUT_WINDOW
    given_.took(INPUT_WINDOW // 2)
    assert given_.regrant() == INPUT_WINDOW // 2
    given_.add(INPUT_WINDOW, b"x")
    given_.took(INPUT_WINDOW // 2)
    assert bytes(given_.peek() or b"") == b"x"


def test_a_further_call_begins_with_a_fresh_credit_that_the_earlier_ones_do_not_use() -> None:
    given_ = Input()
    given_.add(0, bytes(100_000))
    assert given_.renew() == INPUT_WINDOW and given_.offset == 100_000
    given_.add(100_000, bytes(MAX_PAYLOAD))
    given_.took(100_000)
    assert given_.regrant() == 0  # nothing that this call brought was taken
    given_.took(INPUT_WINDOW // 2)
    assert given_.regrant() == INPUT_WINDOW // 2


def test_calls_that_come_and_go_pile_up_no_input() -> None:
    given_ = Input()
    for _ in range(20):
        credit = given_.renew()
        given_.add(given_.offset, bytes(credit))
    assert credit == LEAST_WINDOW
    assert given_.offset <= INPUT_HIGH + INPUT_WINDOW + 20 * LEAST_WINDOW
    while (piece := given_.peek()) is not None:
        given_.took(len(piece))
    assert given_.regrant() == LEAST_WINDOW
    assert given_.renew() == INPUT_WINDOW


def test_input_that_comes_byte_by_byte_costs_little_more_than_its_bytes() -> None:
    given_ = Input()
    tracemalloc.start()
    for number in range(1 << 16):
        given_.add(number, b"%d" % (number % 10))
    assert tracemalloc.get_traced_memory()[0] < 4 << 16
    tracemalloc.stop()
    first = given_.peek()
    assert first is not None and bytes(first[:11]) == b"01234567890"
