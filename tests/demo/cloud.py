"""S3 and KMS for the demo, on this machine: rclone keeps the objects as files, moto the key, in its memory."""

import asyncio
import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.aws.making import kms_client, new_bucket, new_key, s3_client
from tests.aws.servers import ENVIRONMENT, MOTO, REGION
from tests.demo.running import Running
from tests.processes import BIN, wait_for

_ADDRESS = re.compile(r"(http://127\.0\.0\.1:\d+)")
_START_SECONDS = 60.0


@dataclass
class Cloud:
    """Below `folder`: what the servers print, and the bucket."""

    folder: Path
    bucket: str = ""
    key: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    """What makes a gateway keep its recordings there."""

    @property
    def objects(self) -> Path:
        """The bucket as files."""
        return self.folder / "buckets" / self.bucket

    def start(self, running: Running) -> None:
        """Both servers go on when the demo is over, until it is stopped."""
        buckets = self.folder / "buckets"
        buckets.mkdir(mode=0o700, parents=True)
        key = f"{ENVIRONMENT['AWS_ACCESS_KEY_ID']},{ENVIRONMENT['AWS_SECRET_ACCESS_KEY']}"
        rclone = (
            BIN / "rclone",
            "serve",
            "s3",
            "--config",
            os.devnull,
            "--auth-key",
            key,
            "--addr",
            "127.0.0.1:0",
        )
        kms = self._serve(running, "moto", *MOTO)
        s3 = self._serve(running, "rclone", *rclone, "--dir-cache-time", "1s", buckets)
        # The demo's own client finds credentials as the gateway does.
        os.environ |= ENVIRONMENT
        self.bucket, self.key = asyncio.run(_made(s3, kms))
        where = {"REGION": REGION, "ENDPOINT_URL": s3, "PATH_STYLE": "true", "CONDITIONAL_PUT": "false"}
        self.environment |= {
            **ENVIRONMENT,
            "JITGATE_RECORDINGS__STORE": "s3",
            "JITGATE_RECORDINGS__KEY_PROVIDER": "aws_kms",
            "JITGATE_RECORDINGS__S3__BUCKET": self.bucket,
            **{f"JITGATE_RECORDINGS__S3__{name}": value for name, value in where.items()},
            "JITGATE_RECORDINGS__KMS__KEY_ID": self.key,
            "JITGATE_RECORDINGS__KMS__REGION": REGION,
            "JITGATE_RECORDINGS__KMS__ENDPOINT_URL": kms,
        }

    def _serve(self, running: Running, name: str, *command: str | Path) -> str:
        """The address that a server says it has."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        running.add(process.pid)

        def address() -> str | None:
            if process.poll() is not None:
                raise RuntimeError(f"{name} did not start; see {log}")
            said = _ADDRESS.search(log.read_text(errors="replace"))
            return said[1] if said else None

        return wait_for(address, _START_SECONDS, f"{name}'s address")


async def _made(s3: str, kms: str) -> tuple[str, str]:
    async with s3_client(s3) as buckets, kms_client(kms) as keys:
        return await new_bucket(buckets), await new_key(keys, Description="Jitgate's demo")
