"""What stays of recordings that were deleted (R27)."""

import sqlalchemy as sa
from alembic import op

from gateway.store.database import UtcDateTime

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "recording_deletions",
        sa.Column("session_id", sa.String(22), nullable=False),
        sa.Column("wanted_at", UtcDateTime(), nullable=False),
        sa.Column("actor_id", sa.String(64), nullable=False),
        sa.Column("reason", sa.String(256), nullable=False),
        sa.Column("manifest_sha256", sa.String(64), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("next_try_at", UtcDateTime()),
        sa.Column("deleted_at", UtcDateTime()),
        sa.ForeignKeyConstraint(
            ["session_id"], ["recordings.session_id"], name=op.f("fk_recording_deletions_session_id")
        ),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_recording_deletions")),
    )
    op.create_index(op.f("ix_recording_deletions_next_try_at"), "recording_deletions", ["next_try_at"])
