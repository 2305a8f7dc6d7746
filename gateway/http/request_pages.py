"""The page of an access request, where approvers decide, and the list of those that wait (R16 to R19, R30).

A page is opened by a link, and links are opened by scanners and previews as well: opening it changes nothing.
"""

import re
from collections.abc import Awaitable, Callable

from starlette.responses import RedirectResponse, Response

from gateway.access.model import AccessRequest
from gateway.access.reading import RequestReader
from gateway.access.requests import AccessRequests
from gateway.access.visibility import not_found
from gateway.api.access_messages import STATUSES, message, summary_message
from gateway.errors import Refused, invalid
from gateway.http.pages import page, sentence, status_of
from gateway.http.routes import Asked, Route
from gateway.http.sign_in import again_address
from gateway.store.requests import Filter
from jitgate.v1 import annotations_pb2 as declared

_ID = re.compile(r"oi-[0-9a-f]{12}")
_LISTED = 50
_SHOWN_LEVELS = {str(number): number for number in range(6)}
_NAMES = {number: status.value for status, number in STATUSES.items()}

_Decide = Callable[..., Awaitable[AccessRequest]]


def request_path(request_id: str) -> str:
    return f"/requests/{request_id}"


class RequestPages:
    """Everything is asked of the same use cases as by `jit approve`."""

    def __init__(self, requests: AccessRequests, reader: RequestReader) -> None:
        self._reader = reader
        self._decisions: dict[str, _Decide] = {
            "approve": requests.approve,
            "deny": requests.deny,
            "revoke": requests.revoke,
        }

    def routes(self) -> tuple[Route, ...]:
        signed_in = declared.PERMISSION_SIGNED_IN
        return (
            Route("GET", "/", _to_list, declared.PERMISSION_PUBLIC),
            Route("GET", "/requests", self._list, signed_in),
            Route("GET", "/requests/{id}", self._show, signed_in),
            Route("POST", "/requests/{id}", self._decide, signed_in),
        )

    async def _list(self, asked: Asked) -> Response:
        caller = asked.caller
        waiting, more = await self._reader.waiting_for(caller, Filter(), _LISTED)
        mine, _ = await self._reader.find(caller, Filter(requester_id=caller.user.id), _LISTED)
        return page(
            "requests",
            who=caller.user,
            csrf=asked.csrf,
            waiting=[summary_message(request) for request in waiting],
            more=more,
            mine=[summary_message(request) for request in mine],
            names=_NAMES,
        )

    async def _show(self, asked: Asked) -> Response:
        request = await self._reader.get(asked.caller, _id(asked))
        return self._page(asked, request)

    def _page(self, asked: Asked, request: AccessRequest, refused: Refused | None = None) -> Response:
        path = request_path(request.life.id)
        shown = message(request)
        return page(
            "request",
            200 if refused is None else status_of(refused),
            who=asked.caller.user,
            csrf=asked.csrf,
            path=path,
            again=again_address(path),
            request=shown,
            status=_NAMES[shown.status],
            waits=request.life.current_level is not None,
            shown_level=0 if request.life.current_level is None else request.life.current_level + 1,
            could=self._reader.possible(asked.caller, request),
            is_requester=request.life.requester.user_id == asked.caller.user.id,
            problem="" if refused is None else sentence(refused.message),
            what_to_do="" if refused is None else sentence(refused.what_to_do),
        )

    async def _decide(self, asked: Asked) -> Response:
        request_id, form = _id(asked), asked.form()
        decide = self._decisions.get(form.get("decision", ""))
        shown_level = _SHOWN_LEVELS.get(form.get("level", ""))
        if decide is None or shown_level is None:
            raise invalid("decision", "is none that this page has", "Open the page again.")
        try:
            await decide(asked.caller, request_id, _one_line(form.get("comment", "")), shown_level=shown_level)
        except Refused as refused:
            if refused.reason == "STEP_UP_NEEDED":
                return RedirectResponse(again_address(request_path(request_id)), 303)
            # What the page shows is read anew: who may not see the request is told the same as by the link.
            return self._page(asked, await self._reader.get(asked.caller, request_id), refused)
        return RedirectResponse(request_path(request_id), 303)


def _one_line(typed: str) -> str:
    """Comments are of one line; the field of a form has several."""
    return " ".join(typed.split())


def _id(asked: Asked) -> str:
    """Raises Refused REQUEST_NOT_FOUND for what can be none."""
    given: str = asked.request.path_params["id"]
    if not _ID.fullmatch(given):
        raise not_found("of that id")
    return given


async def _to_list(_asked: Asked) -> Response:
    return RedirectResponse("/requests", 303)
