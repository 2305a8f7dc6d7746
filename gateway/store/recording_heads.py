"""What another gateway needs to go on with recordings whose spool is lost: their heads, of the latest epoch."""

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.store import recording_tables
from recorder.recording import Recording

_rows = recording_tables.recording_heads


async def put(connection: AsyncConnection, session_id: str, recording: Recording) -> bool:
    """Keeps the head of a recording that has one; False: somebody else went on with it."""
    head = recording.head
    if head is None:
        return True
    known = await get(connection, session_id)
    if known == head:
        return True
    if known is None:
        await connection.execute(insert(_rows).values(session_id=session_id, epoch=recording.epoch, head=head))
        return True
    query = update(_rows).where(_rows.c.session_id == session_id, _rows.c.epoch < recording.epoch)
    return bool((await connection.execute(query.values(epoch=recording.epoch, head=head))).rowcount)


async def get(connection: AsyncConnection, session_id: str) -> bytes | None:
    return await connection.scalar(select(_rows.c.head).where(_rows.c.session_id == session_id))


async def remove(connection: AsyncConnection, session_id: str) -> None:
    """The recording is complete."""
    await connection.execute(delete(_rows).where(_rows.c.session_id == session_id))
