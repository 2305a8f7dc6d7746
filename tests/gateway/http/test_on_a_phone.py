"""Pages as a phone shows them: nothing has to be scrolled sideways or is too small to read or to tap."""

from pathlib import Path

import httpx
import pytest

from gateway.http.pages import STYLE, STYLE_PATH
from gateway.http.request_pages import request_path
from tests.browser import PHONE, Seen, on_a_phone
from tests.gateway.http.web import Web

pytestmark = pytest.mark.parametrize("database_server", ["sqlite"], indirect=True)

LONG = "W" * 256
"""Wide letters without a place to break."""


def looked_at(page: httpx.Response, folder: Path, picture: Path | None = None) -> Seen:
    link = f'<link rel="stylesheet" href="{STYLE_PATH}">'
    assert link in page.text
    return on_a_phone(page.text.replace(link, f"<style>{STYLE.decode()}</style>"), folder, picture=picture)


def reads_well(seen: Seen) -> None:
    assert seen.width <= PHONE
    assert seen.over == ()
    assert seen.letters >= 12.8
    assert seen.target >= 44


async def test_the_sign_in_reads_well(web: Web, tmp_path: Path) -> None:
    page = await web.browser().open("/sign-in", params={"to": "/requests", "again": ""})
    reads_well(looked_at(page, tmp_path))


@pytest.mark.rule("R30")
async def test_a_request_reads_well_before_and_after_the_decision(web: Web, tmp_path: Path) -> None:
    path = request_path((await web.world.ask("alice", "db-1", reason=LONG)).life.id)
    sam = web.browser()
    page = await sam.follow(await sam.sign_in("sam", to=path))
    assert LONG in page.text
    reads_well(looked_at(page, tmp_path))
    reads_well(looked_at(await sam.open("/requests"), tmp_path))
    page = await sam.follow(await sam.send(page, path, decision="approve", comment=LONG))
    assert page.text.count(LONG) == 2
    reads_well(looked_at(page, tmp_path))
