"""The authority that OpenSSH nodes trust for the gateway's logins (`TrustedUserCAKeys`)."""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

import asyncssh

from gateway.identity.key_files import KeyFileUnusable, load_or_create
from gateway.identity.ports import Clock

_FILE = "ssh-user-ca.key"
_ALGORITHM = "ssh-ed25519"
# Clocks of nodes run apart; beginning a little early does no harm, not having begun yet does.
_SKEW = timedelta(minutes=2)


class SshUserCa:
    """Signs one short-lived user certificate for each session."""

    def __init__(self, key: asyncssh.SSHKey, clock: Clock) -> None:
        self._key = key
        self._clock = clock

    def now(self) -> datetime:
        """The time that its certificates go by."""
        return self._clock()

    @classmethod
    def load_or_create(cls, directory: Path, clock: Clock) -> Self:
        """The authority kept in `directory`. Raises KeyFileUnusable."""
        content = load_or_create(directory / _FILE, lambda: _new_key().export_private_key())
        try:
            key = asyncssh.import_private_key(content)
        except (asyncssh.KeyImportError, ValueError) as error:
            raise KeyFileUnusable(
                f"{directory / _FILE} holds no OpenSSH private key. Restore it from its backup"
            ) from error
        return cls(key, clock)

    def public_key_line(self) -> str:
        """The public half as one line for `TrustedUserCAKeys`, without a newline."""
        return self._key.export_public_key().decode("ascii").strip() + " jitgate-user-ca"

    def issue(
        self, principal: str, key_id: str, source_address: str | Sequence[str], valid: timedelta
    ) -> tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]:
        """A new key and its certificate: for `principal` only, from `source_address` only, with a terminal and
        nothing forwarded.

        `key_id` is what sshd writes into its log (user and session). `source_address` is one address or CIDR
        block, or several. Raises ValueError for an empty principal or address, or a `valid` of nothing: OpenSSH
        would read those as "anyone" and "anywhere".
        """
        addresses = [source_address] if isinstance(source_address, str) else list(source_address)
        if not principal or not addresses or not all(addresses) or valid <= timedelta():
            raise ValueError("a certificate needs a principal, a source address and a time to live")
        now = self._clock()
        key = _new_key()
        certificate = self._key.generate_user_certificate(
            key,
            key_id,
            serial=secrets.randbits(63),
            principals=[principal],
            valid_after=int((now - _SKEW).timestamp()),
            valid_before=int((now + valid).timestamp()),
            source_address=addresses,
            permit_x11_forwarding=False,
            permit_agent_forwarding=False,
            permit_port_forwarding=False,
            permit_user_rc=False,
            permit_pty=True,
        )
        return key, certificate


def _new_key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key(_ALGORITHM)
