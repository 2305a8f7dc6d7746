"""Signing in at a provider, on a real database, with a real provider or one that lies."""

from collections.abc import Mapping
from typing import Any

from gateway.identity.oidc.provider import Provider
from gateway.identity.oidc.settings import IdentityProvider
from gateway.identity.oidc.sign_in import BrowserFlow, OidcSignIn
from gateway.identity.signed_in import SignedIn
from tests.gateway.identity.conftest import HOME, House, certificate_request
from tests.oidc_provider.running import Browser, answer_in

PORT = 45678  # nobody listens there: the browsers of these tests stop before they come back


def settings(issuer: str, **more: Any) -> IdentityProvider:
    """A provider of tests: on loopback, groups in a claim of that name."""
    values = {"issuer": issuer, "client_id": "jitgate", "scopes": ["profile", "groups"], "insecure_loopback": True}
    return IdentityProvider.model_validate(values | more)


def sign_in_at(house: House, providers: Mapping[str, IdentityProvider]) -> OidcSignIn:
    """A replica's sign-in."""
    made = {name: Provider(name, said, house.time) for name, said in providers.items()}
    return OidcSignIn(house.database, made, house.certifier, house.endings, house.time)


async def begin(oidc: OidcSignIn, name: str = "corp") -> BrowserFlow:
    return await oidc.begin_browser(name, certificate_request(), PORT, HOME)


async def finish(oidc: OidcSignIn, flow: BrowserFlow, came_back_to: str) -> SignedIn:
    answer = answer_in(came_back_to)
    return await oidc.complete_browser(flow.handle, answer["code"], answer["state"], answer.get("iss", ""), HOME)


async def through_browser(oidc: OidcSignIn, browser: Browser, user: str, name: str = "corp") -> SignedIn:
    """The whole browser flow."""
    flow = await begin(oidc, name)
    return await finish(oidc, flow, browser.sign_in(flow.authorization_url, user))
