"""What the agent keeps on its node: who it is, its key and certificate, whom it trusts."""

import contextlib
import fcntl
import json
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

DEFAULT_FOLDER = Path("/var/lib/jitgate-agent")


class Unusable(Exception):
    """The agent cannot work with what is on this node; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Registration:
    """The node as the gateway registered it. Times are seconds since 1970."""

    node_id: str
    node_name: str
    agent_address: str
    issued_at: int
    expires_at: int


class State:
    """A folder that only its owner can enter."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self) -> None:
        """Makes the folder. Raises Unusable where others can get in."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.folder.stat()
        except OSError as error:
            raise Unusable(
                f"{self.folder}: {error.strerror}. Run the agent as root, or name another --state"
            ) from None
        if stat.S_IMODE(found.st_mode) & 0o077 or found.st_uid not in (os.geteuid(), 0):
            repair = f"chmod 700 {self.folder}; chown {os.geteuid()} {self.folder}"
            raise Unusable(f"{self.folder} is open to others. Run: {repair}")

    def registration(self) -> Registration | None:
        """None: this node has not registered. Raises Unusable."""
        try:
            return Registration(**json.loads((self.folder / "node.json").read_text("utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise Unusable(
                f"{self.folder / 'node.json'} cannot be used: {error}. Register this node anew"
            ) from None

    def credentials(self) -> tuple[bytes, bytes, bytes]:
        """The CA that the gateway must come from, the key and the certificate chain, PEM. Raises Unusable."""
        try:
            return self._read("gateway-ca.pem"), self._read("node.key"), self._read("node.pem")
        except OSError as error:
            raise Unusable(f"{error.filename}: {error.strerror}. Register this node anew") from None

    def keep(self, registration: Registration, chain: str, key: bytes = b"", gateway_ca: bytes = b"") -> None:
        """Writes what is given; node.json last, for it names a complete set."""
        if key:
            self._place("node.key", key)
            self._place("gateway-ca.pem", gateway_ca)
        self._place("node.pem", chain.encode("ascii"))
        self._place("node.json", json.dumps(asdict(registration), indent=2).encode() + b"\n")

    def note(self, state: str, detail: str = "") -> None:
        """What `jitgate-agent status` shows of the running agent."""
        record = {"pid": os.getpid(), "state": state, "since": int(time.time()), "detail": detail}
        self._place("run.json", json.dumps(record).encode())

    def running(self) -> dict[str, Any] | None:
        """What the running agent last noted; None when none runs."""
        try:
            with self.alone():
                return None
        except Unusable:
            try:
                noted: dict[str, Any] = json.loads((self.folder / "run.json").read_text("utf-8"))
            except (OSError, ValueError):
                return {"state": "starting", "since": int(time.time()), "detail": ""}
            return noted

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """One agent a folder. Raises Unusable."""
        with (self.folder / "lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Unusable(f"an agent runs already with {self.folder}") from None
            yield

    def _read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def _place(self, name: str, content: bytes) -> None:
        """All of it or nothing, readable by the owner alone."""
        temporary = self.folder / f".{name}.new"
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.folder / name)
