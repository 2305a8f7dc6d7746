"""One identity provider, as the gateway deals with it: the relying party of OpenID Connect."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import quote_plus, urlencode

from gateway.identity.oidc import discovery, id_token
from gateway.identity.oidc.discovery import Endpoints
from gateway.identity.oidc.errors import ProofRefused, ProviderUnavailable
from gateway.identity.oidc.fetched import Fetched
from gateway.identity.oidc.http import Http
from gateway.identity.oidc.id_token import Expected
from gateway.identity.oidc.settings import IdentityProvider, is_trustworthy
from gateway.identity.oidc.signing_keys import MINIMUM_PAUSE, SigningKeys
from gateway.identity.ports import Clock

_DISCOVERED_FOR = timedelta(hours=1)
_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_SLOWER_BY = timedelta(seconds=5)  # RFC 8628, 3.5
_SHORTEST_INTERVAL, _LONGEST_INTERVAL = 1, 60
_MAXIMUM_TOKEN = 64 * 1024


@dataclass(frozen=True, slots=True)
class DeviceAuthorization:
    """What the person needs to finish elsewhere, and the code that we ask with. `lifetime` is the provider's."""

    device_code: str = field(repr=False)
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    lifetime: timedelta
    interval: timedelta


@dataclass(frozen=True, slots=True)
class NotYet:
    """The person has not finished. `slower_by`: how much longer to wait between questions from now on."""

    slower_by: timedelta = timedelta()


class Provider:
    """Every method raises ProviderUnavailable when the provider does not answer, or not as one does."""

    def __init__(self, name: str, settings: IdentityProvider, clock: Clock) -> None:
        self.name = name
        self.settings = settings
        self._clock = clock
        self._http = Http(settings.ca_file, insecure_loopback=settings.insecure_loopback)
        self._endpoints = Fetched(self._fetch_endpoints, clock)
        self._keys = SigningKeys(self._fetch_keys, clock)

    @property
    def title(self) -> str:
        return self.settings.title or self.name

    async def close(self) -> None:
        await self._http.close()

    async def probe(self) -> int:
        """Whether it can be used now; how many keys it signs with."""
        self._client_secret()
        await self._endpoints.get(MINIMUM_PAUSE)
        return await self._keys.refresh()

    def redirect_uri(self, port: int) -> str:
        return f"http://{self.settings.loopback_host}:{port}{self.settings.loopback_path}"

    async def authorization_url(
        self, redirect_uri: str, state: str, nonce: str, verifier: str, *, again: bool = False
    ) -> str:
        """Where the browser goes (RFC 6749, 4.1.1, with PKCE). `again`: the provider asks for the proof anew."""
        endpoints = await self._discover()
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": redirect_uri,
            "scope": self._scope(),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        if again:
            query |= {"prompt": "login", "max_age": "0"}
        return _with_query(endpoints.authorization, query)

    async def check_response_issuer(self, issuer: str) -> None:
        """Whether the authorization response is this provider's (RFC 9207). Raises ProofRefused."""
        endpoints = await self._discover()
        if (issuer or endpoints.sends_issuer) and issuer != self.settings.issuer:
            raise ProofRefused("the browser came back from another identity provider")

    async def redeem_code(self, code: str, redirect_uri: str, nonce: str, verifier: str) -> dict[str, Any]:
        """The claims that the code of the browser's redirect stands for. Raises ProofRefused."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        endpoints = await self._discover()
        status, answer = await self._post(endpoints.token, form)
        if status != 200:
            raise ProofRefused(f"it did not take the code: {_error(answer)}")
        return await self._proven(answer, nonce)

    async def authorize_device(self) -> DeviceAuthorization:
        """Begins RFC 8628. Raises ProofRefused when the provider does not let us."""
        endpoints = await self._discover()
        if not endpoints.device_authorization:
            raise ProofRefused("it has no device flow; use a browser: jit login --browser")
        status, answer = await self._post(endpoints.device_authorization, {"scope": self._scope()})
        if status != 200:
            raise ProofRefused(f"it did not begin a device flow: {_error(answer)}")
        return self._device_authorization(answer)

    async def redeem_device_code(self, device_code: str) -> dict[str, Any] | NotYet:
        """The claims, once the person has finished. Raises ProofRefused: denied, or too late."""
        endpoints = await self._discover()
        form = {"grant_type": _DEVICE_GRANT, "device_code": device_code}
        status, answer = await self._post(endpoints.token, form)
        if status == 200:
            return await self._proven(answer, None)
        match answer.get("error"):
            case "authorization_pending":
                return NotYet()
            case "slow_down":
                return NotYet(_SLOWER_BY)
            case "access_denied":
                raise ProofRefused("the sign-in was denied there")
            case "expired_token":
                raise ProofRefused("it was not finished in time")
        raise ProofRefused(f"it did not take the device's code: {_error(answer)}")

    def sign_out_url(self) -> str:
        """Where the person's browser ends the session there (RP-Initiated Logout 1.0); empty: nowhere known."""
        endpoints = self._endpoints.latest
        if endpoints is None or not endpoints.end_session:
            return ""
        return _with_query(endpoints.end_session, {"client_id": self.settings.client_id})

    async def _proven(self, answer: Mapping[str, Any], nonce: str | None) -> dict[str, Any]:
        token, access_token = answer.get("id_token"), answer.get("access_token")
        if not isinstance(token, str):
            raise ProofRefused("it gave no ID token")
        claims, algorithm = await id_token.verify(token, self._keys, self.settings.algorithms)
        skew = timedelta(seconds=self.settings.clock_skew_seconds)
        id_token.check(claims, Expected(self.settings.issuer, self.settings.client_id, nonce, skew), self._clock())
        if not isinstance(access_token, str) or not 0 < len(access_token) <= _MAXIMUM_TOKEN:
            return claims
        id_token.check_access_token(claims, access_token, algorithm)
        return await self._completed(claims, access_token) if self.settings.userinfo else claims

    async def _completed(self, claims: dict[str, Any], access_token: str) -> dict[str, Any]:
        """With the claims that only the userinfo endpoint has; what the ID token says is signed and wins."""
        endpoints = await self._discover()
        if not endpoints.userinfo:
            raise ProviderUnavailable("it has no userinfo endpoint, which the configuration asks for")
        more = await self._http.get(endpoints.userinfo, access_token)
        if not isinstance(claims.get("sub"), str) or more.get("sub") != claims["sub"]:
            raise ProofRefused("its userinfo is about somebody else")
        return {**more, **claims}

    def _device_authorization(self, answer: Mapping[str, Any]) -> DeviceAuthorization:
        def text(name: str, maximum: int) -> str:
            value = answer.get(name, "")
            if not isinstance(value, str) or len(value) > maximum or not value.isprintable():
                raise ProviderUnavailable(f"its {name} for the device flow is none")
            return value

        def seconds(name: str, otherwise: int) -> int:
            value = answer.get(name, otherwise)
            return value if isinstance(value, int) and 0 < value < 1 << 31 else otherwise

        addresses = text("verification_uri", 1024), text("verification_uri_complete", 1024)
        for address in filter(None, addresses):
            if not is_trustworthy(address, insecure_loopback=self.settings.insecure_loopback):
                raise ProviderUnavailable("its address for the device flow is no https:// address")
        device_code, user_code = text("device_code", 4096), text("user_code", 64)
        if not (device_code and user_code and addresses[0]):
            raise ProviderUnavailable("it began a device flow without saying where to go and what to type")
        interval = min(max(seconds("interval", 5), _SHORTEST_INTERVAL), _LONGEST_INTERVAL)
        return DeviceAuthorization(
            device_code,
            user_code,
            *addresses,
            timedelta(seconds=seconds("expires_in", 300)),
            timedelta(seconds=interval),
        )

    async def _post(self, url: str, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        """As this client: with its secret where it has one (RFC 6749, 2.3.1)."""
        secret, client_id = self._client_secret(), self.settings.client_id
        if not secret:
            return await self._http.post(url, {**form, "client_id": client_id}, {})
        if self.settings.client_authentication == "post":
            return await self._http.post(url, {**form, "client_id": client_id, "client_secret": secret}, {})
        pair = base64.b64encode(f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()).decode()
        return await self._http.post(url, form, {"Authorization": f"Basic {pair}"})

    def _client_secret(self) -> str:
        file = self.settings.client_secret_file
        if file is None:
            return ""
        try:
            with file.open(encoding="utf-8") as stream:
                secret = stream.read(4096).strip()
        except (OSError, UnicodeDecodeError):
            raise ProviderUnavailable(f"the client secret in {file} can't be read") from None
        if not secret:
            raise ProviderUnavailable(f"there is no client secret in {file}")
        return secret

    async def _discover(self) -> Endpoints:
        return await self._endpoints.get(_DISCOVERED_FOR)

    async def _fetch_endpoints(self) -> Endpoints:
        return discovery.read(await self._http.get(discovery.address(self.settings.issuer)), self.settings)

    async def _fetch_keys(self) -> dict[str, Any]:
        return await self._http.get((await self._discover()).keys)

    def _scope(self) -> str:
        return " ".join(dict.fromkeys(("openid", *self.settings.scopes)))


def _with_query(address: str, query: Mapping[str, str]) -> str:
    return f"{address}{'&' if '?' in address else '?'}{urlencode(query)}"


def _error(answer: Mapping[str, Any]) -> str:
    """The provider's own word for it; its longer text may repeat what we sent."""
    error = answer.get("error")
    return error[:64] if isinstance(error, str) and error.isprintable() else "no reason given"
