"""What is said of a node's agent: whether it is there, and whether it will be tomorrow."""

from dataclasses import replace
from datetime import timedelta

from gateway.nodes.agents.check import CLOCK_SKEW, check_agent
from gateway.nodes.model import Node, NodeCheck, SshEndpoint
from tests.gateway.nodes.conftest import NODE_ID, NOW

DIALS = Node(
    id=NODE_ID,
    name="rack-1",
    account="default",
    region="default",
    connector="agent",
    endpoint=SshEndpoint("", 0),
    created_at=NOW,
    attached_to="r-1",
    last_seen_at=NOW - timedelta(seconds=20),
    properties={CLOCK_SKEW: "-3"},
)
HOLDS = NOW + timedelta(days=5)


def of(node: Node, step: str, certified_until: timedelta = timedelta(days=5)) -> NodeCheck:
    checks = check_agent(node, "deploy", NOW + certified_until, NOW)
    assert [check.step for check in checks] == ["agent", "certificate", "clock"]
    assert all(check.what_to_do for check in checks if not check.passed)
    return next(check for check in checks if check.step == step)


def test_all_is_well() -> None:
    assert all(check.passed for check in check_agent(DIALS, "deploy", HOLDS, NOW))
    assert "run as deploy" in of(DIALS, "agent").message


def test_an_agent_that_is_away_or_never_came() -> None:
    away = of(replace(DIALS, attached_to=""), "agent")
    assert not away.passed and "since 2031-05-06 07:07:49 UTC" in away.message
    never = of(replace(DIALS, attached_to="", last_seen_at=None), "agent")
    assert not never.passed and "never was" in never.message


def test_a_connection_that_nobody_hears_of_any_more() -> None:
    """What a gateway leaves in the database that was killed."""
    stale = of(replace(DIALS, last_seen_at=NOW - timedelta(seconds=61)), "agent")
    assert not stale.passed and "may be gone" in stale.message
    assert of(replace(DIALS, last_seen_at=NOW - timedelta(seconds=60)), "agent").passed


def test_a_certificate_that_was_not_renewed_or_has_expired() -> None:
    late = of(DIALS, "certificate", timedelta(days=1, hours=23))
    assert not late.passed and "was not renewed" in late.message
    expired = of(DIALS, "certificate", timedelta())
    assert not expired.passed and "has expired" in expired.message and "register it anew" in expired.what_to_do


def test_a_clock_that_is_wrong() -> None:
    behind = of(replace(DIALS, properties={CLOCK_SKEW: "-61"}), "clock")
    assert not behind.passed and "61 seconds behind" in behind.message and "NTP" in behind.what_to_do
    assert "3600 seconds ahead of" in of(replace(DIALS, properties={CLOCK_SKEW: "3600"}), "clock").message
    assert of(replace(DIALS, properties={CLOCK_SKEW: "60"}), "clock").passed


def test_what_is_not_known_is_not_said() -> None:
    checks = check_agent(replace(DIALS, properties={}), "deploy", None, NOW)
    assert [check.step for check in checks] == ["agent"]
