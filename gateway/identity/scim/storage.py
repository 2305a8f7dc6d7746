"""What the SCIM library asks for, answered from the directory: one transaction a request (R31)."""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from types import ModuleType
from typing import Any

from scim2_models import (
    NotFoundException,
    PreconditionFailedException,
    Resource,
    ResourceType,
    ResponseParameters,
    ScimFilter,
    SearchRequest,
    TooManyException,
    UniquenessException,
)
from scim2_models.path import CompareOperator, Comparison, FilterNode, LogicalExpr, LogicalOperator
from scim2_server.storage import AsyncScimStorage, SearchPage
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.identity.scim import groups, people
from gateway.identity.scim.feed import Feed
from gateway.identity.scim.form import key_of, versioned
from gateway.store import scim
from gateway.store.database import Database, Transaction

_MAXIMUM_SEARCHED = 5000
_FARTHEST = 2**31 - 1
"""Of a listing; a database takes no larger number."""


class Storage(AsyncScimStorage):
    """For one request. `still`: called in the transaction, raises when the caller's token counts no more."""

    def __init__(
        self, database: Database, feed: Feed, still: Callable[[AsyncConnection], Any], *, reads: bool
    ) -> None:
        self._database = database
        self._feed = feed
        self._still = still
        self._reads = reads
        self._connected: AsyncConnection | None = None
        self._writing: Transaction | None = None

    @contextlib.asynccontextmanager
    async def _operation(self) -> AsyncIterator[None]:
        if self._reads:
            async with self._database.read() as connection:
                self._connected = connection
                yield
            return
        try:
            async with self._database.transaction() as tx:
                self._connected, self._writing = tx.connection, tx
                await self._still(tx.connection)
                yield
        except IntegrityError as error:  # at another replica somebody took it at the same moment
            raise UniquenessException(detail="somebody else has just taken that") from error

    def operation(self) -> contextlib.AbstractAsyncContextManager[None]:
        return self._operation()

    async def get(
        self,
        resource_type: ResourceType,
        resource_id: str,
        *,
        response_parameters: ResponseParameters[Any] | None = None,
    ) -> Resource[Any]:
        kind, rows = _kind(resource_type)
        row = None
        if resource_id.isprintable():
            row = await rows.get(self._connection, self._feed.issuer, resource_id)
        if row is None:
            missing: NotFoundException = kind.missing(resource_id)
            raise missing
        found: list[Resource[Any]] = await kind.described(self._connection, [row])
        return versioned(found[0])

    async def search(
        self, resource_types: list[ResourceType], search_request: SearchRequest[Any], *, position: Any = None
    ) -> SearchPage:
        wanted, count = search_request.filter, search_request.count
        start = min((search_request.start_index or 1) - 1, _FARTHEST)
        limit = _MAXIMUM_SEARCHED if count is None else count
        if len(resource_types) == 1 and wanted is None:
            kind, rows = _kind(resource_types[0])
            page = await rows.page(self._connection, self._feed.issuer, {}, start, limit)
            total = await rows.count(self._connection, self._feed.issuer)
            return SearchPage(total, [versioned(each) for each in await kind.described(self._connection, page)])
        found: list[Resource[Any]] = []
        for resource_type in resource_types:
            found += await self._matching(resource_type, wanted)
        return SearchPage(len(found), found[start : start + limit])

    async def create(self, resource_type: ResourceType, resource: Resource[Any]) -> Resource[Any]:
        kind, _ = _kind(resource_type)
        return await self.get(resource_type, await kind.create(self._tx, self._feed, resource))

    async def update(
        self, resource_type: ResourceType, resource: Resource[Any], *, expected_version: str | None = None
    ) -> Resource[Any]:
        kind, _ = _kind(resource_type)
        await self._expect(resource_type, str(resource.id), expected_version)
        await kind.update(self._tx, self._feed, resource)
        return await self.get(resource_type, str(resource.id))

    async def delete(
        self, resource_type: ResourceType, resource_id: str, *, expected_version: str | None = None
    ) -> None:
        kind, _ = _kind(resource_type)
        await self._expect(resource_type, resource_id, expected_version)
        await kind.delete(self._tx, self._feed, resource_id)

    async def _matching(self, resource_type: ResourceType, wanted: ScimFilter[Any] | None) -> list[Resource[Any]]:
        """By id. Raises TooManyException where the database can't narrow it down."""
        kind, rows = _kind(resource_type)
        equal = {} if wanted is None else _equal(wanted, wanted.ast, kind.KEYS)
        if not all(value.isprintable() for value in equal.values()):
            return []
        page = await rows.page(self._connection, self._feed.issuer, equal, 0, _MAXIMUM_SEARCHED + 1)
        if len(page) > _MAXIMUM_SEARCHED:
            raise TooManyException(detail="compare userName, externalId, displayName or id with eq")
        described = [versioned(each) for each in await kind.described(self._connection, page)]
        return [each for each in described if wanted is None or wanted.match(each)]

    async def _expect(self, resource_type: ResourceType, resource_id: str, version: str | None) -> None:
        current = await self.get(resource_type, resource_id)
        if version is not None and current.meta is not None and current.meta.version != version:
            raise PreconditionFailedException

    @property
    def _connection(self) -> AsyncConnection:
        assert self._connected is not None  # within `operation`
        return self._connected

    @property
    def _tx(self) -> Transaction:
        assert self._writing is not None  # within `operation`, and no GET
        return self._writing


def _kind(resource_type: ResourceType) -> tuple[ModuleType, scim.Resources]:
    return (people, scim.people) if resource_type.name == "User" else (groups, scim.groups)


def _equal(wanted: ScimFilter[Any], node: FilterNode, columns: Mapping[str, str]) -> dict[str, str]:
    """What of a filter the database can compare: all that it finds must be so, whatever else must be."""
    match node:
        case LogicalExpr(op=LogicalOperator.and_, terms=terms):
            return {name: value for term in terms for name, value in _equal(wanted, term, columns).items()}
        case Comparison(op=CompareOperator.eq, value=str() as value):
            binding = wanted.resolve_comparison(node.attr_path, strict=False)
            column = columns.get(binding.field_name) if binding and not binding.sub_field_name else None
            return {column: key_of(value) if column == "name_key" else value} if column else {}
        case _:
            return {}
