"""What Teams' cards look like to the library that renders them: nothing that people wrote becomes markup."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from notifiers.teams.card import card
from notifiers.wording import Wording
from tests.adaptive_cards.rendering import render
from tests.notifiers.told import delivery

MARKUP = (
    "<img src=x onerror=alert(1)> **bold** [x](https://evil.example) <at>Eve</at> "
    "{{DATE(2026-01-01T00:00:00Z)}} {{{DATE(2026-01-01T00:00:00Z)}} {{{{TIME(2026-01-01T00:00:00Z)}}}}"
)


class Seen(HTMLParser):
    """Text and elements of what stands in the card's place."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.elements: set[str] = set()
        self.feed(page.partition('<div id="card">')[2].partition("<script")[0])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.rule("R30")
def test_a_card_is_shown_whole_and_markup_in_it_as_it_was_written(tmp_path: Path) -> None:
    asked = delivery(reason=MARKUP, requester_name=MARKUP[:64], node_name="**db-1**")
    seen = Seen(render(card(asked, Wording().say(asked)), tmp_path))
    assert re.sub(r"\{(?=\{)", "{ ", MARKUP) in seen.text
    for word in ("**db-1**", "oi-3cdf121b337b", "Approve", "Deny", "Open the request", "Comment (optional)"):
        assert word in seen.text
    assert not seen.elements & {"mark", "img", "strong", "a", "at", "script"}
    assert {"input", "button"} <= seen.elements
