"""What of recordings waits in spools (R27)."""

import sqlalchemy as sa
from alembic import op

from gateway.store.database import UtcDateTime

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "uploads",
        sa.Column("session_id", sa.String(22), nullable=False),
        sa.Column("replica", sa.String(64), nullable=False),
        sa.Column("spool_bytes", sa.BigInteger(), nullable=False),
        sa.Column("segments_stored", sa.Integer()),
        sa.Column("segments_waiting", sa.Integer(), nullable=False),
        sa.Column("waiting_since", UtcDateTime()),
        sa.Column("failure", sa.String(512), nullable=False),
        sa.Column("failing_since", UtcDateTime()),
        sa.Column("next_try_at", UtcDateTime()),
        sa.Column("reported_at", UtcDateTime()),
        sa.Column("is_retried", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_uploads")),
    )
    op.create_index(op.f("ix_uploads_replica"), "uploads", ["replica"])
