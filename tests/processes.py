"""A real gateway and real people in processes of their own, for end-to-end tests, the demo and the bench."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from tests.ports import KeptPorts

BIN = Path(sys.executable).parent
START_SECONDS = 60.0

T = TypeVar("T")


def wait_for(condition: Callable[[], T | None], seconds: float = 30.0, what: str = "condition") -> T:
    """Polls until the condition answers something true; fails the test at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come about within {seconds} s")
        time.sleep(0.02)


def signal_all(processes: Iterable[int], number: signal.Signals) -> None:
    """Those of them that have not ended meanwhile."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


def _clean_environment(**more: str) -> dict[str, str]:
    kept = {key: os.environ[key] for key in ("PATH", "LANG", "TMPDIR") if key in os.environ}
    return {**kept, "LANG": "C.UTF-8", **more}


@dataclass
class GatewayProcess:
    """`jitgate serve` on ports of its own. What it prints goes to `<directory>/gateway.log` and `.out`."""

    directory: Path
    environment: dict[str, str] = field(default_factory=dict)
    command: tuple[str | Path, ...] = (BIN / "jitgate", "serve")
    process: subprocess.Popen[bytes] | None = None
    address: str = "127.0.0.1:0"
    sign_in_address: str = "127.0.0.1:0"
    agent_address: str = "127.0.0.1:0"
    start_seconds: float = START_SECONDS
    _kept: KeptPorts | None = field(default=None, init=False, repr=False)

    @property
    def data_dir(self) -> Path:
        return self.directory / "data"

    @property
    def log(self) -> Path:
        return self.directory / "gateway.log"

    @property
    def out(self) -> Path:
        return self.directory / "gateway.out"

    @property
    def ca_file(self) -> Path:
        keys = self.environment.get("JITGATE_KEYS_DIR", self.data_dir / "keys")
        return Path(keys) / "tls-ca.pem"

    def start(self) -> None:
        """Starts it, on the addresses that it had before if it ran before, and waits until it serves."""
        self.directory.mkdir(parents=True, exist_ok=True)
        seen = self.log.stat().st_size if self.log.exists() else 0
        environment = _clean_environment(
            JITGATE_DATA_DIR=str(self.data_dir),
            JITGATE_LISTEN=self.address,
            JITGATE_SIGN_IN_LISTEN=self.sign_in_address,
            JITGATE_AGENT_LISTEN=self.agent_address,
            **self.environment,
        )
        with self.log.open("ab") as log, self.out.open("ab") as out:
            self.process = subprocess.Popen(
                self.command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=log
            )
        try:
            ready = wait_for(lambda: self._ready(seen), self.start_seconds, "the gateway's start")
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        self.address, self.sign_in_address = ready["address"], ready["sign_in_address"]
        self.agent_address = ready["agent_address"]
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def _ready(self, offset: int) -> dict[str, Any] | None:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(
                f"the gateway ended with {self.process.returncode}:\n{self.log.read_text()[-4000:]}"
            )
        with self.log.open("rb") as log:
            log.seek(offset)
            for line in log:
                if b'"serving"' in line and line.endswith(b"\n"):
                    record: dict[str, Any] = json.loads(line)
                    return record
        return None

    @property
    def http_address(self) -> str:
        """Host and port of the web listener, as this or the last process had it."""
        found = re.findall(r'"http_address": ?"([^"]+)"', self.log.read_text())
        assert found, "the web listener is not configured"
        return str(found[-1])

    def administrator_code(self) -> str:
        """The code that the first start printed."""
        found = re.findall(r"^The code: (\S+)$", self.out.read_text(), re.MULTILINE)
        assert found, self.out.read_text()
        return str(found[-1])

    def ca_fingerprint(self) -> str:
        """As `jit login --ca-fingerprint` takes it."""
        certificate = x509.load_pem_x509_certificate(self.ca_file.read_bytes())
        return f"sha256:{certificate.fingerprint(SHA256()).hex()}"

    def keeps(self, address: str) -> None:
        """Before a start: nobody else gets that address of its environment until it serves."""
        self._kept = KeptPorts([address])

    def kill(self) -> None:
        """kill -9: nothing gets a chance to tidy up."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Asks it to shut down, and waits until it has."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(30)
                # Of port 0 it keeps one that nobody asks for.
                web = self.environment.get("JITGATE_HTTP_LISTEN", "127.0.0.1:0")
                self._kept = KeptPorts((self.address, self.sign_in_address, self.agent_address, web))
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"the gateway did not end on {number.name}") from None


@dataclass
class Person:
    """Somebody with a home of their own who runs `jit`."""

    name: str
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        return _clean_environment(HOME=str(self.home), JIT_HOME=str(self.home / ".jit"), TERM="xterm-256color")

    def popen(self, *arguments: str | Path, **options: Any) -> subprocess.Popen[bytes]:
        self.home.mkdir(parents=True, exist_ok=True)
        return subprocess.Popen([BIN / "jit", *arguments], env=self.environment, **options)

    def run(
        self, *arguments: str | Path, stdin: bytes = b"", timeout: float = 60.0
    ) -> subprocess.CompletedProcess[bytes]:
        """Runs `jit` to its end, whatever that is."""
        self.home.mkdir(parents=True, exist_ok=True)
        return subprocess.run(
            [BIN / "jit", *arguments],
            env=self.environment,
            input=stdin,
            capture_output=True,
            timeout=timeout,
            check=False,
        )

    def jit(self, *arguments: str | Path, stdin: bytes = b"", timeout: float = 60.0) -> str:
        """Runs `jit`, which must succeed, and returns what it printed."""
        result = self.run(*arguments, stdin=stdin, timeout=timeout)
        assert result.returncode == 0, (
            f"{self.name}: jit {' '.join(map(str, arguments))} ended with {result.returncode}:\n"
            f"{result.stdout.decode(errors='replace')}{result.stderr.decode(errors='replace')}"
        )
        return result.stdout.decode()

    def json(self, *arguments: str | Path, timeout: float = 60.0) -> Any:
        return json.loads(self.jit(*arguments, "--output", "json", timeout=timeout))

    def refused(self, *arguments: str | Path, stdin: bytes = b"") -> str:
        """Runs `jit`, which must be refused, and returns what it said on standard error."""
        result = self.run(*arguments, stdin=stdin)
        assert result.returncode != 0, f"jit {' '.join(map(str, arguments))} succeeded: {result.stdout.decode()}"
        return result.stderr.decode()
