"""The tables of recordings: which there are, where they are, what is still to be stored, what was deleted."""

from sqlalchemy import JSON, BigInteger, Boolean, Column, ForeignKey, Index, Integer, LargeBinary, String, Table

from gateway.store.database import UtcDateTime
from gateway.store.metadata import metadata

recordings = Table(
    "recordings",
    metadata,
    Column("session_id", ForeignKey("sessions.id"), primary_key=True),
    Column("request_id", String(15), nullable=False),
    Column("account", String(64), nullable=False),
    Column("region", String(64), nullable=False),
    Column("user_id", String(64), nullable=False),
    Column("node_id", String(20), nullable=False),
    Column("node_name", String(128), nullable=False),
    Column("status", String(16), nullable=False),
    Column("status_reason", String(512), nullable=False, default=""),
    Column("started_at", UtcDateTime, nullable=False),
    Column("duration_us", BigInteger, nullable=False, default=0),
    Column("output_bytes", BigInteger, nullable=False, default=0),
    Column("input_bytes", BigInteger, nullable=False, default=0),
    Column("stored_bytes", BigInteger, nullable=False, default=0),
    Column("gaps", Integer, nullable=False, default=0),
    Column("manifest", LargeBinary),
    Index(None, "account", "region", "started_at"),
    Index(None, "request_id"),
)

# Of recordings that are being deleted, and of those that were: with the row above, the tombstone.
recording_deletions = Table(
    "recording_deletions",
    metadata,
    Column("session_id", ForeignKey("recordings.session_id"), primary_key=True),
    Column("wanted_at", UtcDateTime, nullable=False),
    Column("actor_id", String(64), nullable=False),  # empty: by retention
    Column("reason", String(256), nullable=False),
    Column("manifest_sha256", String(64), nullable=False),
    Column("failures", Integer, nullable=False, default=0),
    Column("next_try_at", UtcDateTime),  # null once it is deleted
    Column("deleted_at", UtcDateTime),
    Index(None, "next_try_at"),
)

# Where recordings go that don't go where the gateway's own configuration says. The id is a hash of the document.
places = Table(
    "places",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("document", JSON, nullable=False),
)

# Fixed when its session begins.
recording_places = Table(
    "recording_places",
    metadata,
    Column("session_id", ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    Column("place_id", ForeignKey("places.id"), nullable=False),
)

# Of recordings under `durability = store` that are not complete.
recording_heads = Table(
    "recording_heads",
    metadata,
    Column("session_id", ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("head", LargeBinary, nullable=False),
)

# What of recordings is still in spools; a row goes when nothing is. A spool may hold what nobody else knows.
uploads = Table(
    "uploads",
    metadata,
    Column("session_id", String(22), primary_key=True),
    Column("replica", String(64), nullable=False, index=True),
    Column("spool_bytes", BigInteger, nullable=False, default=0),
    Column("segments_stored", Integer),  # none: not told yet
    Column("segments_waiting", Integer, nullable=False, default=0),
    Column("waiting_since", UtcDateTime),
    Column("failure", String(512), nullable=False, default=""),
    Column("failing_since", UtcDateTime),
    Column("next_try_at", UtcDateTime),
    Column("reported_at", UtcDateTime),
    # An administrator's wish to have it tried again, for whichever replica has its spool.
    Column("is_retried", Boolean, nullable=False, default=False),
)
