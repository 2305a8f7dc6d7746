"""Mails as a phone shows them: nothing has to be scrolled sideways or is too small to read or to tap."""

import re
from dataclasses import replace
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from notifiers.email.message import Composer
from notifiers.email.settings import EmailSettings
from notifiers.model import Decided, Delivery, LevelView, NoticeKind, Relation
from tests.browser import PHONE, on_a_phone
from tests.notifiers.told import AT, delivery

LONG = "W" * 256
"""Wide letters without a place to break."""


def written(told: Delivery) -> str:
    """The HTML of the mail, as it comes."""
    sender = EmailSettings.model_validate({"host": "127.0.0.1", "sender": "jitgate@example.org"})
    mail = message_from_bytes(Composer(sender).compose(told, "bob@example.org"), policy=policy.default)
    part = mail.get_body(("html",))
    assert part is not None
    return str(part.get_content())


def long_words(kind: NoticeKind, relation: Relation) -> Delivery:
    return delivery(
        kind,
        relation,
        reason=LONG,
        requester=LONG[:64],
        requester_name=LONG[:128],
        node_name=LONG[:128],
        policy=LONG[:128],
        levels=(LevelView((f"group {LONG[:64]}", f"user {LONG[:64]}"), 2, 1),),
        decisions=(Decided(LONG[:64], 1, AT, LONG),),
        conflict=(LONG, LONG),
    )


@pytest.mark.rule("R30")
@pytest.mark.parametrize("how", ["whole", "without its style sheet", "without a link"])
@pytest.mark.parametrize(
    ("kind", "relation"),
    [(NoticeKind.APPROVAL_NEEDED, Relation.APPROVER), (NoticeKind.REJECTED, Relation.REQUESTER)],
)
def test_a_mail_reads_well(tmp_path: Path, kind: NoticeKind, relation: Relation, how: str) -> None:
    told = long_words(kind, relation)
    if how == "without a link":
        told = replace(told, notice=replace(told.notice, link=""))
    mail = written(told)
    if how == "without its style sheet":  # which many programs drop
        mail = re.sub(r"<style>.*?</style>", "", mail, flags=re.DOTALL)
    assert LONG in mail
    seen = on_a_phone(mail, tmp_path)
    assert seen.width <= PHONE
    assert seen.over == ()
    assert seen.letters >= 13
    assert seen.target >= 44
