"""What `jit login` leaves on disk: where the gateway is, whom to trust, who we are.

A profile is a folder, readable by its owner only: profile.json, ca.pem, client.pem, client.key, tokens.json.
"""

import json
import os
import re
import ssl
import sys
import time
from pathlib import Path

from clients.cli.errors import USAGE, Failure, not_signed_in

TYPE_CHECKING = False  # importing typing for it would take 2 ms
if TYPE_CHECKING:
    from typing import Any


class Profile:
    """One sign-in. Addresses are host:port; `expires_at` is in seconds since 1970."""

    def __init__(
        self, folder: Path, sign_in_address: str, gateway_address: str, user_id: str, expires_at: float
    ) -> None:
        self.folder = folder
        self.sign_in_address = sign_in_address
        self.gateway_address = gateway_address
        self.user_id = user_id
        self.expires_at = expires_at

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def certificate_file(self) -> Path:
        return self.folder / "client.pem"

    @property
    def key_file(self) -> Path:
        return self.folder / "client.key"

    def context(self) -> ssl.SSLContext:
        """TLS to the gateway as this user. Raises Failure unless the certificate is there and still good."""
        if self.expires_at <= time.time():
            raise not_signed_in("your sign-in has expired")
        context = gateway_context()
        try:
            context.load_verify_locations(self.ca_file)
            context.load_cert_chain(self.certificate_file, self.key_file)
        except OSError as error:  # ssl.SSLError is one
            raise not_signed_in(f"the keys in {self.folder} can't be used: {error}") from error
        return context

    def save(self) -> None:
        values = {
            "sign_in_address": self.sign_in_address,
            "gateway_address": self.gateway_address,
            "user_id": self.user_id,
            "expires_at": int(self.expires_at),
        }
        write_private(self.folder / "profile.json", json.dumps(values, indent=2).encode() + b"\n")


def gateway_context() -> ssl.SSLContext:
    """TLS 1.3 and HTTP/2, hosts verified, nobody trusted yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    return context


def home() -> Path:
    """The folder of all profiles: JIT_HOME, else jitgate in the system's place for configuration."""
    if chosen := os.environ.get("JIT_HOME"):
        return Path(chosen)
    if base := os.environ.get("XDG_CONFIG_HOME"):
        return Path(base) / "jitgate"
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA", Path.home())) / "jitgate"
    return Path.home() / ".config" / "jitgate"


def folder() -> Path:
    """The folder of the profile in use: JIT_PROFILE, else "default". Raises Failure."""
    name = os.environ.get("JIT_PROFILE") or "default"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise Failure(f"{name!r} can't be a profile's name", "Use letters, digits, dot, dash, underscore.", USAGE)
    return home() / name


def load() -> Profile:
    """The profile in use. Raises Failure when nobody has signed in with it."""
    where = folder()
    try:
        values: dict[str, Any] = json.loads((where / "profile.json").read_bytes())
        return Profile(
            where,
            str(values["sign_in_address"]),
            str(values["gateway_address"]),
            str(values["user_id"]),
            float(values["expires_at"]),
        )
    except FileNotFoundError:
        raise not_signed_in("you are not signed in") from None
    except OSError as error:
        raise Failure(f"{error.filename} can't be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise not_signed_in(f"{where / 'profile.json'} is damaged") from error


def write_private(path: Path, content: bytes) -> None:
    """Puts a file in place as a whole, for its owner's eyes only. Raises Failure."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside.unlink(missing_ok=True)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        beside.replace(path)
    except OSError as error:
        raise Failure(
            f"{path} can't be written: {error.strerror}", "Set JIT_HOME to a folder of yours."
        ) from error
