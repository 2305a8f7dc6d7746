"""Signing a browser in and out: by password, or at an identity provider (R31)."""

import re
import secrets
from collections.abc import Mapping
from urllib.parse import urlencode

from starlette.responses import HTMLResponse, RedirectResponse, Response

from gateway.errors import Kind, Refused
from gateway.http import cookies
from gateway.http.forms import check_csrf, csrf_token, form_not_ours
from gateway.http.pages import page, sentence, status_of
from gateway.http.routes import Asked, Route
from gateway.identity.browser_sessions import BrowserSession, BrowserSessions
from gateway.identity.model import is_user_id
from gateway.identity.oidc.sign_in import BroughtBack, OidcSignIn
from gateway.identity.ports import Clock
from gateway.identity.sign_in import PasswordProof, SignIn
from jitgate.v1 import annotations_pb2 as declared

CALLBACK = "/sign-in/callback"
_HOME = "/requests"
_LOCAL_PATH = re.compile(r"(/[A-Za-z0-9._~-]{1,128}){1,8}")
_VISIT_SECONDS = 3600
_FLOW_SECONDS = 600


class SignInPages:
    """`public_url` is where browsers find this listener: identity providers send them back there."""

    def __init__(
        self, sign_in: SignIn, oidc: OidcSignIn, sessions: BrowserSessions, public_url: str, clock: Clock
    ) -> None:
        self._sign_in = sign_in
        self._oidc = oidc
        self._sessions = sessions
        self._redirect_uri = f"{public_url}{CALLBACK}"
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        public, signed_in = declared.PERMISSION_PUBLIC, declared.PERMISSION_SIGNED_IN
        return (
            Route("GET", "/sign-in", self._show, public),
            Route("POST", "/sign-in/password", self._by_password, public),
            Route("POST", "/sign-in/provider", self._to_provider, public),
            Route("GET", CALLBACK, self._back_from_provider, public),
            Route("POST", "/sign-out", self._sign_out, signed_in),
        )

    async def _show(self, asked: Asked) -> Response:
        query = asked.request.query_params
        if asked.session is not None and not query.get("again"):
            return RedirectResponse(local_path(query.get("to", "")), 303)
        return self._form(asked, query)

    def _form(self, asked: Asked, wanted: Mapping[str, str], refused: Refused | None = None) -> HTMLResponse:
        """`wanted`: where to go (`to`), whether it is to be proven `again`, as whom (`user`)."""
        visit = cookies.read(asked.request, cookies.VISIT) or secrets.token_urlsafe(32)
        providers = [p for p in self._oidc.providers.values() if "web" in p.settings.flows]
        session = asked.session if wanted.get("again") else None
        if session is not None and session.provider:  # the same person again: there is one way for that
            providers = [p for p in providers if p.name == session.provider] or providers
        response = page(
            "sign_in",
            200 if refused is None else status_of(refused),
            csrf=csrf_token(visit),
            to=local_path(wanted.get("to", "")),
            again="1" if wanted.get("again") else "",
            providers=[(provider.name, provider.title) for provider in providers],
            with_password=session is None or not session.provider,
            user=wanted.get("user", "")[:64] or (session.user_id if session and not session.provider else ""),
            problem="" if refused is None else sentence(refused.message),
            what_to_do="" if refused is None else sentence(refused.what_to_do),
        )
        cookies.put(response, cookies.VISIT, visit, _VISIT_SECONDS)
        return response

    async def _by_password(self, asked: Asked) -> Response:
        form = self._own_form(asked)
        user = form.get("user", "").strip()
        proof = PasswordProof(user if is_user_id(user) else "", form.get("password", "")[:1024])
        try:
            session = await self._sign_in.by_password(proof, asked.source_address, self._sessions.admit)
        except Refused as refused:
            return self._form(asked, form, refused)
        return await self._enter(asked, session, form.get("to", ""))

    async def _to_provider(self, asked: Asked) -> Response:
        form = self._own_form(asked)
        to, again = local_path(form.get("to", "")), bool(form.get("again"))
        try:
            flow = await self._oidc.begin_web(
                form.get("provider", ""), self._redirect_uri, asked.source_address, again=again, keep={"to": to}
            )
        except Refused as refused:
            return self._form(asked, form, refused)
        # Not a redirect: browsers would ask our policy for forms whether it may lead there, and on from there.
        response = page("leaving", address=flow.authorization_url)
        cookies.put(response, cookies.FLOW, flow.handle, _FLOW_SECONDS)
        return response

    async def _back_from_provider(self, asked: Asked) -> Response:
        query = asked.request.query_params
        handle = cookies.read(asked.request, cookies.FLOW)
        try:
            if not handle:
                raise _over()
            if "error" in query:
                raise _not_there(query["error"])
            brought = BroughtBack(query.get("code", ""), query.get("state", ""), query.get("iss", ""))
            session, kept = await self._oidc.complete_web(
                handle, brought, asked.source_address, self._sessions.admit
            )
        except Refused as refused:
            response: Response = page(
                "message",
                status_of(refused),
                title="You are not signed in",
                message=sentence(refused.message),
                what_to_do="",
                link=("/sign-in", "Sign in"),
            )
        else:
            response = await self._enter(asked, session, kept.get("to", ""))
        cookies.drop(response, cookies.FLOW)
        return response

    async def _enter(self, asked: Asked, session: BrowserSession, to: str) -> Response:
        if asked.session is not None:
            await self._sessions.end(asked.session.secret)
        response = RedirectResponse(local_path(to), 303)
        seconds = round((session.expires_at - self._clock()).total_seconds())
        cookies.put(response, cookies.SESSION, session.secret, seconds)
        cookies.drop(response, cookies.VISIT)
        return response

    async def _sign_out(self, asked: Asked) -> Response:
        session = asked.session
        assert session is not None  # the route needs one
        await self._sessions.end(session.secret)
        provider = self._oidc.providers.get(session.provider)
        elsewhere = provider.sign_out_url() if provider else ""
        response = page(
            "message",
            title="You are signed out",
            message="This browser is signed out of the gateway.",
            what_to_do="",
            link=(elsewhere, f"Sign out of {provider.title} as well") if provider and elsewhere else None,
        )
        cookies.drop(response, cookies.SESSION)
        return response

    def _own_form(self, asked: Asked) -> Mapping[str, str]:
        """Raises Refused FORM_NOT_OURS: nobody signs others in under a name that isn't theirs."""
        visit = cookies.read(asked.request, cookies.VISIT)
        if not visit:
            raise form_not_ours()
        form = asked.form()
        check_csrf(asked.request, form, visit)
        return form


def again_address(to: str) -> str:
    """Where somebody proves anew who they are, and comes back to a path of ours."""
    return f"/sign-in?{urlencode({'again': '1', 'to': to})}"


def local_path(text: str) -> str:
    """A path on this listener; anything else becomes the first page."""
    return text if _LOCAL_PATH.fullmatch(text) else _HOME


def _over() -> Refused:
    return Refused(
        Kind.UNAUTHENTICATED, "SIGN_IN_OVER", "this sign-in is finished or took too long", "Begin again."
    )


def _not_there(error: str) -> Refused:
    word = error[:64] if error.isprintable() and error.isascii() else "no reason given"
    message = f"the identity provider did not sign you in: {word}"
    return Refused(Kind.UNAUTHENTICATED, "SIGN_IN_FAILED", message, "Begin again.")
