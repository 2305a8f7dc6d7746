"""Events by HTTP POST, signed as Standard Webhooks 1.0 has it, with a CloudEvent as the body.

The receiver can tell who sent a message and that it is no replay: the signature covers id, time and body. Two
secrets at once make a rotation without a gap: the message carries a signature by each.
"""

import base64
import binascii
import hashlib
import hmac
import ssl
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from notifiers.errors import TryAgain, Undeliverable, Unusable
from notifiers.events.cloudevent import encode, to_cloudevent
from notifiers.events.model import PublishedEvent
from notifiers.loopback import is_loopback

CONTENT_TYPE = "application/cloudevents+json"
SECRET_PREFIX = "whsec_"  # noqa: S105 # not a secret: what each begins with
_SECRET_BYTES = range(24, 65)
_SECRET_FILE_BYTES = 1024
_GONE = 410


class WebhookSettings(BaseModel):
    """Where to, and the files that the secrets stand in: one, or two while the secret is being changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(max_length=2000)
    secret_files: tuple[Path, ...] = Field(min_length=1, max_length=2)
    ca_file: Path | None = None  # what the receiver's certificate is checked against; the system's, unless given
    timeout_seconds: float = Field(default=15, gt=0, le=25)
    concurrency: int = Field(default=4, ge=1, le=32)

    @field_validator("url")
    @classmethod
    def _is_safe(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            host = parts.hostname
        except ValueError:
            host = None
        if not host or parts.scheme not in {"https", "http"}:
            raise ValueError("must be an https:// address")
        if parts.scheme == "http" and not is_loopback(host):
            raise ValueError("must be https://: events tell who may enter what")
        if parts.username or parts.password:
            raise ValueError("must hold no password: messages are signed instead")
        return url

    @model_validator(mode="after")
    def _are_different(self) -> Self:
        if len(set(self.secret_files)) != len(self.secret_files):
            raise ValueError("secret_files are two different ones, or one")
        return self


class WebhookSink:
    """The secrets are read anew whenever a message is signed: changing a file is all that a rotation takes.

    Raises Unusable when they can't be read now.
    """

    at_once = 1  # the message's id is the event's: receivers tell by it what they have had

    def __init__(
        self,
        settings: WebhookSettings,
        source: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self.concurrency = settings.concurrency
        self._source = source
        self._clock = clock
        try:
            self._secrets()
            trusted = ssl.create_default_context(cafile=str(settings.ca_file) if settings.ca_file else None)
        except (OSError, ValueError) as problem:
            raise Unusable(f"the webhook {_name(settings.url)} cannot be used: {problem}") from None
        self._client = httpx.AsyncClient(
            verify=trusted,
            timeout=settings.timeout_seconds,
            follow_redirects=False,
            headers={"user-agent": "Jitgate"},
        )

    async def put(self, events: Sequence[PublishedEvent]) -> Sequence[PublishedEvent]:
        for event in events:
            await self._post(event)
        return ()

    async def check(self) -> str:
        """Connects, asks nothing."""
        try:
            await self._client.options(self._settings.url)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TryAgain(f"{_name(self._settings.url)} does not answer: {_why(error)}") from None
        return f"{_name(self._settings.url)} answers"

    async def close(self) -> None:
        await self._client.aclose()

    async def _post(self, event: PublishedEvent) -> None:
        body = encode(to_cloudevent(event, self._source))
        try:
            headers = sign(self._secrets(), event.id, int(self._clock().timestamp()), body)
        except (OSError, ValueError) as problem:
            raise TryAgain(f"the message cannot be signed: {problem}") from None
        try:
            async with self._client.stream(
                "POST", self._settings.url, content=body, headers={**headers, "content-type": CONTENT_TYPE}
            ) as response:
                self._judge(response)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TryAgain(f"{_name(self._settings.url)} does not answer: {_why(error)}") from None

    def _judge(self, response: httpx.Response) -> None:
        """By the status alone: the body is not read. What is not taken is tried again, but where it is gone."""
        if response.is_success:
            return
        why = f"{_name(self._settings.url)} answered {response.status_code}"
        if response.status_code == _GONE:
            raise Undeliverable(why)
        raise TryAgain(why, _seconds(response.headers.get("retry-after", "")))

    def _secrets(self) -> tuple[bytes, ...]:
        return tuple(_read_secret(file) for file in self._settings.secret_files)


def sign(secrets: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of a message. `timestamp` is in seconds since 1970; each secret makes a signature."""
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    signatures = (base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode() for secret in secrets)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def _read_secret(file: Path) -> bytes:
    """Raises OSError, ValueError; neither text holds any of it."""
    with file.open("rb") as stream:
        text = stream.read(_SECRET_FILE_BYTES + 1)
    try:
        secret = base64.b64decode(text.decode("ascii").strip().removeprefix(SECRET_PREFIX), validate=True)
    except (UnicodeDecodeError, binascii.Error):
        raise ValueError(f"{file} holds no secret of the form {SECRET_PREFIX}BASE64") from None
    if len(secret) not in _SECRET_BYTES:
        raise ValueError(f"the secret in {file} must have {_SECRET_BYTES[0]} to {_SECRET_BYTES[-1]} bytes")
    return secret


def _seconds(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else None


def _name(url: str) -> str:
    """Scheme and host: a path can be a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__


def make(settings: Mapping[str, Any], source: str) -> WebhookSink:
    """Raises pydantic.ValidationError, Unusable."""
    return WebhookSink(WebhookSettings.model_validate(settings), source, lambda: datetime.now(UTC))
