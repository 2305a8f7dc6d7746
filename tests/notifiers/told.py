"""Notices for tests."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from notifiers.model import (
    Action,
    Decided,
    Delivery,
    LevelView,
    Notice,
    NoticeKind,
    Recipient,
    Relation,
    Subject,
)

AT = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
HOSTILE = (
    "\u202egnp.exe <img src=x onerror=alert(1)> <!channel> @everyone [x](javascript:1) \r\nBcc: eve@example.org"
)
EMOJI = "👩🏽‍🚒" * 64  # 256 code points

SUBJECT = Subject(
    request_id="oi-3cdf121b337b",
    requester="alice",
    requester_name="Alice Liddell",
    reason="index rebuild after the incident",
    account="default",
    region="default",
    node_id="mi-3d714dc26bb37e86e",
    node_name="db-1",
    status="Pending",
    opened_at=AT,
    policy="production",
    policy_version=3,
    level=1,
    levels=(LevelView(("group sre", "user bob"), 2, 1), LevelView(("user carol",), 1, 0)),
    decisions=(Decided("bob", 1, AT, "fine with me"),),
    access_hours=8,
    decide_before=AT + timedelta(days=7),
)


def delivery(
    kind: NoticeKind = NoticeKind.APPROVAL_NEEDED,
    relation: Relation = Relation.APPROVER,
    *,
    address: dict[str, str] | None = None,
    first: dict[str, str] | None = None,
    event: int = 7,
    **subject: Any,
) -> Delivery:
    notice = Notice(
        kind,
        event,
        AT,
        "carol",
        replace(SUBJECT, **subject),
        link="https://gate.example.org/requests/oi-3cdf121b337b",
    )
    actions = (Action.APPROVE, Action.DENY) if kind is NoticeKind.APPROVAL_NEEDED else ()
    recipient = Recipient(relation, address or {"email": "bob@example.org"}, "bob")
    return Delivery(f"d-{event}-{relation}", notice, recipient, actions, first)
