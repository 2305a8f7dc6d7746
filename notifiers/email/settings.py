"""What an operator says of the mail server and of the mails."""

import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, DirectoryPath, Field, SecretStr, field_validator, model_validator

from notifiers.loopback import is_loopback
from notifiers.secret import read_secret

_MAXIMUM_ADDRESS = 254  # RFC 5321, 4.5.3.1.3, without the angle brackets
_ADDRESS = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
_PORTS = {"starttls": 587, "tls": 465, "none": 25}


def is_address(text: str) -> bool:
    """Whether it is a plain mailbox that any server takes: no name, no comment, no quotes, nothing but ASCII."""
    local, _, _ = text.rpartition("@")
    return len(text) <= _MAXIMUM_ADDRESS and len(local) <= 64 and _ADDRESS.fullmatch(text) is not None


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Dkim(_Section):
    """Signs mails (RFC 6376, rsa-sha256) where the mail server does not."""

    domain: str = Field(pattern=r"^[A-Za-z0-9.-]{1,253}$")
    selector: str = Field(pattern=r"^[A-Za-z0-9._-]{1,63}$")
    key_file: Path  # PEM, RSA; read at each mail: change it without a restart


class EmailSettings(_Section):
    """One mail server. Its certificate is verified; without TLS it can only be on this very host."""

    host: str = Field(pattern=r"^[A-Za-z0-9.:-]{1,253}$")
    port: int | None = Field(default=None, ge=1, le=65535)  # 587, 465 with security "tls", 25 with "none"
    security: Literal["starttls", "tls", "none"] = "starttls"
    ca_file: Path | None = None  # PEM; none: the system's authorities
    username: str = Field(default="", max_length=256)
    password_file: Path | None = None  # read at each mail
    password_environment: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")
    sender: str
    sender_name: str = Field(default="Jitgate", max_length=64)
    reply_to: str | None = None
    # What our side says it is in EHLO and in message ids; the sender's domain.
    domain: str | None = Field(default=None, pattern=r"^[A-Za-z0-9.-]{1,253}$")
    dkim: Dkim | None = None
    templates_dir: DirectoryPath | None = None
    timeout_seconds: int = Field(default=20, ge=1, le=25)
    concurrency: int = Field(default=4, ge=1, le=32)

    @field_validator("sender", "reply_to")
    @classmethod
    def _addresses(cls, address: str | None) -> str | None:
        if address is not None and not is_address(address):
            raise ValueError("is no mail address, such as jitgate@example.org")
        return address

    @field_validator("sender_name")
    @classmethod
    def _printable(cls, name: str) -> str:
        if not name.isprintable():
            raise ValueError("must be printable")
        return name

    @model_validator(mode="after")
    def _together(self) -> "EmailSettings":
        if self.security == "none" and not is_loopback(self.host):
            raise ValueError('security "none" is for a mail server on this host only: 127.0.0.1, ::1 or localhost')
        secrets = [one for one in (self.password_file, self.password_environment) if one is not None]
        if len(secrets) != bool(self.username):
            raise ValueError("username belongs with either password_file or password_environment")
        return self

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port or _PORTS[self.security]

    @property
    def own_domain(self) -> str:
        return self.domain or self.sender.rpartition("@")[2]

    def password(self) -> SecretStr | None:
        """None: there is no username to go with it. Raises Unusable."""
        if not self.username:
            return None
        return read_secret("the password", self.password_file, self.password_environment)
