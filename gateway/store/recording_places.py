"""Where recordings are that are not where the gateway's own configuration says: rows that never change."""

import hashlib
import json
from dataclasses import asdict

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.places.model import Place
from gateway.store import recording_tables, upsert

_places = recording_tables.places
_rows = recording_tables.recording_places


async def add(connection: AsyncConnection, session_id: str, place: Place) -> None:
    document = asdict(place)
    del document["former_keys"]
    place_id = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
    await upsert.put(connection, _places, {"id": place_id}, {"document": document})
    await connection.execute(insert(_rows).values(session_id=session_id, place_id=place_id))


async def get(connection: AsyncConnection, session_id: str) -> Place | None:
    """None: as the gateway's own configuration says."""
    query = select(_places.c.document).join(_rows, _rows.c.place_id == _places.c.id)
    document = await connection.scalar(query.where(_rows.c.session_id == session_id))
    return None if document is None else Place(**document)


async def every(connection: AsyncConnection) -> list[Place]:
    """Every place that some recording has or had."""
    documents = await connection.scalars(select(_places.c.document).order_by(_places.c.id))
    return [Place(**document) for document in documents]
