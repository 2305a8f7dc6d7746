"""Whether the agent of a node is there, and will be tomorrow."""

from datetime import datetime, timedelta
from typing import Final

from gateway.nodes.check import clock_check
from gateway.nodes.model import Node, NodeCheck

CLOCK_SKEW: Final = "clock_skew_seconds"
"""The property that says how far the node's clock was ahead of the gateway's when its agent connected."""

_HEARD_WITHIN: Final = timedelta(seconds=60)
"""Gateways note more often than that which agents they hear of."""
_RENEWED_BEFORE: Final = timedelta(days=2)
"""An agent that is connected has a new certificate before so little is left of the old one."""
_REGISTER: Final = "Remove the node (jit nodes remove), empty the agent's state folder, and register it anew."
_LOOK: Final = "On the node: jitgate-agent status; journalctl -u jitgate-agent"


def check_agent(node: Node, login: str, certified_until: datetime | None, now: datetime) -> tuple[NodeCheck, ...]:
    """Steps "agent", "certificate", "clock", as far as they can be known. There is nothing to log in to."""
    found = [_connection(node, login, now)]
    if certified_until is not None:
        found.append(_certificate(certified_until, now))
    if skew := node.properties.get(CLOCK_SKEW):
        found.append(clock_check(int(skew)))
    return tuple(found)


def _connection(node: Node, login: str, now: datetime) -> NodeCheck:
    seen = node.last_seen_at
    if not node.attached_to:
        since = f"since {moment(seen)}" if seen else "and never was"
        message = f"its agent is not connected {since}"
        advice = f"{_LOOK}. A firewall, a proxy or a wrong clock keeps it from the gateway."
    elif seen is None or now - seen > _HEARD_WITHIN:
        message = f"nothing was heard of its agent since {moment(seen)}: its gateway may be gone"
        advice = f"The agent connects again by itself within two minutes. If it does not: {_LOOK}"
    else:
        return NodeCheck("agent", True, f"its agent is connected; sessions run as {login}")
    return NodeCheck("agent", False, message, advice)


def _certificate(until: datetime, now: datetime) -> NodeCheck:
    if until <= now:
        return NodeCheck("certificate", False, f"its agent's certificate has expired, {moment(until)}", _REGISTER)
    if until - now < _RENEWED_BEFORE:
        return NodeCheck(
            "certificate",
            False,
            f"its agent's certificate expires {moment(until)} and was not renewed",
            f"Only an agent that is connected renews it. {_LOOK}",
        )
    return NodeCheck("certificate", True, f"its agent's certificate holds until {moment(until)}")


def moment(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else "it was registered"
