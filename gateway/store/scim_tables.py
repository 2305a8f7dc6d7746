"""The tables of SCIM: what identity providers say, and the tokens that they prove themselves with (R31)."""

from sqlalchemy import JSON, Boolean, Column, ForeignKey, Index, String, Table, UniqueConstraint

from gateway.store.database import UtcDateTime
from gateway.store.metadata import metadata

# Identity providers that keep the directory fresh by SCIM (R31). Only the hash of a token is kept.
scim_tokens = Table(
    "scim_tokens",
    metadata,
    Column("id", String(17), primary_key=True),
    Column("hash", String(64), nullable=False),
    Column("provider", String(32), nullable=False),
    Column("issuer", String(255), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", String(64), nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("last_used_at", UtcDateTime),
    UniqueConstraint("hash"),
    Index(None, "issuer"),
)

# Whom a provider describes by SCIM: `document` as it said, the keys beside it in the form that is compared.
scim_users = Table(
    "scim_users",
    metadata,
    Column("id", ForeignKey("users.id"), primary_key=True),
    Column("issuer", String(255), nullable=False),
    Column("name_key", String(255), nullable=False),
    Column("external_id", String(255), nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("document", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    UniqueConstraint("issuer", "name_key"),
    Index(None, "issuer", "external_id"),
)

# A provider's groups; `group_id` is what policies call it here, empty for one that counts for nothing.
scim_groups = Table(
    "scim_groups",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("issuer", String(255), nullable=False),
    Column("name_key", String(255), nullable=False),
    Column("external_id", String(255), nullable=False),
    Column("group_id", String(64), nullable=False),
    Column("document", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    UniqueConstraint("issuer", "name_key"),
    Index(None, "issuer", "external_id"),
)

scim_members = Table(
    "scim_members",
    metadata,
    Column("scim_group", ForeignKey("scim_groups.id", ondelete="CASCADE"), primary_key=True),
    Column("user_id", ForeignKey("scim_users.id", ondelete="CASCADE"), primary_key=True),
    Index(None, "user_id"),
)
