"""What chat services posted lately (R30)."""

import sqlalchemy as sa
from alembic import op

from gateway.store.database import UtcDateTime

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "chat_posts",
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("until", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_chat_posts")),
    )
    op.create_index(op.f("ix_chat_posts_until"), "chat_posts", ["until"])
