"""What a session is, how it is asked for and how it ends."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from gateway.nodes.ports import Terminal, UpstreamKind


class End(StrEnum):
    """Why a session ended; the contract's SessionEnd without its prefix."""

    EXITED = "EXITED"
    CLIENT_GONE = "CLIENT_GONE"
    NODE_GONE = "NODE_GONE"
    WINDOW_ENDED = "WINDOW_ENDED"
    REVOKED = "REVOKED"
    RETURNED = "RETURNED"
    LOCKED = "LOCKED"
    TERMINATED = "TERMINATED"
    IDLE = "IDLE"
    MAXIMUM_DURATION = "MAXIMUM_DURATION"
    RECORDING_FAILED = "RECORDING_FAILED"
    GATEWAY_STOPPED = "GATEWAY_STOPPED"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a session ended, and what its user is told. With EXITED: the status, or the name of the signal."""

    end: End
    message: str = ""
    status: int | None = None
    signal: str = ""


@dataclass(frozen=True, slots=True)
class Opening:
    """What a client asks for. The login is not in it: policy and preferences decide that (R26).

    `node` is an id or a name in the scope (account, Region); `credit` is the output that the client can take.
    """

    token: str = field(repr=False)
    scope: tuple[str, str]
    node: str
    kind: UpstreamKind
    credit: int
    command: str = ""
    terminal: Terminal | None = None
    is_resumable: bool = False


@dataclass(frozen=True, slots=True)
class Resuming:
    """With what a client comes back to its session.

    `credit` is the output that it can take; `received` the bytes of output that it has, None: none, and it takes
    what is still kept. `terminal` is the size (columns, rows) that it has now.
    """

    session_id: str
    token: str = field(repr=False)
    credit: int
    received: int | None = None
    terminal: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """A session as it is stored. It ends at `ends_at` at the latest; `replica` is the gateway that holds it.

    `grace_seconds` is how long its node keeps it while nothing carries it; 0: it cannot be resumed.
    """

    id: str
    request_id: str
    account: str
    region: str
    user_id: str
    node_id: str
    node_name: str
    login: str
    kind: UpstreamKind
    command: str
    source_address: str
    replica: str
    started_at: datetime
    ends_at: datetime
    ended_at: datetime | None = None
    end: End | None = None
    end_message: str = ""
    terminated_by: str = ""
    terminate_reason: str = ""
    grace_seconds: int = 0


class RecordingStatus(StrEnum):
    RECORDING = "RECORDING"
    UPLOADING = "UPLOADING"
    COMPLETE = "COMPLETE"
    QUARANTINED = "QUARANTINED"
    DELETING = "DELETING"
    DELETED = "DELETED"


@dataclass(frozen=True, slots=True)
class Deletion:
    """Why a recording goes or is gone. `actor_id` is empty where the retention wants it so."""

    wanted_at: datetime
    actor_id: str
    reason: str
    manifest_sha256: str
    deleted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SessionRecording:
    """A session's recording as the index knows it. Sizes are in bytes; output counts both streams."""

    session_id: str
    request_id: str
    account: str
    region: str
    user_id: str
    node_id: str
    node_name: str
    status: RecordingStatus
    started_at: datetime
    status_reason: str = ""
    duration_us: int = 0
    output_bytes: int = 0
    input_bytes: int = 0
    stored_bytes: int = 0
    gaps: int = 0
    deletion: Deletion | None = None
