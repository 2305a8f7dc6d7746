"""What a node sends is read in slices, in order and to the end; everybody else has turns between them (R25)."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.nodes.pacing import LARGEST_SLICE, SMALLEST_SLICE, PacedReading


class Transport(asyncio.Transport):
    """Remembers whether it is to read."""

    def __init__(self) -> None:
        super().__init__()
        self.is_reading_now = True

    def pause_reading(self) -> None:
        assert self.is_reading_now
        self.is_reading_now = False

    def resume_reading(self) -> None:
        assert not self.is_reading_now
        self.is_reading_now = True


class Reader(asyncio.Protocol):
    """Takes so many seconds a byte, by a clock of its own."""

    def __init__(self, seconds_a_byte: float) -> None:
        self._cost = seconds_a_byte
        self.now = 0.0
        self.slices: list[bytes] = []
        self.told: list[object] = []

    def data_received(self, data: bytes) -> None:
        assert not self.told
        self.now += len(data) * self._cost
        self.slices.append(data)

    def eof_received(self) -> bool:
        self.told.append("eof")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append(exc)


def paced(seconds_a_byte: float) -> tuple[PacedReading, Transport, Reader]:
    transport, reader = Transport(), Reader(seconds_a_byte)
    return PacedReading(transport, reader, steady=lambda: reader.now), transport, reader


async def settled(reader: Reader, size: int) -> int:
    """Waits for `size` bytes; how many turns of the loop that took."""
    turns = 0
    while sum(map(len, reader.slices)) < size:
        turns += 1
        assert turns < 10_000
        await asyncio.sleep(0)
    return turns


@pytest.mark.rule("R25")
async def test_a_node_that_is_slow_to_read_leaves_turns_to_everybody_else() -> None:
    paced_reading, transport, reader = paced(seconds_a_byte=1e-6)  # a full read takes a quarter of a second
    turns = 0
    for _ in range(8):
        paced_reading.data_received(bytes(LARGEST_SLICE))
        turns += await settled(reader, (_ + 1) * LARGEST_SLICE)
        await asyncio.sleep(0)
        assert transport.is_reading_now
    longest = max(map(len, reader.slices[-50:]))
    assert longest * 1e-6 <= 0.002
    assert turns > 500


async def test_quick_reading_is_soon_not_cut() -> None:
    paced_reading, transport, reader = paced(seconds_a_byte=1e-10)
    for number in range(1, 6):
        paced_reading.data_received(bytes(LARGEST_SLICE))
        await settled(reader, number * LARGEST_SLICE)
        await asyncio.sleep(0)
    assert [len(each) for each in reader.slices[-3:]] == [LARGEST_SLICE] * 3
    assert transport.is_reading_now


async def test_slices_grow_again() -> None:
    paced_reading, _, reader = paced(seconds_a_byte=1e-3)
    paced_reading.data_received(bytes(LARGEST_SLICE))
    await settled(reader, LARGEST_SLICE)
    assert len(reader.slices[-1]) <= SMALLEST_SLICE
    reader._cost = 0.0
    for number in range(2, 5):
        paced_reading.data_received(bytes(LARGEST_SLICE))
        await settled(reader, number * LARGEST_SLICE)
    assert len(reader.slices[-1]) == LARGEST_SLICE


async def test_nothing_is_read_from_the_socket_while_something_waits() -> None:
    paced_reading, transport, reader = paced(seconds_a_byte=1e-3)
    paced_reading.data_received(bytes(LARGEST_SLICE))
    paced_reading.data_received(bytes(100_000))
    assert not transport.is_reading_now
    await settled(reader, LARGEST_SLICE + 100_000)
    assert transport.is_reading_now


@pytest.mark.parametrize("is_eof", [True, False])
async def test_the_tail_comes_before_the_end(is_eof: bool) -> None:
    paced_reading, _, reader = paced(seconds_a_byte=1e-3)
    data = bytes(range(256)) * 2000
    paced_reading.data_received(data[:LARGEST_SLICE])
    paced_reading.data_received(data[LARGEST_SLICE:])
    if is_eof:
        assert paced_reading.eof_received()
    else:
        paced_reading.connection_lost(None)
    assert b"".join(reader.slices) == data
    assert len(reader.told) == 1
    await asyncio.sleep(0)  # what was scheduled finds nothing to do
    assert b"".join(reader.slices) == data


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=5000), max_size=20), st.sampled_from([0.0, 1e-7, 1e-5, 1e-3]))
def test_whatever_comes_arrives_in_order(chunks: list[bytes], cost: float) -> None:
    async def scenario() -> bytes:
        paced_reading, _, reader = paced(cost)
        for chunk in chunks:
            paced_reading.data_received(chunk)
            await asyncio.sleep(0)
        await settled(reader, sum(map(len, chunks)))
        return b"".join(reader.slices)

    assert asyncio.run(scenario()) == b"".join(chunks)
