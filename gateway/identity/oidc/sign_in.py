"""Signing in at an identity provider: begun here, proven there, finished here, on whichever replica (R31)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.errors import Kind, Refused
from gateway.identity import backoff
from gateway.identity.attempts import Attempts
from gateway.identity.oidc import chats, errors, id_token, people, sealing
from gateway.identity.oidc.claims import person_of, subject_of
from gateway.identity.oidc.errors import ProofRefused, ProviderUnavailable
from gateway.identity.oidc.provider import NotYet, Provider
from gateway.identity.oidc.sealing import new_secret
from gateway.identity.ports import AccessEnder, Clock
from gateway.identity.signed_in import Admit, Certifier, Proven, SignedIn, T
from gateway.store import events, sign_in_flows
from gateway.store.contacts import Taken
from gateway.store.database import Database
from gateway.store.events import Event
from gateway.store.sign_in_flows import Flow

LIFETIME = timedelta(minutes=10)
# A company behind one address signs in on a Monday morning; beyond that somebody is filling the table.
MAXIMUM_OF_SOURCE = 100
MAXIMUM = 10_000
_LONGEST_INTERVAL = timedelta(minutes=1)

_log = structlog.get_logger("jitgate.oidc")


@dataclass(frozen=True, slots=True)
class BrowserFlow:
    """Begun: to be opened in a browser, and finished with the handle by `expires_at`."""

    handle: str = field(repr=False)
    authorization_url: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class BroughtBack:
    """What a browser brings back from the provider, in the query of the redirect address."""

    code: str = field(repr=False)
    state: str = field(repr=False)
    issuer: str = ""


@dataclass(frozen=True, slots=True)
class DeviceFlow:
    """Begun: the person types the code there; meanwhile the handle asks, not more often than every `interval`."""

    handle: str = field(repr=False)
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_at: datetime
    interval: timedelta


class OidcSignIn:
    """Every method raises Refused: PROVIDER_UNKNOWN or SIGN_IN_OVER, PROVIDER_UNAVAILABLE, SIGN_IN_BACKOFF;
    those that finish also SIGN_IN_FAILED, CLAIM_UNUSABLE, and what `people.admit` raises."""

    def __init__(
        self,
        database: Database,
        providers: Mapping[str, Provider],
        certifier: Certifier,
        ender: AccessEnder,
        clock: Clock,
    ) -> None:
        self.providers = providers
        self._database = database
        self._certifier = certifier
        self._ender = ender
        self._clock = clock
        self._attempts = Attempts(database, clock)

    async def close(self) -> None:
        for provider in self.providers.values():
            await provider.close()

    async def begin_browser(
        self, provider_name: str, certificate_request: bytes, port: int, source_address: str
    ) -> BrowserFlow:
        """`port` is where the client listens on its loopback address."""
        provider = self._provider(provider_name, "browser")
        self._certifier.for_key(certificate_request)  # one that can't be certified is refused now
        redirect_uri = provider.redirect_uri(port)
        return await self._begin(provider, "browser", redirect_uri, source_address, certificate_request)

    async def begin_web(
        self, provider_name: str, redirect_uri: str, source_address: str, *, again: bool, keep: Mapping[str, str]
    ) -> BrowserFlow:
        """For a session of the browser itself, which comes back to `redirect_uri`, an address of ours.

        `again`: the provider must ask for the proof anew, whatever it remembers. `keep` comes back at the end.
        """
        provider = self._provider(provider_name, "web")
        return await self._begin(provider, "web", redirect_uri, source_address, again=again, keep=keep)

    async def _begin(
        self,
        provider: Provider,
        kind: str,
        redirect_uri: str,
        source_address: str,
        certificate_request: bytes = b"",
        *,
        again: bool = False,
        keep: Mapping[str, str] | None = None,
    ) -> BrowserFlow:
        await self._admit(source_address)
        handle, state, nonce, verifier = (new_secret() for _ in range(4))
        try:
            url = await provider.authorization_url(redirect_uri, state, nonce, verifier, again=again)
        except ProviderUnavailable as error:
            raise _unavailable(provider, error) from error
        secret = {"state": state, "nonce": nonce, "verifier": verifier, "redirect_uri": redirect_uri}
        if again:
            secret["not_before"] = self._clock().isoformat()
        flow = await self._add(
            provider,
            kind,
            handle,
            {**(keep or {}), **secret},
            certificate_request=certificate_request,
            source_address=source_address,
        )
        return BrowserFlow(handle, url, flow.expires_at)

    async def complete_browser(
        self, handle: str, code: str, state: str, issuer: str, source_address: str
    ) -> SignedIn:
        """With what the browser brought back to the client. Works once, whatever comes of it."""
        flow, secret = await self._under_way(handle, "browser", source_address)
        brought = BroughtBack(code, state, issuer)
        provider, claims = await self._redeemed(flow, secret, brought, source_address)
        return await self._certified(provider, claims, flow, source_address)

    async def complete_web(
        self, handle: str, brought: BroughtBack, source_address: str, admit: Admit[T]
    ) -> tuple[T, Mapping[str, str]]:
        """What the person gets, and what `begin_web` kept. Works once, whatever comes of it."""
        flow, secret = await self._under_way(handle, "web", source_address)
        provider, claims = await self._redeemed(flow, secret, brought, source_address)
        return await self._let_in(provider, claims, flow.kind, source_address, admit), secret

    async def _redeemed(
        self, flow: Flow, secret: Mapping[str, str], brought: BroughtBack, source_address: str
    ) -> tuple[Provider, Mapping[str, Any]]:
        """The provider, and what it says of the person."""
        await self._use_up(flow)
        provider = self._provider(flow.provider, flow.kind)
        try:
            sealing.check_state(brought.state, secret["state"])
            await provider.check_response_issuer(brought.issuer)
            claims = await provider.redeem_code(
                brought.code, secret["redirect_uri"], secret["nonce"], secret["verifier"]
            )
            if "not_before" in secret:
                skew = timedelta(seconds=provider.settings.clock_skew_seconds)
                id_token.check_proven_since(claims, datetime.fromisoformat(secret["not_before"]) - skew)
        except ProviderUnavailable as error:
            raise _unavailable(provider, error) from error
        except ProofRefused as refused:
            raise await self._not_proven(provider, refused, source_address) from refused
        return provider, claims

    async def begin_device(
        self, provider_name: str, certificate_request: bytes, source_address: str
    ) -> DeviceFlow:
        """The gateway asks the provider for the codes, and keeps the secret one."""
        provider = self._provider(provider_name, "device")
        self._certifier.for_key(certificate_request)
        await self._admit(source_address)
        try:
            begun = await provider.authorize_device()
        except ProviderUnavailable as error:
            raise _unavailable(provider, error) from error
        except ProofRefused as refused:
            raise errors.not_proven(str(refused)) from refused
        handle = new_secret()
        secret = {"device_code": begun.device_code}
        flow = await self._add(
            provider,
            "device",
            handle,
            secret,
            certificate_request=certificate_request,
            source_address=source_address,
            lifetime=begun.lifetime,
            interval=begun.interval,
        )
        return DeviceFlow(
            handle,
            begun.user_code,
            begun.verification_uri,
            begun.verification_uri_complete,
            flow.expires_at,
            flow.interval,
        )

    async def complete_device(self, handle: str, source_address: str) -> SignedIn | timedelta:
        """The certificate, or how long to wait before asking again."""
        flow, secret = await self._under_way(handle, "device", source_address)
        now = self._clock()
        async with self._database.transaction() as tx:
            our_turn = await sign_in_flows.claim_poll(tx.connection, flow, now)
        if not our_turn:
            return max(flow.next_poll_at - now, timedelta(seconds=1))
        provider = self._provider(flow.provider, "device")
        try:
            answer = await provider.redeem_device_code(secret["device_code"])
        except ProviderUnavailable as error:
            raise _unavailable(provider, error) from error
        except ProofRefused as refused:
            await self._use_up(flow)
            raise await self._not_proven(provider, refused, source_address) from refused
        if isinstance(answer, NotYet):
            return await self._wait(flow, answer)
        await self._use_up(flow)
        return await self._certified(provider, answer, flow, source_address)

    def _provider(self, name: str, kind: str) -> Provider:
        provider = self.providers.get(name)
        if provider is None or kind not in provider.settings.flows:
            what = f"no identity provider {name!r}" if provider is None else f"no {kind} flow with {name}"
            raise Refused(
                Kind.NOT_FOUND,
                "PROVIDER_UNKNOWN",
                f"this gateway has {what}",
                "Let jit list them: jit login without --provider.",
            )
        return provider

    async def _admit(self, source_address: str) -> None:
        """Before the provider is asked: the source is not flooding us."""
        await self._attempts.admit_source(source_address)
        async with self._database.read() as connection:
            await _check_room(connection, backoff.source_of(source_address), self._clock())

    async def _add(
        self,
        provider: Provider,
        kind: str,
        handle: str,
        secret: Mapping[str, str],
        *,
        certificate_request: bytes,
        source_address: str,
        lifetime: timedelta = LIFETIME,
        interval: timedelta = timedelta(),
    ) -> Flow:
        now = self._clock()
        flow = Flow(
            sealing.hash_handle(handle),
            provider.name,
            kind,
            backoff.source_of(source_address),
            certificate_request,
            sealing.seal(handle, secret),
            now + min(lifetime, LIFETIME),
            now + interval,
            interval,
        )
        async with self._database.transaction() as tx:
            await sign_in_flows.forget_before(tx.connection, now)
            await _check_room(tx.connection, flow.source, now)
            await sign_in_flows.add(tx.connection, flow)
        return flow

    async def _under_way(self, handle: str, kind: str, source_address: str) -> tuple[Flow, dict[str, str]]:
        await self._attempts.admit_source(source_address)
        async with self._database.read() as connection:
            flow = await sign_in_flows.get(connection, sealing.hash_handle(handle), self._clock())
        if flow is None or flow.kind != kind:
            await self._attempts.failed(f"oidc {kind}", "", source_address, exists=False, why="no such sign-in")
            raise errors.over()
        return flow, sealing.unseal(handle, flow.sealed)

    async def _use_up(self, flow: Flow) -> None:
        async with self._database.transaction() as tx:
            if not await sign_in_flows.finish(tx.connection, flow.handle_hash):
                raise errors.over()

    async def _wait(self, flow: Flow, answer: NotYet) -> timedelta:
        if not answer.slower_by:
            return flow.interval
        interval = min(flow.interval + answer.slower_by, _LONGEST_INTERVAL)
        async with self._database.transaction() as tx:
            await sign_in_flows.slow_down(tx.connection, flow.handle_hash, interval, self._clock())
        return interval

    async def _certified(
        self, provider: Provider, claims: Mapping[str, Any], flow: Flow, source_address: str
    ) -> SignedIn:
        admit = self._certifier.for_key(flow.certificate_request)
        signed_in = await self._let_in(provider, claims, flow.kind, source_address, admit)
        return SignedIn(signed_in.user, signed_in.grants, signed_in.certificate, provider.sign_out_url())

    async def _let_in(
        self, provider: Provider, claims: Mapping[str, Any], kind: str, source_address: str, admit: Admit[T]
    ) -> T:
        try:
            try:
                return await self._admitted(provider, claims, kind, source_address, admit)
            except (IntegrityError, Taken):
                # The same person for the first time at two replicas in the same moment: now there is a user.
                return await self._admitted(provider, claims, kind, source_address, admit)
        except Refused as refused:
            await self._tell_refused(provider, claims, refused, source_address)
            raise

    async def _admitted(
        self, provider: Provider, claims: Mapping[str, Any], kind: str, source_address: str, admit: Admit[T]
    ) -> T:
        person = person_of(claims, provider.settings.claims)
        async with self._database.transaction() as tx:
            user = await people.admit(
                tx,
                person,
                provider.settings.issuer,
                self._ender,
                create=provider.settings.create_users,
                now=self._clock(),
                source_address=source_address,
            )
            vouched = provider.settings.claims.chats
            await chats.bind(tx, user.id, person.chats, vouched, now=self._clock(), source_address=source_address)
            details = {"provider": provider.name, "flow": kind, "groups_left_out": person.left_out}
            at = id_token.proven_at(claims)
            return await admit(tx, Proven(user, source_address, at, provider.name, details))

    async def _not_proven(self, provider: Provider, refused: ProofRefused, source_address: str) -> Refused:
        why = str(refused)
        await self._attempts.failed(f"oidc {provider.name}", "", source_address, exists=False, why=why)
        return errors.not_proven(why)

    async def _tell_refused(
        self, provider: Provider, claims: Mapping[str, Any], refused: Refused, source_address: str
    ) -> None:
        """Somebody was proven and still not let in: not a guess, so it is told and not counted."""
        try:
            subject = subject_of(claims, provider.settings.claims)
        except Refused:
            subject = ""
        event = Event(
            "sign_in.refused",
            self._clock(),
            "",
            f"Somebody of {provider.settings.issuer} was not let in: {refused.message}",
            source_address=source_address,
            details={"provider": provider.name, "subject": subject, "reason": refused.reason},
        )
        async with self._database.transaction() as tx:
            await events.append(tx.connection, event)


async def _check_room(connection: AsyncConnection, source: str, now: datetime) -> None:
    of_source = await sign_in_flows.count(connection, now, source)
    if of_source >= MAXIMUM_OF_SOURCE or await sign_in_flows.count(connection, now) >= MAXIMUM:
        raise Refused(
            Kind.RESOURCE_EXHAUSTED,
            "SIGN_IN_BUSY",
            "too many sign-ins are under way",
            "Finish one of them, or try again in a few minutes.",
            retry_after=timedelta(minutes=1),
        )


def _unavailable(provider: Provider, error: ProviderUnavailable) -> Refused:
    _log.warning("provider_unavailable", provider=provider.name, why=str(error))
    return errors.unavailable(provider.name, str(error))
