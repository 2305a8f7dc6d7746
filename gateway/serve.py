"""The running gateway: started in order, stopped in the reverse order."""

import asyncio
import contextlib
import fcntl
import os
import secrets
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from gateway import keys as key_folder
from gateway import memory, recording_parts, telemetry
from gateway.api.server import Listener
from gateway.assembly import Assembly, Worker, assemble, http_routes, registration_service, sign_in_service
from gateway.config import Configuration
from gateway.http.app import application
from gateway.http.listener import HttpListener
from gateway.http.tls import server_context
from gateway.identity.administrator_codes import ensure_first_administrator
from gateway.keys import Keys
from gateway.notices.channels import BadChannel, Channels, open_channels
from gateway.recording_parts import RecordingParts
from gateway.store.database import Database
from gateway.store.migrate import migrate
from gateway.tasks import end_all
from gateway.version import VERSION

_log = structlog.get_logger("jitgate")


_LOG_SECONDS = 5.0
"""How long what waits to be logged can hold up the end of the gateway."""


class CannotStart(Exception):
    """The gateway cannot start here; the text says why and what to do."""


def utc_now() -> datetime:
    return datetime.now(UTC)


async def run(settings: Configuration) -> None:
    """Serves until SIGTERM or SIGINT. Raises CannotStart, KeyFileUnusable, KeyRefused, UnfitStore, DatabaseTooNew,
    DatabaseUnavailable, OSError."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    stop_telemetry = telemetry.configure(settings.telemetry, VERSION)
    try:
        with _sole_user(settings.data_dir):
            keys = key_folder.load(settings.keys_directory, settings.tls, utc_now)
            async with (
                _database(settings) as database,
                recording_parts.opened(settings, keys) as recordings,
                _channels(settings) as channels,
                _serving(settings, keys, database, recordings, channels),
            ):
                await stop.wait()
                _log.info("stopping")
    finally:
        await asyncio.to_thread(stop_telemetry)
    _log.info("stopped")


@contextlib.asynccontextmanager
async def _database(settings: Configuration) -> AsyncIterator[Database]:
    database = Database(settings.database, connections=settings.database_connections)
    try:
        await migrate(database)
        yield database
    finally:
        await database.close()


@contextlib.asynccontextmanager
async def _channels(settings: Configuration) -> AsyncIterator[Channels]:
    source = f"//{settings.public_address or settings.listen}"
    try:
        channels = open_channels(settings.notifications, settings.events, source=source)
    except BadChannel as error:
        raise CannotStart(str(error)) from None
    try:
        _require_a_way_in(settings, channels)
        yield channels
    finally:
        await channels.close()


def _require_a_way_in(settings: Configuration, channels: Channels) -> None:
    """For what chat services post. With an address that people and services know, another gateway may have it.

    Raises CannotStart.
    """
    if settings.http_listen is not None or settings.http.public_url is not None:
        return
    for channel in channels.notifiers:
        if channel.endpoints:
            raise CannotStart(
                f"[notifications.{channel.plan.name}] is for a service that posts to the web listener, and there "
                "is none. Set http_listen, or http.public_url where another gateway has it"
            )


@contextlib.asynccontextmanager
async def _serving(
    settings: Configuration, keys: Keys, database: Database, recordings: RecordingParts, channels: Channels
) -> AsyncIterator[None]:
    replica = _replica_id(settings.data_dir / "replica-id")
    parts = assemble(settings, keys, database, recordings, utc_now, channels=channels, replica=replica)
    kept = await parts.adoption.expect()
    recovery = await parts.recorder.start(hold=kept)
    try:
        lost = await parts.sessions.recover()
        await parts.attachments.recover()
        if lost or kept or recovery.finished or recovery.waiting or recovery.quarantined:
            _log.warning(
                "recovered",
                sessions_ended=lost,
                sessions_expected=len(kept),
                recordings_finished=len(recovery.finished),
                recordings_waiting=len(recovery.waiting),
                recordings_quarantined=len(recovery.quarantined),
            )
        web = None if settings.http_listen is None else HttpListener(settings.http_listen, settings.http)
        parts.expander.public_url = (web.public_url if web else settings.http.public_url) or ""
        async with _working(parts.workers):
            gateway, sign_in, agents = _listeners(settings, keys, parts)
            code = await ensure_first_administrator(database, utc_now)
            await gateway.start()
            await sign_in.start()
            await agents.start()
            if web is not None:
                await _start_web(web, settings, keys, parts)
            _greet(sign_in.address, keys, code)
            memory.keep_what_is_there()
            _log.info(
                "serving",
                address=gateway.address,
                sign_in_address=sign_in.address,
                agent_address=agents.address,
                http_address=web.address if web else "",
                version=VERSION,
            )
            try:
                yield
            finally:
                await gateway.refuse_new()
                if web is not None:
                    await web.stop(1)
                await sign_in.stop(0)
                await parts.adoption.stop()
                await parts.sessions.stop(settings.shutdown_grace_seconds)
                await parts.session_logs.stop(_LOG_SECONDS)
                await parts.attachments.stop()
                await agents.stop(1)
                await gateway.stop(1)
    finally:
        await parts.recorder.stop()
        await parts.oidc.close()


async def _start_web(web: HttpListener, settings: Configuration, keys: Keys, parts: Assembly) -> None:
    routes = http_routes(parts, web.public_url, utc_now)
    app = application(routes, parts.browser_sessions, at_once=settings.http.max_requests_at_once)
    await web.start(app, server_context(lambda: keys.http_tls_material(settings.http)))


def _listeners(settings: Configuration, keys: Keys, parts: Assembly) -> tuple[Listener, Listener, Listener]:
    authenticate = parts.authenticator.authenticate
    gateway = Listener(settings.listen, parts.services, keys.tls_material, authenticate, anonymous=False)
    agents = Listener(
        settings.agent_listen,
        parts.agent_services,
        keys.agent_tls_material,
        parts.agent_authenticator.authenticate,
        anonymous=False,
    )
    public = settings.public_address or gateway.address
    agent_address = settings.agent_public_address or agents.address
    sign_in = Listener(
        settings.sign_in_listen,
        (sign_in_service(parts, public), registration_service(parts, agent_address)),
        keys.tls_material,
        authenticate,
        anonymous=True,
    )
    return gateway, sign_in, agents


@contextlib.asynccontextmanager
async def _working(workers: Sequence[Worker]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(worker()) for worker in workers]
    try:
        yield
    finally:
        await end_all(tasks)
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.contextmanager
def _sole_user(data_dir: Path) -> Iterator[None]:
    """Two gateways in one folder would take each other for dead."""
    with (data_dir / "lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart(
                f"another gateway runs in {data_dir}. Stop it, or give this one a data_dir of its own"
            ) from None
        yield


def _replica_id(file: Path) -> str:
    """What this gateway is called among its replicas, the same after a restart."""
    if not file.exists():
        made = file.with_suffix(f".{os.getpid()}")
        made.write_text(f"r-{secrets.token_hex(8)}")
        made.replace(file)
    return file.read_text().strip()


def _greet(sign_in_address: str, keys: Keys, code: str | None) -> None:
    """Tells the operator how to get in. On standard output: the code must not end in the log."""
    trust = ""
    if keys.tls is not None:
        chain = x509.load_pem_x509_certificates(keys.tls.current().certificate_chain)
        trust = f" --ca-fingerprint sha256:{chain[-1].fingerprint(SHA256()).hex()}"
    login = f"  jit login --gateway {sign_in_address}{trust}"
    if code is None:
        print(f"Sign in with:\n{login}", flush=True)
        return
    # The code is typed when asked for: on a command line every process of the host could read it.
    print(
        f"Nobody administers this gateway yet. Within one hour, once:\n"
        f"{login} --user YOUR-NAME --administrator-code\n"
        f"The code: {code}",
        flush=True,
    )
