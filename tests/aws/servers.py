"""moto and rclone as servers in processes of their own, on ports that the system chose."""

import contextlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REGION = "us-east-1"
ACCOUNT = "123456789012"
"""The account that moto plays."""

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE123456789",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
"""What makes AWS's own libraries find these credentials and no others."""

MOTO = (sys.executable, "-W", "ignore", Path(__file__).with_name("moto_server.py"))
"""The command that starts moto."""

_ADDRESS = re.compile(r"(http://127\.0\.0\.1:\d+)")


@contextlib.contextmanager
def running_moto() -> Iterator[str]:
    """The address of a moto server: S3, KMS and STS, all in memory."""
    with _running(*MOTO) as address:
        yield address


@dataclass(frozen=True, slots=True)
class Rclone:
    """An S3 server over `folder`: a bucket is a folder in it, an object a file."""

    address: str
    folder: Path


@contextlib.contextmanager
def running_rclone(folder: Path) -> Iterator[Rclone]:
    key = f"{ENVIRONMENT['AWS_ACCESS_KEY_ID']},{ENVIRONMENT['AWS_SECRET_ACCESS_KEY']}"
    program = Path(sys.executable).parent / "rclone"
    command = ("serve", "s3", "--config", os.devnull, "--auth-key", key, "--addr", "127.0.0.1:0", folder)
    # Without a cache of folders, what a test does behind its back shows at once.
    with _running(program, *command, "--dir-cache-time", "50ms") as address:
        yield Rclone(address, folder)


@contextlib.contextmanager
def _running(*command: str | Path) -> Iterator[str]:
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    drain = None
    try:
        said = b""
        for line in process.stderr:
            said += line
            if found := _ADDRESS.search(line.decode()):
                break
        else:
            raise AssertionError(f"{command[0]} did not start:\n{said.decode()}")
        drain = threading.Thread(target=process.stderr.read)
        drain.start()
        yield found[1]
    finally:
        process.kill()
        process.wait()
        if drain is not None:
            drain.join()
        process.stderr.close()
