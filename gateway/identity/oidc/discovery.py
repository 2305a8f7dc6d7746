"""What a provider says of itself (OpenID Connect Discovery 1.0, RFC 8414)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.identity.oidc.errors import ProviderUnavailable
from gateway.identity.oidc.settings import IdentityProvider, is_trustworthy


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where to send whom; empty: the provider has no such place."""

    authorization: str
    token: str
    keys: str
    device_authorization: str = ""
    userinfo: str = ""
    end_session: str = ""
    sends_issuer: bool = False  # with the authorization response (RFC 9207)


def address(issuer: str) -> str:
    return f"{issuer.rstrip('/')}/.well-known/openid-configuration"


def read(document: Mapping[str, Any], settings: IdentityProvider) -> Endpoints:
    """Raises ProviderUnavailable for a document of another issuer, or with addresses that nobody should send
    secrets to."""
    if document.get("issuer") != settings.issuer:
        raise ProviderUnavailable(
            f"it calls itself {str(document.get('issuer'))[:256]!r}, not {settings.issuer!r} as configured"
        )
    methods = document.get("code_challenge_methods_supported")
    if isinstance(methods, list) and "S256" not in methods:
        raise ProviderUnavailable("it does not know PKCE with S256")

    def endpoint(name: str, *, required: bool = False) -> str:
        value = document.get(name)
        if value is None and not required:
            return ""
        if not isinstance(value, str) or not is_trustworthy(value, insecure_loopback=settings.insecure_loopback):
            raise ProviderUnavailable(f"its {name} is no https:// address")
        return value

    return Endpoints(
        authorization=endpoint("authorization_endpoint", required=True),
        token=endpoint("token_endpoint", required=True),
        keys=endpoint("jwks_uri", required=True),
        device_authorization=endpoint("device_authorization_endpoint"),
        userinfo=endpoint("userinfo_endpoint"),
        end_session=endpoint("end_session_endpoint"),
        sends_issuer=document.get("authorization_response_iss_parameter_supported") is True,
    )
