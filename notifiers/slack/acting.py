"""How what people do in Slack gets here: posted by Slack, or over a connection of our own; by slack-bolt."""

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import aiohttp
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.signature import SignatureVerifier
from slack_sdk.web.async_client import AsyncWebClient

from notifiers.chat import Desk, Endpoint, Incoming, NotFromThere, Outgoing, Proof
from notifiers.errors import TryAgain
from notifiers.model import Action
from notifiers.slack import blocks
from notifiers.slack.handling import Handling, acknowledge
from notifiers.slack.settings import SlackSettings

_MAX_BODY: Final = 256 << 10  # an interaction carries the whole message
_REMEMBERED: Final = timedelta(minutes=10)
"""After it was signed: it counts for five minutes, and the clocks of gateways differ."""


class Acting:
    def __init__(self, settings: SlackSettings, client: AsyncWebClient) -> None:
        """Raises Unusable."""
        self._workspace = settings.workspace
        self._client = client
        self._app_token = settings.app_token() if settings.holds_a_connection else None
        self._verifier = (
            None
            if settings.holds_a_connection
            else SignatureVerifier(settings.signing_secret().get_secret_value())
        )
        self._app: AsyncApp | None = None
        self._handling: Handling | None = None

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        """One address for everything: interactions, events and the slash command."""
        return () if self._verifier is None else (Endpoint("", self._prove, self._answer, _MAX_BODY),)

    async def listen(self, desk: Desk) -> None:
        """Until cancelled. Returns at once where Slack posts to us. Raises TryAgain."""
        if self._app_token is None:
            return
        handler = AsyncSocketModeHandler(self._for(desk), self._app_token.get_secret_value())
        try:
            await handler.connect_async()  # type: ignore[no-untyped-call]  # Bolt's
            await asyncio.Event().wait()  # the handler connects anew by itself
        except (SlackApiError, SlackClientError, aiohttp.ClientError, TimeoutError, OSError) as failure:
            raise TryAgain(f"Slack opens no connection: {type(failure).__name__}") from None
        finally:
            await handler.close_async()  # type: ignore[no-untyped-call]  # Bolt's

    async def close(self) -> None:
        if self._handling is not None:
            await self._handling.close()

    async def _prove(self, incoming: Incoming) -> Proof:
        """By signature v0, of the last five minutes. The signature itself is taken once: what was a click of
        somebody must not become another one."""
        assert self._verifier is not None
        timestamp = incoming.headers.get("x-slack-request-timestamp", "")
        signature = incoming.headers.get("x-slack-signature", "")
        if not re.fullmatch(r"\d{1,12}", timestamp) or not signature.isascii():
            raise NotFromThere("there is no signature")
        try:
            is_valid = self._verifier.is_valid(incoming.body, timestamp, signature)
        except UnicodeDecodeError:
            raise NotFromThere("the body is no text") from None
        if not is_valid:
            raise NotFromThere("the signature is wrong, or older than five minutes")
        return Proof(signature, datetime.fromtimestamp(int(timestamp), UTC) + _REMEMBERED)

    async def _answer(self, incoming: Incoming, desk: Desk) -> Outgoing:
        request = AsyncBoltRequest(
            body=incoming.body.decode("utf-8", "replace"),
            headers={name: [value] for name, value in incoming.headers.items()},
        )
        response = await self._for(desk).async_dispatch(request)
        kind = response.first_headers().get("content-type", "text/plain").partition(";")[0]
        return Outgoing(response.status, (response.body or "").encode(), kind)

    def _for(self, desk: Desk) -> AsyncApp:
        if self._app is None:
            # What comes over HTTP was proven before; what comes over our own connection is Slack's.
            app = AsyncApp(client=self._client, request_verification_enabled=False)
            handling = Handling(self._workspace, self._client, desk)
            app.action(re.compile(f"^({'|'.join(Action)})$"))(handling.clicked)
            app.action(blocks.OPEN)(acknowledge)
            app.view(re.compile(f"^{blocks.DIALOG}:"))(handling.submitted)
            app.command(re.compile(".*"))(handling.commanded)
            app.event("message")(handling.written)
            self._app, self._handling = app, handling
        return self._app
