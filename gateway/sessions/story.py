"""What the audit log tells about sessions (R29)."""

from datetime import datetime

from gateway.identity.caller import Caller
from gateway.sessions.model import Ending, Session
from gateway.store.events import Event


def started(session: Session) -> Event:
    return Event(
        type="session.started",
        at=session.started_at,
        subject=session.id,
        summary=f"{session.user_id} started a session on {session.node_name} as {session.login}",
        actor_id=session.user_id,
        source_address=session.source_address,
        account=session.account,
        region=session.region,
        details={
            "request": session.request_id,
            "node": session.node_id,
            "login": session.login,
            "kind": session.kind.value,
        },
    )


def ended(session: Session, ending: Ending, at: datetime) -> Event:
    told = f": {ending.message}" if ending.message else ""
    return Event(
        type="session.ended",
        at=at,
        subject=session.id,
        summary=f"The session of {session.user_id} on {session.node_name} ended ({ending.end}){told}",
        account=session.account,
        region=session.region,
        details={
            "request": session.request_id,
            "node": session.node_id,
            "end": ending.end.value,
            "status": ending.status,
            "signal": ending.signal,
        },
    )


def detached(session: Session, at: datetime) -> Event:
    return Event(
        type="session.detached",
        at=at,
        subject=session.id,
        summary=f"The client of {session.user_id} on {session.node_name} vanished; "
        f"the session is kept for {session.grace_seconds} seconds",
        account=session.account,
        region=session.region,
        details={"request": session.request_id, "grace_seconds": session.grace_seconds},
    )


def resumed(session: Session, caller: Caller, offset: int, at: datetime) -> Event:
    return Event(
        type="session.resumed",
        at=at,
        subject=session.id,
        summary=f"{caller.user.id} resumed the session on {session.node_name} from {caller.source_address}",
        actor_id=caller.user.id,
        source_address=caller.source_address,
        account=session.account,
        region=session.region,
        details={"request": session.request_id, "node": session.node_id, "output_offset": offset},
    )


def unrecorded(session: Session, reason: str, at: datetime) -> Event:
    return Event(
        type="session.unrecorded",
        at=at,
        subject=session.id,
        summary=f"The session of {session.user_id} on {session.node_name} goes on unrecorded: {reason}",
        account=session.account,
        region=session.region,
        details={"request": session.request_id, "reason": reason},
    )


def terminated(session: Session, caller: Caller, reason: str, at: datetime) -> Event:
    return Event(
        type="session.terminated",
        at=at,
        subject=session.id,
        summary=f"{caller.user.id} ended the session of {session.user_id} on {session.node_name}: {reason}",
        actor_id=caller.user.id,
        source_address=caller.source_address,
        account=session.account,
        region=session.region,
        details={"request": session.request_id, "reason": reason},
    )
