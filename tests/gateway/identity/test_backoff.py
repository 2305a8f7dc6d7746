from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity import backoff
from gateway.identity.backoff import FORGET_AFTER, Rule
from gateway.store.sign_ins import Failures

NOW = datetime(2026, 3, 1, tzinfo=UTC)
RULE = Rule("test", 3, timedelta(minutes=15))


def test_the_first_failures_cost_nothing_then_the_wait_doubles_to_its_longest() -> None:
    known, waits = None, []
    for _ in range(16):
        known = RULE.after_failure(known, NOW)
        waits.append(int(RULE.wait(known, NOW).total_seconds()))
    assert waits == [0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]


def test_failures_are_forgotten_after_a_day() -> None:
    assert RULE.after_failure(Failures(50, NOW - FORGET_AFTER), NOW).count == 51
    assert RULE.after_failure(Failures(50, NOW - FORGET_AFTER - timedelta(seconds=1)), NOW).count == 1


def test_a_clock_that_ran_back_blocks_nobody_for_years() -> None:
    known = RULE.after_failure(Failures(50, NOW), NOW)
    assert RULE.wait(known, NOW - timedelta(days=365)) == timedelta()


@given(count=st.integers(0, 100_000), passed=st.timedeltas(timedelta(), timedelta(days=2)))
def test_no_wait_is_longer_than_the_longest_or_survives_it(count: int, passed: timedelta) -> None:
    known = RULE.after_failure(Failures(count, NOW), NOW)
    wait = RULE.wait(known, NOW + passed)
    assert timedelta() <= wait <= RULE.longest
    assert not wait or passed < RULE.longest


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix", "unix"),
        ("", ""),
        ("x" * 500, "x" * 64),
    ],
)
def test_what_counts_as_one_source(address: str, source: str) -> None:
    assert backoff.source_of(address) == source


@given(st.text(max_size=64))
def test_keys_fit_their_column_and_hold_nothing_that_was_typed(user_id: str) -> None:
    source = backoff.source_of("2001:db8:1111:2222:3333:4444:5555:6666")
    keys = [
        backoff.user_key(user_id),
        backoff.user_at_source_key(user_id, source),
        backoff.source_key("x" * 64),
        backoff.chat_person_key("x" * 32, user_id),
        backoff.chat_key("x" * 32, user_id),
    ]
    assert len(set(keys)) == len(keys)
    assert all(len(key) <= 128 and key.isascii() for key in keys)
    assert len(user_id) < 8 or not any(user_id in key for key in keys)
