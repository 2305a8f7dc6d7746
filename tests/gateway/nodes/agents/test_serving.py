"""What one call of an agent may carry."""

import pytest

from gateway.errors import Refused
from gateway.nodes.agents.serving import SMALL_FRAMES_BURST, SMALL_FRAMES_PER_SECOND, Pace


def test_small_frames_may_come_in_bursts_and_then_at_their_pace() -> None:
    pace = Pace()
    for _ in range(SMALL_FRAMES_BURST):
        pace.take(1000.0)
    for _ in range(SMALL_FRAMES_PER_SECOND):
        pace.take(1001.0)
    with pytest.raises(Refused, match="a flood of small frames"):
        pace.take(1001.0)
