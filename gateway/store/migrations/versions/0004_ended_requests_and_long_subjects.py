"""Requests by when they ended, for the purge (R28); room in events for the longest policy's name and place."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_access_requests_ended_at"), "access_requests", ["ended_at"])
    with op.batch_alter_table("events", table_kwargs={"sqlite_autoincrement": True}) as events:
        events.alter_column(
            "subject", type_=sa.String(length=320), existing_type=sa.String(length=160), existing_nullable=False
        )
