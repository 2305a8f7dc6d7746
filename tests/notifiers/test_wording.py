"""What notices say."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from notifiers.model import NoticeKind, Relation
from notifiers.text import cut, shown
from notifiers.wording import LABELS, Templates, Wording
from tests.notifiers.told import EMOJI, HOSTILE, delivery


@pytest.mark.parametrize("relation", Relation)
@pytest.mark.parametrize("kind", NoticeKind)
@pytest.mark.parametrize("level", [0, 1])
def test_every_kind_has_words_for_everybody(kind: NoticeKind, relation: Relation, level: int) -> None:
    said = Wording().say(delivery(kind, relation, level=level))
    assert "db-1" in said.title
    assert "\n" not in said.title
    assert "{" not in said.title + said.text
    assert said.text


@pytest.mark.rule("R30")
def test_a_notice_tells_what_an_approver_has_to_know() -> None:
    said = Wording().say(delivery())
    assert said.title == "alice asks for access to db-1"
    assert said.text == "Your decision is needed at level 1 of 2: 1 of 2 approvals so far."
    assert {fact.id: fact.value for fact in said.facts} == {
        "requester": "alice (Alice Liddell)",
        "reason": "index rebuild after the incident",
        "node": "db-1 (mi-3d714dc26bb37e86e)",
        "account": "default",
        "region": "default",
        "status": "Pending",
        "policy": "production, version 3",
        "level": "1 of 2, 1 of 2 approvals",
        "asked": "group sre, user bob",
        "hours": "8 hours",
        "decide_before": "2026-12-01 09:30 UTC",
        "decision": "bob, level 1, 2026-11-24 09:30 UTC: fine with me",
        "request": "oi-3cdf121b337b",
    }
    assert {fact.id for fact in said.facts} <= set(LABELS)
    assert said.value("conflict") == ""


@pytest.mark.rule("R9")
def test_a_conflict_tells_each_policy() -> None:
    lines = ("production: Workload=db", "north: Site=north")
    said = Wording().say(delivery(NoticeKind.CONFLICT, Relation.WATCHER, conflict=lines))
    assert [fact.value for fact in said.facts if fact.id == "conflict"] == list(lines)


@pytest.mark.rule("R30")
@pytest.mark.parametrize(
    ("kind", "reason", "by", "text"),
    [
        (NoticeKind.REJECTED, "DENIED", "carol", "carol denied the request on 2026-11-24 17:03 UTC; it is over."),
        (
            NoticeKind.REVOKED,
            "REVOKED_BY_ADMINISTRATOR",
            "carol",
            "An administrator revoked it. Revoked by carol on 2026-11-24 17:03 UTC; open sessions were closed.",
        ),
        (
            NoticeKind.REVOKED,
            "NODE_LOCKED",
            "",
            "The node was locked. Revoked on 2026-11-24 17:03 UTC; open sessions were closed.",
        ),
        (
            NoticeKind.CANCELLED,
            "CANCELLED",
            "alice",
            "alice does not need the access any more, since 2026-11-24 17:03 UTC. Nothing is left to decide.",
        ),
        (
            NoticeKind.RETURNED,
            "GIVEN_BACK",
            "alice",
            "alice gave the access back before its end, on 2026-11-24 17:03 UTC.",
        ),
    ],
)
def test_what_became_of_it_says_who_and_when(kind: NoticeKind, reason: str, by: str, text: str) -> None:
    at = datetime(2026, 11, 24, 17, 3, tzinfo=UTC)
    said = Wording().say(delivery(kind, ended_at=at, ended_by=by, end_reason=reason))
    assert said.text == text
    assert said.value("ended") == ("2026-11-24 17:03 UTC by " + by if by else "2026-11-24 17:03 UTC")


def test_text_that_turns_its_direction_is_made_visible() -> None:
    reason = Wording().say(delivery(reason=HOSTILE)).value("reason")
    assert reason.startswith("[U+202E]gnp.exe <img")  # escaping is the channel's part
    assert "\n" not in reason
    assert "\u202e" not in reason
    assert shown("a\x00b\u2028c\ud800") == "a[U+0000]b[U+2028]c[U+D800]"


def test_emoji_stay_whole() -> None:
    assert Wording().say(delivery(reason=EMOJI)).value("reason") == EMOJI
    one = "👩🏽‍🚒"
    assert cut(one * 3, len(one) * 2 + 1) == one * 2 + "…"
    assert cut(one * 3, len(one) * 2) in {one + "…", one * 2}
    assert cut("abc", 3) == "abc"
    assert cut("abcd", 3) == "ab…"
    assert len(cut("e\u0301" * 50, 20)) <= 20


def test_operators_replace_templates(tmp_path: Path) -> None:
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "approval_needed.txt").write_text("Bitte: {{ facts.reason }}\nJa?")
    said = Wording(Templates(tmp_path)).say(delivery())
    assert (said.title, said.text) == ("Bitte: index rebuild after the incident", "Ja?")
    assert (
        Wording(Templates(tmp_path)).say(delivery(NoticeKind.REJECTED)).title == "Denied: alice's access to db-1"
    )


def test_templates_get_a_value_for_what_there_is_none_of(tmp_path: Path) -> None:
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "approved.txt").write_text("{{ link }}\nBy policy [{{ facts.policy }}{{ facts.note }}].")
    said = Wording(Templates(tmp_path)).say(delivery(NoticeKind.APPROVED, policy=""))
    assert (said.title, said.text) == ("https://gate.example.org/requests/oi-3cdf121b337b", "By policy [].")


@pytest.mark.parametrize(
    "broken",
    [
        "{{ nothing_of_that_name }}",
        "{% if %}",
        "{{ requester.__class__.__mro__ }}",
        "{{ 1 // 0 }}",
        "{% for i in range(10000000) %}x{% endfor %}",
        "{% include '/etc/passwd' %}",
        "",
        "{% if level > 9 %}Never{% endif %}\n \u00a0\n",
        "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
    ],
)
def test_a_template_that_fails_loses_no_notice(tmp_path: Path, broken: str) -> None:
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "approval_needed.txt").write_text(broken)
    assert Wording(Templates(tmp_path)).say(delivery()).title == "alice asks for access to db-1"


def test_a_folder_that_is_not_there_loses_no_notice(tmp_path: Path) -> None:
    assert Wording(Templates(tmp_path / "gone")).say(delivery()).title == "alice asks for access to db-1"
