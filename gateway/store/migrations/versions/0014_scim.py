"""What identity providers say by SCIM, and the tokens that they prove themselves with (R31)."""

import sqlalchemy as sa
from alembic import op

from gateway.store.database import UtcDateTime

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "scim_tokens",
        sa.Column("id", sa.String(17), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("provider", sa.String(32), nullable=False),
        sa.Column("issuer", sa.String(255), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("created_by", sa.String(64), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("last_used_at", UtcDateTime()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scim_tokens")),
        sa.UniqueConstraint("hash", name=op.f("uq_scim_tokens_hash")),
    )
    op.create_index(op.f("ix_scim_tokens_issuer"), "scim_tokens", ["issuer"])
    op.create_table(
        "scim_users",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("issuer", sa.String(255), nullable=False),
        sa.Column("name_key", sa.String(255), nullable=False),
        sa.Column("external_id", sa.String(255), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["id"], ["users.id"], name=op.f("fk_scim_users_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scim_users")),
        sa.UniqueConstraint("issuer", "name_key", name=op.f("uq_scim_users_issuer_name_key")),
    )
    op.create_index(op.f("ix_scim_users_issuer_external_id"), "scim_users", ["issuer", "external_id"])
    op.create_table(
        "scim_groups",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("issuer", sa.String(255), nullable=False),
        sa.Column("name_key", sa.String(255), nullable=False),
        sa.Column("external_id", sa.String(255), nullable=False),
        sa.Column("group_id", sa.String(64), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scim_groups")),
        sa.UniqueConstraint("issuer", "name_key", name=op.f("uq_scim_groups_issuer_name_key")),
    )
    op.create_index(op.f("ix_scim_groups_issuer_external_id"), "scim_groups", ["issuer", "external_id"])
    op.create_table(
        "scim_members",
        sa.Column("scim_group", sa.String(16), nullable=False),
        sa.Column("user_id", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(
            ["scim_group"], ["scim_groups.id"], name=op.f("fk_scim_members_scim_group"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["scim_users.id"], name=op.f("fk_scim_members_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("scim_group", "user_id", name=op.f("pk_scim_members")),
    )
    op.create_index(op.f("ix_scim_members_user_id"), "scim_members", ["user_id"])
