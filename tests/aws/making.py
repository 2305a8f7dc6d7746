"""Keys and buckets on the servers of the tests, each new, and what the recorder uses them by."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from recorder.aws import Access, Client, Patience
from recorder.key_providers import aws_kms
from recorder.key_providers.aws_kms import AwsKms
from recorder.object_stores import s3
from recorder.object_stores.s3 import Bucket, S3Store
from tests.aws.servers import REGION

BRIEF = Patience(connect_seconds=2, silence_seconds=2, total_seconds=5, attempts=2)
"""For servers that are made to hang."""
TWICE = Patience(connect_seconds=20, silence_seconds=20, total_seconds=60, attempts=2)
"""For servers that are made to fail at once: however slow they are, none is asked again for that."""
ONCE = replace(TWICE, attempts=1)
"""For a refusal that trying again would only repeat, after a pause."""

_numbers = itertools.count()


def kms_client(address: str, patience: Patience = aws_kms.PATIENCE, **access: Any) -> Client:
    return Client("kms", Access(region=REGION, endpoint_url=address, **access), patience)


def logs_client(address: str, patience: Patience = TWICE) -> Client:
    return Client("logs", Access(REGION, address), patience)


def s3_client(address: str, patience: Patience = s3.PATIENCE, connections: int = 16) -> Client:
    options: dict[str, Any] = {**s3.CLIENT_OPTIONS, "s3": {"addressing_style": "path"}}
    return Client("s3", Access(REGION, address), patience, connections=connections, **options)


async def new_key(client: Client, **properties: Any) -> str:
    """The ARN of a new KMS key."""
    made = await client.call("create_key", **properties)
    return str(made["KeyMetadata"]["Arn"])


async def new_bucket(client: Client, **properties: Any) -> str:
    """The name of a new bucket."""
    name = f"recordings-{next(_numbers)}"
    await client.call("create_bucket", Bucket=name, **properties)
    return name


@contextlib.asynccontextmanager
async def new_kms(address: str, patience: Patience = aws_kms.PATIENCE) -> AsyncIterator[AwsKms]:
    """A provider over a key of its own."""
    async with kms_client(address, patience) as client:
        yield AwsKms(await new_key(client), client, client)


@contextlib.asynccontextmanager
async def new_store(address: str, patience: Patience = s3.PATIENCE, **properties: Any) -> AsyncIterator[S3Store]:
    """A store over a bucket of its own; `properties` are those of `Bucket`."""
    async with s3_client(address, patience) as client:
        yield S3Store(client, Bucket(await new_bucket(client), **properties))
