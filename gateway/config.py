"""Configuration: `jitgate.toml`, overridden by `JITGATE_*`; what is unknown or ill-typed is refused by name."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_serializer,
    field_validator,
)

from gateway.access.requests import DEFAULT_MAX_PENDING
from gateway.http.settings import Http
from gateway.identity.oidc.settings import IdentityProvider, ProviderName, check_together
from gateway.notices.settings import ChannelName, ChannelSettings, SinkSettings
from gateway.recordings_settings import Recordings, SessionLog
from gateway.store.database import DEFAULT_CONNECTIONS, parse_url

_ENVIRONMENT_PREFIX = "JITGATE_"
_MAX_FILE_BYTES = 1 << 20

Address = Annotated[str, StringConstraints(pattern=r"^(\[[0-9a-fA-F:.]+\]|[^\s:\[\]]+):\d{1,5}$")]


class BadConfiguration(Exception):
    """The configuration cannot be used; the message names each key and what is wrong with it."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tls(_Section):
    """The server's own certificate. Without one, the gateway makes a CA and a certificate of its own."""

    certificate: Path | None = None
    key: Path | None = None
    names: tuple[str, ...] = ("localhost", "127.0.0.1", "::1")


class Telemetry(_Section):
    """OpenTelemetry export; nothing leaves the process without an endpoint."""

    otlp_endpoint: str | None = None
    otlp_insecure: bool = False
    service_name: str = "jitgate"


class Sessions(_Section):
    """What holds for all sessions."""

    # How long a session is kept for a client that vanished, where node and client can resume it; 0: not at all.
    resume_grace_seconds: int = Field(default=300, ge=0, le=3600)


class Configuration(_Section):
    """Everything an operator can set. Times are in the unit that the key names."""

    data_dir: Path = Path("/var/lib/jitgate")
    keys_dir: Path | None = None  # <data_dir>/keys; several gateways on one database need the same keys
    database_url: str | None = None  # sqlite in data_dir
    # PostgreSQL only; one more is for wake-ups.
    database_connections: int = Field(default=DEFAULT_CONNECTIONS, ge=2, le=500)
    listen: Address = "127.0.0.1:7443"
    sign_in_listen: Address = "127.0.0.1:7444"
    agent_listen: Address = "127.0.0.1:7445"
    # Pages for people, and what chat services call; none: no web listener.
    http_listen: Address | None = None
    # What clients are told to connect to; listen, unless a proxy or a name stands before it.
    public_address: Address | None = None
    # What nodes are told when they register; agent_listen, unless a proxy or a name stands before it.
    agent_public_address: Address | None = None
    tls: Tls = Tls()
    http: Http = Http()
    recordings: Recordings = Recordings()
    session_log: SessionLog = SessionLog()
    sessions: Sessions = Sessions()
    # By which channels people are told, and where other systems hear of events; by name.
    notifications: dict[ChannelName, ChannelSettings] = {}
    events: dict[ChannelName, SinkSettings] = {}
    telemetry: Telemetry = Telemetry()
    identity_providers: dict[ProviderName, IdentityProvider] = {}
    # Where nodes see the gateway come from, when it is behind NAT: bound into the certificates that it shows them.
    ssh_source_addresses: tuple[str, ...] = ()
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    membership_max_age_hours: int = Field(default=24, ge=1, le=24 * 30)
    # Of one person; one more is refused.
    max_pending_requests: int = Field(default=DEFAULT_MAX_PENDING, ge=1, le=10_000)
    retention_days: int = Field(default=365, ge=365, le=36500)  # the floor is a year (R28)
    shutdown_grace_seconds: int = Field(default=10, ge=0, le=600)

    @field_validator("database_url")
    @classmethod
    def _usable(cls, url: str | None) -> str | None:
        if url is not None:
            parse_url(url)
        return url

    @field_serializer("database_url")
    def _without_password(self, url: str | None) -> str | None:
        return None if url is None else parse_url(url).render_as_string(hide_password=True)

    @field_validator("identity_providers")
    @classmethod
    def _apart(cls, providers: dict[str, IdentityProvider]) -> dict[str, IdentityProvider]:
        check_together(providers)
        return providers

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite+aiosqlite:///{(self.data_dir / 'jitgate.db').absolute()}"

    @property
    def keys_directory(self) -> Path:
        return self.keys_dir or self.data_dir / "keys"

    @property
    def recordings_directory(self) -> Path:
        return self.recordings.directory or self.data_dir / "recordings"

    @property
    def spool_directory(self) -> Path:
        return self.recordings.spool or self.data_dir / "spool"


def load(file: Path | None, environment: Mapping[str, str] = os.environ) -> Configuration:
    """The configuration of a file (none: defaults) and the environment.

    `JITGATE_LISTEN` sets `listen`, `JITGATE_TLS__KEY` sets `key` of `[tls]`; lists are given as TOML. Raises
    BadConfiguration.
    """
    values = _read(file) if file else {}
    for name, text in sorted(environment.items()):
        if name.startswith(_ENVIRONMENT_PREFIX) and name != "JITGATE_CONFIG":
            _set(values, name, text)
    try:
        return Configuration.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in item['loc'])}: {_explain(item['type'], item['msg'])}"
            for item in error.errors()
        )
        raise BadConfiguration(f"{file or 'environment'}: {problems}") from None


def _explain(kind: str, message: str) -> str:
    return "unknown key" if kind == "extra_forbidden" else message.removeprefix("Value error, ")


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            text = stream.read(_MAX_FILE_BYTES + 1)
        if len(text) > _MAX_FILE_BYTES:
            raise BadConfiguration(f"{file}: larger than {_MAX_FILE_BYTES} bytes")
        return tomllib.loads(text.decode())
    except OSError as error:
        raise BadConfiguration(f"{file}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfiguration(f"{file}: is not TOML: {error}") from None


def _set(values: dict[str, Any], name: str, text: str) -> None:
    *sections, key = name.removeprefix(_ENVIRONMENT_PREFIX).lower().split("__")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise BadConfiguration(f"{name}: {section} is not a section")
    try:
        values[key] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        values[key] = text  # a bare word: people do not quote in the environment
