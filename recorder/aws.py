"""A long-lived client of one AWS service, and its failures in two kinds: it said no, or there was no answer.

The libraries are imported when a client opens, so that a gateway without AWS doesn't pay for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from dataclasses import dataclass
from typing import Any, Final, Self

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

_RACES: Final = frozenset({"ConditionalRequestConflict", "OperationAborted"})
"""S3's word for: somebody else was writing at that very moment."""


class NoAnswer(Exception):
    """Nothing that could be understood came back in time: network, credentials, a broken stream."""


class SaidNo(Exception):
    """The service refused. `code` is AWS's (`AccessDeniedException`), `status` that of HTTP."""

    def __init__(self, code: str, message: str, status: int) -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code
        self.message = message
        self.status = status


@dataclass(frozen=True, slots=True)
class Access:
    """Where a service is and as whom it is called. None: as AWS's own tools find it."""

    region: str | None = None
    endpoint_url: str | None = None
    role_arn: str | None = None
    external_id: str | None = None
    session_name: str = "jitgate"
    """What CloudTrail calls who acts in the role."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a call may take: a connection, a silence, and everything together, retries included."""

    connect_seconds: float
    silence_seconds: float
    total_seconds: float
    attempts: int = 4


class Client:
    """Calls operations of one service (`s3`, `kms`). Opened once, used by all tasks of one event loop.

    Retries are botocore's (`standard`: exponential with jitter, a token bucket for the whole client); what it does
    not retry, a body that breaks off, is retried here. Credentials of an assumed role are renewed by themselves.
    """

    def __init__(
        self, service: str, access: Access, patience: Patience, *, connections: int = 8, **options: Any
    ) -> None:
        """`options` go into botocore's Config."""
        self.access = access
        self._service = service
        self._patience = patience
        self._connections = connections
        self._options = options
        self._client: Any = None
        self._open: contextlib.AsyncExitStack | None = None
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """What does not open yet, for want of credentials, is opened by the first call that can."""
        with contextlib.suppress(NoAnswer):
            await self._connected()
        return self

    async def __aexit__(self, *_: object) -> None:
        opened, self._open, self._client = self._open, None, None
        if opened is not None:
            await opened.aclose()

    async def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """The answer; a streamed `Body` is read to its end. Raises SaidNo, NoAnswer."""
        import aiohttp  # noqa: PLC0415 - see the module's docstring
        from botocore import exceptions  # noqa: PLC0415

        try:
            async with asyncio.timeout(self._patience.total_seconds):
                client = await self._connected()
                return await self._retried(client, operation, parameters)
        except exceptions.ClientError as refusal:
            raise _said_no(refusal.response) from None
        except (exceptions.NoCredentialsError, exceptions.CredentialRetrievalError) as failure:
            await self._forget(client)  # they may be there next time, but a client never looks again
            raise NoAnswer(f"no AWS credentials: {failure}") from None
        except TimeoutError:
            raise NoAnswer(f"no answer within {self._patience.total_seconds:g} seconds") from None
        except (exceptions.BotoCoreError, aiohttp.ClientError, OSError, RuntimeError) as failure:
            # RuntimeError: an assumed role's new credentials are over already; the clocks are apart.
            raise NoAnswer(str(failure) or type(failure).__name__) from None

    async def _retried(self, client: Any, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        retrying = AsyncRetrying(
            retry=retry_if_exception(_may_pass),
            stop=stop_after_attempt(self._patience.attempts),
            wait=wait_random_exponential(multiplier=0.1, max=2),
            reraise=True,
        )
        return await retrying(_ask, getattr(client, operation), parameters)

    async def _connected(self) -> Any:
        async with self._opening:
            if self._client is None:
                self._client = await self._connect()
            return self._client

    async def _connect(self) -> Any:
        import aioboto3  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        for talkative in ("aioboto3", "aiobotocore", "boto3", "botocore"):
            # At DEBUG they write whole answers down, data keys in the clear among them.
            logging.getLogger(talkative).setLevel(logging.WARNING)
        patience = self._patience
        core = _session()
        core.set_default_client_config(
            Config(
                connect_timeout=patience.connect_seconds,
                read_timeout=patience.silence_seconds,
                retries={"mode": "standard", "total_max_attempts": patience.attempts},
                max_pool_connections=self._connections,
                user_agent_extra="jitgate",
            )
        )
        if self.access.region is not None:
            core.set_config_variable("region", self.access.region)
        opened = contextlib.AsyncExitStack()
        try:
            if self.access.role_arn is not None:
                core = await _assuming(core, self.access)
            client = await opened.enter_async_context(
                aioboto3.Session(botocore_session=core).client(
                    self._service, endpoint_url=self.access.endpoint_url, config=Config(**self._options)
                )
            )
        except ClientError as refusal:
            raise NoAnswer(str(_said_no(refusal.response))) from None
        except (BotoCoreError, ValueError, OSError) as failure:
            raise NoAnswer(f"AWS cannot be used here: {failure}") from None
        self._open = opened
        return client

    async def _forget(self, client: Any) -> None:
        if self._client is client:
            await self.__aexit__()


@functools.cache
def _models() -> Any:
    """What AWS's services are like, read and parsed once: each session by itself would take 0.1 s for it."""
    from botocore.loaders import create_loader  # noqa: PLC0415

    return create_loader()


def _session() -> Any:
    from aiobotocore.session import AioSession  # noqa: PLC0415

    session = AioSession()
    session.register_component("data_loader", _models())
    return session


class _Credentials:
    """Gives a session the credentials of an assumed role; the place where botocore asks for any."""

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials

    async def load_credentials(self) -> Any:
        return self._credentials


async def _assuming(core: Any, access: Access) -> Any:
    """A session like `core` whose clients act in the role, renewed before they expire."""
    from aiobotocore import credentials  # noqa: PLC0415
    from botocore.exceptions import NoCredentialsError  # noqa: PLC0415

    own = await core.get_credentials()
    if own is None:
        raise NoCredentialsError
    said = {"RoleSessionName": access.session_name}
    if access.external_id is not None:
        said["ExternalId"] = access.external_id
    fetcher = credentials.AioAssumeRoleCredentialFetcher(
        client_creator=core.create_client,
        source_credentials=own,
        role_arn=access.role_arn,
        extra_args=said,
    )
    renewed = credentials.AioDeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")
    acting = _session()
    acting.set_default_client_config(core.get_default_client_config())
    acting.set_config_variable("region", core.get_config_variable("region"))
    acting.register_component("credential_provider", _Credentials(renewed))
    return acting


async def _ask(operation: Any, parameters: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = await operation(**parameters)
    if (body := answer.get("Body")) is not None:
        async with body:
            answer["Body"] = await body.read()
    return answer


def _may_pass(failure: BaseException) -> bool:
    """What botocore does not try again by itself."""
    import aiohttp  # noqa: PLC0415
    from botocore import exceptions  # noqa: PLC0415

    if isinstance(failure, exceptions.ClientError):
        return failure.response.get("Error", {}).get("Code") in _RACES
    return isinstance(
        failure, (aiohttp.ClientError, exceptions.ResponseStreamingError, exceptions.IncompleteReadError)
    )


def _said_no(response: dict[str, Any]) -> SaidNo:
    error = response.get("Error", {})
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return SaidNo(str(error.get("Code", "Unknown")), str(error.get("Message", "")), int(status))
