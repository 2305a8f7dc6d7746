"""Who is still to be told of what, who was, and where people can be reached (R30)."""

import sqlalchemy as sa
from alembic import op

from gateway.store.database import UtcDateTime

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "outbox",
        sa.Column(
            "event", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.ForeignKeyConstraint(["event"], ["events.sequence"], name=op.f("fk_outbox_event")),
        sa.PrimaryKeyConstraint("event", name=op.f("pk_outbox")),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("lane", sa.String(64), nullable=False),
        sa.Column("event", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.String(320), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("is_dead", sa.Boolean(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("due_at", UtcDateTime(), nullable=False),
        sa.Column("leased_until", UtcDateTime()),
        sa.Column("leased_by", sa.String(64), nullable=False),
        sa.Column("last_error", sa.String(512), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
    )
    op.create_index(op.f("ix_deliveries_lane_event"), "deliveries", ["lane", "event"], unique=True)
    op.create_index(op.f("ix_deliveries_channel_is_dead_due_at"), "deliveries", ["channel", "is_dead", "due_at"])
    op.create_index(op.f("ix_deliveries_subject"), "deliveries", ["subject"])
    op.create_table(
        "messages",
        sa.Column("lane", sa.String(64), nullable=False),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(320), nullable=False),
        sa.Column("recipient", sa.JSON(), nullable=False),
        sa.Column("reference", sa.JSON()),
        sa.Column("event", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("lane", name=op.f("pk_messages")),
    )
    op.create_index(op.f("ix_messages_subject"), "messages", ["subject"])
    op.create_table(
        "contacts",
        sa.Column("user_id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("address", sa.JSON(), nullable=False),
        sa.Column("linked_by", sa.String(64), nullable=False),
        sa.Column("linked_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_contacts_user_id")),
        sa.PrimaryKeyConstraint("user_id", "kind", name=op.f("pk_contacts")),
        sa.UniqueConstraint("kind", "key", name=op.f("uq_contacts_kind_key")),
    )
