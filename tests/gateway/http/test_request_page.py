"""Deciding on a page."""

import asyncio
from urllib.parse import urlencode

import pytest

from gateway.http.request_pages import request_path
from policy.model import PolicyKind
from tests.gateway.access.world import World, manual
from tests.gateway.http.web import Browser, Web, fields

pytestmark = pytest.mark.parametrize("database_server", ["sqlite"], indirect=True)

HOSTILE = "<script>alert(1)</script> {{ 7*7 }} \" ' </blockquote> <!channel> 👩🏽‍🚒"


async def opened(web: Web, user: str, path: str) -> tuple[Browser, str]:
    browser = web.browser()
    page = await browser.follow(await browser.sign_in(user, to=path))
    return browser, page.text


@pytest.mark.rule("R30")
async def test_an_approver_reads_and_decides_on_the_page(web: Web) -> None:
    world = web.world
    request = await world.ask("alice", "db-1", reason=HOSTILE)
    path = request_path(request.life.id)
    sam = web.browser()
    page = await sam.open(path)
    assert page.headers["location"] == f"/sign-in?to={path.replace('/', '%2F')}"
    page = await sam.follow(await sam.sign_in("sam", to=path))
    for told in ("alice", "db-1", "i-0000000000000000b", "default", "databases, version 1", "8 hours", "Pending"):
        assert told in page.text
    assert "<script>" not in page.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; {{ 7*7 }}" in page.text
    assert "👩🏽‍🚒" in page.text
    answer = await sam.send(page, path, decision="approve", comment="go\r\n ahead <b>")
    assert (answer.status_code, answer.headers["location"]) == (303, path)
    page = await sam.follow(answer)
    assert "sam approved" in page.text
    assert "go ahead &lt;b&gt;" in page.text
    olga = web.browser()
    page = await olga.follow(await olga.sign_in("olga", to=path))
    page = await olga.follow(await olga.send(page, path, decision="approve"))
    assert "Approved" in page.text
    found = await world.reader.get(await world.caller("ada"), request.life.id)
    assert [a.person.user_id for a in found.life.approvals] == ["sam", "olga"]
    assert {a.source_address for a in found.life.approvals} == {"127.0.0.1"}
    page = await sam.open(path)
    page = await sam.follow(await sam.send(page, path, decision="revoke", comment="enough"))
    assert "Revoked" in page.text
    assert "enough" in page.text


@pytest.mark.rule("R18")
async def test_one_denial_ends_it(web: Web) -> None:
    path = request_path((await web.world.ask("alice", "db-1")).life.id)
    sam = web.browser()
    page = await sam.follow(await sam.sign_in("sam", to=path))
    page = await sam.follow(await sam.send(page, path, decision="deny", comment="not today"))
    assert "Rejected" in page.text
    assert "<button" not in page.text.partition("</header>")[2]


async def test_opening_a_page_changes_nothing(web: Web) -> None:
    """Mail scanners and previews open every link, some with the reader's own cookies."""
    request_id = (await web.world.ask("alice", "db-1")).life.id
    sam = web.browser()
    await sam.sign_in("sam")
    before = await web.world.rows()
    for path in (request_path(request_id), f"{request_path(request_id)}?decision=approve&level=1", "/requests"):
        assert (await sam.open(path)).status_code == 200
        assert (await sam.client.head(path)).status_code == 200
    assert await web.world.rows() == before


@pytest.mark.rule("R17")
async def test_who_may_not_decide_is_offered_nothing_and_refused(web: Web) -> None:
    request_id = (await web.world.ask("alice", "db-1")).life.id
    path = request_path(request_id)
    for user, reason in (
        ("alice", "lacks the permission"),
        ("olga", "no approver"),
        ("ada", "lacks the permission"),
    ):
        browser = web.browser()
        page = await browser.follow(await browser.sign_in(user, to=path))
        assert 'value="approve"' not in page.text
        sent = fields(page) | {"level": "1"}
        answer = await browser.client.post(path, data=sent | {"decision": "approve"})
        assert answer.status_code == 403, user
        assert reason in answer.text
    found = await web.world.reader.get(await web.world.caller("ada"), request_id)
    assert found.life.approvals == ()


async def test_who_may_not_see_it_is_told_the_same_as_of_none(web: Web) -> None:
    request_id = (await web.world.ask("alice", "db-1")).life.id
    mallory = web.browser()
    await mallory.sign_in("mallory")
    page = await mallory.open("/requests")
    for method in ("get", "post"):
        answers = []
        for some_id in (request_id, "oi-000000000000"):
            data = {"data": fields(page) | {"decision": "deny", "level": "1"}} if method == "post" else {}
            answer = await getattr(mallory.client, method)(request_path(some_id), **data)
            answers.append((answer.status_code, answer.text.replace(some_id, "ID")))
        assert answers[0] == answers[1]
        assert answers[0][0] == 404
    for odd in ("x", "oi-%00", "oi-3cdf121b337b%20", "..%2f..%2fetc", "%F0%9F%9A%92"):
        assert (await mallory.open(f"/requests/{odd}")).status_code == 404


@pytest.mark.rule("R16")
async def test_a_page_from_before_decides_nothing_by_surprise(web: Web) -> None:
    await web.world.put(
        PolicyKind.MANUAL,
        manual(levels="[{approvers: [{group: sre}]}, {approvers: [{group: sre}, {user: olga}]}]"),
    )
    request_id = (await web.world.ask("alice", "db-1")).life.id
    path = request_path(request_id)
    sam = web.browser()
    page = await sam.follow(await sam.sign_in("sam", to=path))
    await web.world.requests.approve(await web.world.caller("sue"), request_id)  # at the command line
    answer = await sam.send(page, path, decision="approve")
    assert answer.status_code == 409
    assert "waits at level 2 by now" in answer.text
    found = await web.world.reader.get(await web.world.caller("ada"), request_id)
    assert [a.person.user_id for a in found.life.approvals] == ["sue"]
    # The page that came back shows the level as it is, and decides.
    answer = await sam.send(answer, path, decision="approve")
    assert answer.status_code == 303


async def test_page_and_command_line_at_once_decide_once(web: Web) -> None:
    world = web.world
    for _ in range(3):
        request_id = (await world.ask("alice", "db-1")).life.id
        path = request_path(request_id)
        sam = web.browser()
        page = await sam.follow(await sam.sign_in("sam", to=path))
        sue = await world.caller("sue")
        answer, other = await asyncio.gather(
            sam.send(page, path, decision="approve"),
            world.requests.deny(sue, request_id, shown_level=1),
            return_exceptions=True,
        )
        found = (await world.reader.get(sue, request_id)).life
        assert not isinstance(answer, BaseException)
        if found.current_level == 1:
            assert answer.status_code == 303
            assert "LEVEL_CHANGED" in str(other)
        else:
            # An approval at level one does not stand in the way of a denial there by somebody else.
            assert found.status.value == "Rejected"
            assert answer.status_code == 409


@pytest.mark.parametrize(
    "changed",
    [
        {"csrf": ""},
        {"csrf": "x" * 64},
        {"csrf": "ü"},
        {"decision": "approve2"},
        {"decision": ""},
        {"level": "6"},
        {"level": "-1"},
        {"level": "one"},
        {"comment": "x" * 257},
        {"comment": "\u202eevil"},
    ],
)
async def test_forms_that_are_not_what_the_page_has_change_nothing(web: Web, changed: dict[str, str]) -> None:
    request_id = (await web.world.ask("alice", "db-1")).life.id
    path = request_path(request_id)
    sam = web.browser()
    page = await sam.follow(await sam.sign_in("sam", to=path))
    before = await web.world.rows()
    answer = await sam.client.post(path, data=fields(page) | {"decision": "approve", "comment": ""} | changed)
    assert answer.status_code in {400, 403}
    assert await web.world.rows() == before


async def test_other_sites_can_send_no_form(web: Web) -> None:
    request_id = (await web.world.ask("alice", "db-1")).life.id
    path = request_path(request_id)
    sam = web.browser()
    page = await sam.follow(await sam.sign_in("sam", to=path))
    before = await web.world.rows()
    for headers in (
        {"origin": "https://evil.example.org"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": web.url},
    ):
        assert (await sam.send(page, path, headers, decision="approve")).status_code == 403
    sue = web.browser()
    await sue.sign_in("sue")
    # The token of one session is none of another's.
    assert (await sue.send(page, path, decision="approve")).status_code == 403
    assert await web.world.rows() != before  # sue has signed in, and nothing else
    found = await web.world.reader.get(await web.world.caller("ada"), request_id)
    assert found.life.approvals == ()
    assert (await sam.send(page, path, {"origin": web.url}, decision="approve")).status_code == 303


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", ""])
async def test_what_is_sent_as_no_form_decides_nothing(web: Web, kind: str) -> None:
    request_id = (await web.world.ask("alice", "db-1")).life.id
    path = request_path(request_id)
    sam = web.browser()
    page = await sam.follow(await sam.sign_in("sam", to=path))
    before = await web.world.rows()
    body = urlencode(fields(page) | {"decision": "approve", "comment": ""})
    answer = await sam.client.post(path, content=body, headers={"content-type": kind})
    assert answer.status_code == 400
    assert await web.world.rows() == before


async def test_a_level_that_wants_it_is_decided_right_after_a_sign_in(web: Web) -> None:
    await web.world.put(PolicyKind.MANUAL, manual(levels="[{approvers: [{group: sre}], signInWithinMinutes: 5}]"))
    request_id = (await web.world.ask("alice", "db-1")).life.id
    path = request_path(request_id)
    sam = web.browser()
    page = await sam.follow(await sam.sign_in("sam", to=path))
    web.world.clock.advance(minutes=6)
    answer = await sam.send(page, path, decision="approve")  # the buttons were right when they were shown
    again = f"/sign-in?again=1&to={path.replace('/', '%2F')}"
    assert (answer.status_code, answer.headers["location"]) == (303, again)
    page = await sam.open(path)
    assert 'value="approve"' not in page.text
    assert "Confirm that it is you" in page.text
    page = await sam.open(again)
    assert "Confirm that it is you" in page.text
    page = await sam.follow(
        await sam.send(page, "/sign-in/password", user="sam", password="correct horse battery")
    )
    page = await sam.follow(await sam.send(page, path, decision="approve"))
    assert "Approved" in page.text


async def test_the_list_shows_what_waits_and_what_is_ones_own(web: Web) -> None:
    request_id = (await web.world.ask("alice", "db-1", reason="<i>index</i>")).life.id
    for user, head in (("sam", "Waiting for you"), ("alice", "Your own requests")):
        _, text = await opened(web, user, "/requests")
        assert request_path(request_id) in text.partition(head)[2]
        assert "&lt;i&gt;index" in text
    _, text = await opened(web, "olga", "/requests")
    assert request_id not in text
    assert "Nothing waits" in text


@pytest.mark.rule("R9")
async def test_a_conflict_names_its_policies(web: Web, world: World) -> None:
    await world.put(PolicyKind.MANUAL, manual("north", targets="[{tag: Site, values: [north]}]"))
    request = await world.ask("alice", "both-1")
    _, text = await opened(web, "alice", request_path(request.life.id))
    assert "Policies in conflict" in text
    assert "north: Site=north" in text
    assert "databases: Workload=db" in text
