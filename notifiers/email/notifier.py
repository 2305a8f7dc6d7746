"""Brings mails to a mail server (RFC 5321): verified TLS, one connection a mail."""

import asyncio
import contextlib
import importlib
import ssl
from collections.abc import AsyncIterator, Mapping
from types import ModuleType
from typing import Any

import aiosmtplib

from notifiers.email.message import Composer, message_id
from notifiers.email.settings import Dkim, EmailSettings, is_address
from notifiers.errors import TryAgain, Undeliverable, Unusable
from notifiers.model import Delivery, Receipt
from notifiers.text import cut, shown

_SIGNED_HEADERS = ("from", "to", "subject", "date", "message-id", "in-reply-to", "references", "mime-version",
                   "content-type", "auto-submitted")  # fmt: skip
_PARTING_SECONDS = 2.0
"""Beside what a mail itself may take."""


class EmailNotifier:
    """A recipient's address is `{"email": "bob@example.org"}`; a mail's reference is its message id."""

    def __init__(self, settings: EmailSettings) -> None:
        """Raises Unusable."""
        self.concurrency = settings.concurrency
        self._settings = settings
        self._composer = Composer(settings)
        self._tls = _context(settings)
        self._dkim: ModuleType | None = None
        settings.password()  # what can't be read is told now, not at the first notice
        if settings.dkim is not None:
            self._dkim = _dkim_library()
            _dkim_key(settings.dkim)

    async def deliver(self, delivery: Delivery) -> Receipt:
        """Raises TryAgain, Undeliverable."""
        self.check_address(delivery.recipient.address)
        address = delivery.recipient.address["email"]
        mail = await self._signed(self._composer.compose(delivery, address))
        async with self._connected() as server:
            await server.sendmail(self._settings.sender, [address], mail)
        if delivery.first is not None:
            return Receipt(delivery.first)  # later mails answer the first one, not each other
        return Receipt({"message_id": message_id(delivery, self._settings.own_domain)})

    def check_address(self, address: Mapping[str, str]) -> None:
        """Raises Undeliverable."""
        if not is_address(address.get("email", "")):
            raise Undeliverable("the recipient's address is no mail address")

    async def check(self) -> str:
        """Raises TryAgain, Undeliverable."""
        async with self._connected() as server:
            await server.noop()
        host, port = self._settings.address
        how = {"starttls": "with STARTTLS", "tls": "over TLS", "none": "without TLS"}[self._settings.security]
        who = f", as {self._settings.username}" if self._settings.username else ""
        return f"{host}:{port} takes mail {how}{who}"

    async def close(self) -> None:
        """There is nothing to give back: no connection outlives its mail."""

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[aiosmtplib.SMTP]:
        """A server that knows us. What goes wrong with it, or with what is said to it, becomes TryAgain or
        Undeliverable."""
        host, port = self._settings.address
        server = aiosmtplib.SMTP(
            hostname=host,
            port=port,
            local_hostname=self._settings.own_domain,
            use_tls=self._settings.security == "tls",
            start_tls=self._settings.security == "starttls",
            tls_context=self._tls,
            timeout=self._settings.timeout_seconds,
        )
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                await server.connect()
                await self._sign_in(server)
                yield server
            # The mail is taken by now; a server that hangs up or falls silent does not undo that.
            with contextlib.suppress(aiosmtplib.SMTPException, OSError):  # TimeoutError is one
                async with asyncio.timeout(_PARTING_SECONDS):
                    await server.quit()
        except aiosmtplib.SMTPAuthenticationError as refused:
            # Not for good: an operator can mend it.
            raise TryAgain(f"{host} did not let {self._settings.username} in: {_answer(refused)}") from None
        except aiosmtplib.SMTPRecipientsRefused as refused:
            raise _judged(host, refused.recipients[0]) from None
        except (
            aiosmtplib.SMTPConnectError,
            aiosmtplib.SMTPTimeoutError,
            aiosmtplib.SMTPServerDisconnected,
        ) as gone:
            raise TryAgain(f"{host}:{port}: {_words(gone)}") from None
        except aiosmtplib.SMTPResponseException as refused:
            raise _judged(host, refused) from None
        except (aiosmtplib.SMTPException, ssl.SSLError, OSError, ValueError) as failure:  # TimeoutError is OSError
            raise TryAgain(f"{host}:{port}: {_words(failure)}") from None
        finally:
            server.close()

    async def _sign_in(self, server: aiosmtplib.SMTP) -> None:
        try:
            password = self._settings.password()
        except Unusable as missing:
            raise TryAgain(str(missing)) from None
        if password is not None:
            await server.login(self._settings.username, password.get_secret_value())

    async def _signed(self, mail: bytes) -> bytes:
        if self._settings.dkim is None or self._dkim is None:
            return mail
        return await asyncio.to_thread(_sign, self._dkim, self._settings.dkim, mail)


def _context(settings: EmailSettings) -> ssl.SSLContext | None:
    if settings.security == "none":
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except OSError:  # ssl.SSLError is one
        raise Unusable(f"{settings.ca_file} is no file of certificates in PEM") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _dkim_library() -> ModuleType:
    try:
        return importlib.import_module("dkim")
    except ImportError:
        raise Unusable("signing mails needs dkimpy. Install it: pip install 'jitgate[dkim]'") from None


def _dkim_key(settings: Dkim) -> bytes:
    try:
        key = settings.key_file.read_bytes()
    except OSError:
        raise Unusable(f"the DKIM key in {settings.key_file} can't be read") from None
    if b"PRIVATE KEY" not in key:
        raise Unusable(f"{settings.key_file} holds no private key in PEM")
    return key


def _sign(library: ModuleType, settings: Dkim, mail: bytes) -> bytes:
    """Raises TryAgain: without the signature the mail would be taken for forged."""
    try:
        signature: bytes = library.sign(
            mail,
            settings.selector.encode(),
            settings.domain.encode(),
            _dkim_key(settings),
            canonicalize=(b"relaxed", b"relaxed"),
            include_headers=[header.encode() for header in _SIGNED_HEADERS],
        )
    except Unusable as unusable:
        raise TryAgain(str(unusable)) from None
    except Exception as failure:  # noqa: BLE001  # the library raises what its parts raise
        raise TryAgain(f"the mail could not be signed: {type(failure).__name__}") from None
    return signature + mail


def _judged(host: str, refused: aiosmtplib.SMTPResponseException) -> TryAgain | Undeliverable:
    """4xx is for now, 5xx for good (RFC 5321, 4.2.1)."""
    why = f"{host} refused it: {_answer(refused)}"
    return Undeliverable(why) if refused.code >= 500 else TryAgain(why)


def _answer(refused: aiosmtplib.SMTPResponseException) -> str:
    return f"{refused.code} {_words(refused)}"


def _words(failure: Exception) -> str:
    text = failure.message if isinstance(failure, aiosmtplib.SMTPException) else str(failure)
    return cut(shown(text or type(failure).__name__), 200)


def make(settings: Mapping[str, Any]) -> EmailNotifier:
    """Raises pydantic.ValidationError, Unusable."""
    return EmailNotifier(EmailSettings.model_validate(settings))
