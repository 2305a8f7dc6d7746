"""Offsets, credit and memory of one session, seen from the node."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.agent.flow import (
    INPUT_WINDOW,
    MAX_CREDIT,
    MAX_PAYLOAD,
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


def test_output_is_full_at_its_limit_or_when_the_budget_is_spent() -> None:
    budget = Budget(1000)
    greedy, modest, empty = (Output(budget) for _ in range(3))
    greedy.add(SESSION_STREAM_MAIN, bytes(999))
    modest.add(SESSION_STREAM_MAIN, b"x")
    assert greedy.is_full and modest.is_full and not empty.is_full
    greedy.drop()
    assert not modest.is_full and budget.used == 1
    large = Output(Budget())
    large.add(SESSION_STREAM_MAIN, bytes(OUTPUT_HIGH))
    assert large.is_full
    large.grant(MAX_CREDIT)
    taken = large.take()
    assert taken is not None and len(taken[2]) == MAX_PAYLOAD


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
