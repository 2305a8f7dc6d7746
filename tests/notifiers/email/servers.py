"""A real mail server over TLS that wants to be signed in to."""

import asyncio
import contextlib
import ipaddress
import ssl
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.ports import KeptPorts

USER, PASSWORD = "jitgate", "smtp secret: ü & more"


def certificate(folder: Path) -> Path:
    """A certificate of its own for 127.0.0.1, with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mail")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file = folder / "mail.pem"
    file.write_bytes(made.public_bytes(Encoding.PEM) + pem)
    return file


@dataclass
class MailServer:
    port: int = 0
    pem: Path = Path()
    received: list[bytes] = field(default_factory=list)
    envelopes: list[tuple[str, list[str]]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    """Who connected."""
    refuses: dict[str, str] = field(default_factory=dict)  # recipient -> answer
    listening: asyncio.Server | None = None
    listen: Callable[[], Awaitable[asyncio.Server]] | None = None

    def mails(self) -> list[EmailMessage]:
        """No property: the library reads those of its handler at every connection, and this takes a while."""
        parsed = [message_from_bytes(raw, policy=policy.default) for raw in self.received]
        return [mail for mail in parsed if isinstance(mail, EmailMessage)]

    async def shut(self) -> None:
        assert self.listening is not None
        self.listening.close()
        await self.listening.wait_closed()

    @contextlib.asynccontextmanager
    async def down(self) -> AsyncIterator[None]:
        """Nobody answers meanwhile."""
        await self.shut()
        with contextlib.closing(KeptPorts([f"127.0.0.1:{self.port}"])):
            yield
            assert self.listen is not None
            self.listening = await self.listen()

    async def handle_EHLO(  # noqa: N802  # named by the library
        self, _server: SMTP, session: Session, _envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        if session.ssl is None:  # they greet again over TLS
            self.calls.append(hostname)
        session.host_name = hostname
        return responses

    async def handle_RCPT(  # noqa: N802  # named by the library
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: Sequence[str]
    ) -> str:
        if address in self.refuses:
            return self.refuses[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        self.received.append(envelope.content)
        self.envelopes.append((str(envelope.mail_from), list(envelope.rcpt_tos)))
        return "250 OK: queued"


def _authenticate(_server: SMTP, _session: Session, _envelope: Envelope, _how: str, given: Any) -> AuthResult:
    known = (
        isinstance(given, LoginPassword) and given.login == USER.encode() and given.password == PASSWORD.encode()
    )
    return AuthResult(success=known, handled=False)


@contextlib.asynccontextmanager
async def mail_server(folder: Path, *, implicit_tls: bool = False) -> AsyncIterator[MailServer]:
    server = MailServer(pem=certificate(folder))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.pem)

    def connection() -> SMTP:
        options: dict[str, Any] = {"auth_required": True, "authenticator": _authenticate}
        if implicit_tls:
            with warnings.catch_warnings(action="ignore"):  # it does not see that there is TLS around it
                return SMTP(server, hostname="mail", auth_require_tls=False, **options)
        return SMTP(server, hostname="mail", tls_context=context, require_starttls=True, **options)

    async def listen() -> asyncio.Server:
        loop = asyncio.get_running_loop()
        return await loop.create_server(
            connection, "127.0.0.1", server.port, ssl=context if implicit_tls else None
        )

    server.listen = listen
    server.listening = await listen()
    server.port = server.listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        await server.shut()
