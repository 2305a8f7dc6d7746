"""Codes that link a chat identity to a person (R31)."""

import sqlalchemy as sa
from alembic import op

from gateway.store.database import UtcDateTime

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "chat_codes",
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_chat_codes_user_id")),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_chat_codes")),
    )
