"""Every table, in one place (those of recordings and SCIM beside it): what the gateway knows and must not lose."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from gateway.store import recording_tables, scim_tables  # noqa: F401  # the rest of the tables
from gateway.store.database import UtcDateTime
from gateway.store.metadata import metadata as metadata  # noqa: PLC0414  # for those who take all tables

# SQLite numbers rows by itself only in a column of exactly this type.
_Sequence = BigInteger().with_variant(Integer, "sqlite")

# The directory (R31). A removed user stays, so that the id is never used again and history keeps its names.
users = Table(
    "users",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("issuer", String(255), nullable=False),
    Column("subject", String(255), nullable=False),
    Column("display_name", String(128), nullable=False, default=""),
    Column("attributes", JSON, nullable=False, default=dict),
    Column("principal_tags", JSON, nullable=False, default=dict, server_default=text("'{}'")),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_sign_in_at", UtcDateTime),
    Column("membership_checked_at", UtcDateTime, nullable=False),
    Column("removed_at", UtcDateTime),
    Column("locked_at", UtcDateTime),
    Column("locked_by", String(64)),
    Column("lock_reason", String(256)),
    # Client certificates from before that moment count no more: the user was locked, or the password reset.
    Column("certificates_from", UtcDateTime),
    UniqueConstraint("issuer", "subject"),
)

memberships = Table(
    "memberships",
    metadata,
    Column("group_id", String(64), primary_key=True),
    Column("user_id", ForeignKey("users.id"), primary_key=True),
    Index(None, "user_id"),
)

passwords = Table(
    "passwords",
    metadata,
    Column("user_id", ForeignKey("users.id"), primary_key=True),
    Column("hash", String(255), nullable=False),
    Column("must_change", Boolean, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
)

# Failures to sign in, by user and by source address, so that guessing gets slower wherever it comes from. The user
# is in the key as a hash: people type passwords into the wrong field.
sign_in_failures = Table(
    "sign_in_failures",
    metadata,
    Column("key", String(128), primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("last_at", UtcDateTime, nullable=False),
    Column("blocked_until", UtcDateTime),
    Index(None, "last_at"),
)

# From where each user has signed in before: there, nobody else's failures keep the user out.
sign_in_sources = Table(
    "sign_in_sources",
    metadata,
    Column("user_id", ForeignKey("users.id"), primary_key=True),
    Column("source", String(64), primary_key=True),
    Column("last_at", UtcDateTime, nullable=False),
)

administrator_codes = Table(
    "administrator_codes",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("used_at", UtcDateTime),
)

# Sign-ins under way at an identity provider, so that any replica can finish one. The handle is kept as a hash, and
# what must stay secret is sealed with a key made from the handle, which only the client has.
sign_in_flows = Table(
    "sign_in_flows",
    metadata,
    Column("handle_hash", String(64), primary_key=True),
    Column("provider", String(32), nullable=False),
    Column("kind", String(8), nullable=False),  # browser | device
    Column("source", String(64), nullable=False),
    Column("certificate_request", LargeBinary, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    # With a device: when the provider may be asked again, and how long to wait after that.
    Column("next_poll_at", UtcDateTime, nullable=False),
    Column("interval_seconds", Integer, nullable=False),
    Index(None, "source", "expires_at"),
    Index(None, "expires_at"),
)

# Browsers that people are signed in with (R31).
browser_sessions = Table(
    "browser_sessions",
    metadata,
    Column("secret_hash", String(64), primary_key=True),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("provider", String(32), nullable=False),  # empty: a local user
    Column("created_at", UtcDateTime, nullable=False),
    # When the person proved it; empty: the provider did not say.
    Column("proven_at", UtcDateTime),
    Column("expires_at", UtcDateTime, nullable=False),
    Index(None, "expires_at"),
)

role_grants = Table(
    "role_grants",
    metadata,
    Column("holder_type", String(8), primary_key=True),  # user | group
    Column("holder_id", String(64), primary_key=True),
    Column("role", String(32), primary_key=True),
    Column("account", String(64), primary_key=True),  # or *
    Column("region", String(64), primary_key=True),  # or *
    Column("policy_kinds", JSON, nullable=False, default=list),
)

# Where just-in-time access is enabled (R4).
targets = Table(
    "targets",
    metadata,
    Column("account", String(64), primary_key=True),
    Column("region", String(64), primary_key=True),
    Column("organizational_unit", String(64), nullable=False, default=""),
    Column("enabled", Boolean, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("changed_by", String(64), nullable=False),
)

preferences = Table(
    "preferences",
    metadata,
    Column("account", String(64), primary_key=True),
    Column("region", String(64), primary_key=True),
    Column("document", JSON, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("changed_by", String(64), nullable=False),
)

# What of AWS the preferences of an account may name (R26).
allowances = Table(
    "allowances",
    metadata,
    Column("account", String(64), primary_key=True),
    Column("kind", String(16), primary_key=True),  # bucket | key | role | log_group
    Column("name", String(640), primary_key=True),
    Column("owner", String(12), nullable=False),
    Column("aws_region", String(32), nullable=False),
    Column("external_id", String(1024), nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("changed_by", String(64), nullable=False),
)

# A removed node stays: its id is never used again (R33), and requests and recordings keep pointing at it.
nodes = Table(
    "nodes",
    metadata,
    Column("id", String(20), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("account", String(64), nullable=False),
    Column("region", String(64), nullable=False),
    Column("tags", JSON, nullable=False, default=dict),
    Column("connector", String(16), nullable=False),
    Column("endpoint", JSON, nullable=False),
    Column("properties", JSON, nullable=False, default=dict),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_seen_at", UtcDateTime),
    Column("removed_at", UtcDateTime),
    Column("locked_at", UtcDateTime),
    Column("locked_by", String(64)),
    Column("lock_reason", String(256)),
    Column("revision", Integer, nullable=False),
    # The gateway process that the node's agent is connected to.
    Column("attached_to", String(64)),
    Index(
        "uq_nodes_live_name",
        "account",
        "region",
        "name",
        unique=True,
        sqlite_where=text("removed_at IS NULL"),
        postgresql_where=text("removed_at IS NULL"),
    ),
)

# How nodes join by themselves (R33). Only the hash of a code is kept.
activations = Table(
    "activations",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("account", String(64), nullable=False),
    Column("region", String(64), nullable=False),
    Column("code_hash", String(64), nullable=False),
    Column("default_name", String(128), nullable=False),
    Column("tags", JSON, nullable=False, default=dict),
    Column("login", String(32), nullable=False),
    Column("registration_limit", Integer, nullable=False),
    Column("registrations", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", String(64), nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Index(None, "account", "region", "created_at"),
)

# A node that registered itself is bound to one key, and a key to one node, for good.
agents = Table(
    "agents",
    metadata,
    Column("node_id", ForeignKey("nodes.id"), primary_key=True),
    Column("key_hash", String(64), nullable=False),  # SHA-256 of the agent key's SubjectPublicKeyInfo, hex
    Column("activation_id", String(16), nullable=False),
    Column("registered_at", UtcDateTime, nullable=False),
    Column("certified_until", UtcDateTime, nullable=False),
    UniqueConstraint("key_hash"),
)

# The newest version of each policy. The deny policy has account and region *. Versions go on after a deletion,
# so that a pinned version (R21) never means two texts.
policies = Table(
    "policies",
    metadata,
    Column("kind", String(8), primary_key=True),
    Column("account", String(64), primary_key=True),
    Column("region", String(64), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("deleted_at", UtcDateTime),
)

policy_versions = Table(
    "policy_versions",
    metadata,
    Column("kind", String(8), primary_key=True),
    Column("account", String(64), primary_key=True),
    Column("region", String(64), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("text", Text, nullable=False),
    Column("description", Text, nullable=False, default=""),
    Column("author_id", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

# `state` is the request as the approvals core knows it; the columns beside it are what queries ask for.
access_requests = Table(
    "access_requests",
    metadata,
    Column("id", String(15), primary_key=True),
    Column("account", String(64), nullable=False),
    Column("region", String(64), nullable=False),
    Column("requester_id", ForeignKey("users.id"), nullable=False),
    Column("node_id", ForeignKey("nodes.id"), nullable=False),
    Column("node_name", String(128), nullable=False),
    Column("status", String(16), nullable=False),
    Column("auto_approved", Boolean, nullable=False),
    Column("state", JSON, nullable=False),
    Column("explanation", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    # When a worker must look at it next; null once nothing can happen by itself.
    Column("next_deadline", UtcDateTime),
    Column("revision", Integer, nullable=False),
    Column("idempotency_key", String(64)),
    UniqueConstraint("requester_id", "idempotency_key"),
    Index(None, "status", "next_deadline"),
    Index(None, "account", "region", "created_at"),
    Index(None, "requester_id", "created_at"),
    Index(None, "node_id", "status"),
    Index(None, "ended_at"),
)

# Who may decide at which level, so that "requests for me" is a query.
access_request_approvers = Table(
    "access_request_approvers",
    metadata,
    Column("request_id", ForeignKey("access_requests.id", ondelete="CASCADE"), primary_key=True),
    Column("level", Integer, primary_key=True),
    Column("approver_type", String(8), primary_key=True),
    Column("approver_id", String(128), primary_key=True),
    Index(None, "approver_type", "approver_id"),
)

# Only the hash of a token is kept (R24).
access_tokens = Table(
    "access_tokens",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("request_id", ForeignKey("access_requests.id", ondelete="CASCADE"), nullable=False),
    Column("user_id", String(64), nullable=False),
    Column("node_id", String(20), nullable=False),
    Column("key_hash", String(64), nullable=False),  # SHA-256 of the client key's SubjectPublicKeyInfo, hex
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("revoked_at", UtcDateTime),
    Index(None, "request_id"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", String(22), primary_key=True),
    Column("request_id", String(15), nullable=False),
    Column("account", String(64), nullable=False),
    Column("region", String(64), nullable=False),
    Column("user_id", String(64), nullable=False),
    Column("node_id", String(20), nullable=False),
    Column("node_name", String(128), nullable=False),
    Column("login", String(32), nullable=False),
    Column("kind", String(8), nullable=False),  # shell | exec
    Column("command", Text, nullable=False, default=""),
    Column("source_address", String(64), nullable=False),
    Column("replica", String(64), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ends_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("end", String(24)),
    Column("end_message", String(512)),
    # An administrator's wish to end it, for whichever replica holds it.
    Column("terminated_by", String(64)),
    Column("terminate_reason", String(256)),
    # How long its node keeps it while nothing carries it; 0: it ends with the call, and can't be resumed.
    Column("grace_seconds", Integer, nullable=False, default=0, server_default=text("0")),
    Index(None, "ended_at", "replica"),
    Index(None, "request_id"),
    Index(None, "account", "region", "started_at"),
)

# The audit log: written in the transaction that made what it tells (R29).
events = Table(
    "events",
    metadata,
    Column("sequence", _Sequence, primary_key=True, autoincrement=True),
    Column("type", String(64), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("actor_id", String(64), nullable=False),  # empty: the gateway itself
    Column("source_address", String(64), nullable=False),
    Column("account", String(64), nullable=False),
    Column("region", String(64), nullable=False),
    Column("subject", String(320), nullable=False),
    Column("summary", Text, nullable=False),
    Column("details", JSON, nullable=False, default=dict),
    Index(None, "subject", "sequence"),
    Index(None, "type", "sequence"),
    sqlite_autoincrement=True,
)

# Events that others are still to be told of: written with them, gone once it is written who is told what.
outbox = Table(
    "outbox",
    metadata,
    Column("event", ForeignKey("events.sequence"), primary_key=True, autoincrement=False),
)

# What is still to be brought to somebody, by a channel. In a lane, what the earliest event made goes first.
deliveries = Table(
    "deliveries",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("channel", String(64), nullable=False),
    Column("lane", String(64), nullable=False),
    Column("event", BigInteger, nullable=False),
    Column("subject", String(320), nullable=False),
    Column("document", JSON, nullable=False),
    Column("is_dead", Boolean, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    # While that replica tries; after that whoever did has died.
    Column("leased_until", UtcDateTime),
    Column("leased_by", String(64), nullable=False, default=""),
    Column("last_error", String(512), nullable=False),
    Index(None, "lane", "event", unique=True),
    Index(None, "channel", "is_dead", "due_at"),
    Index(None, "subject"),
)

# Who was told of what, and where the first message stands, so that later ones change it.
messages = Table(
    "messages",
    metadata,
    Column("lane", String(64), primary_key=True),
    Column("channel", String(64), nullable=False),
    Column("subject", String(320), nullable=False),
    Column("recipient", JSON, nullable=False),
    Column("reference", JSON),
    Column("event", BigInteger, nullable=False),  # the last one that it tells
    Column("updated_at", UtcDateTime, nullable=False),
    Index(None, "subject"),
)

# Where people can be reached: `address` in the form of that kind of channel; `key` is nobody else's.
contacts = Table(
    "contacts",
    metadata,
    Column("user_id", ForeignKey("users.id"), primary_key=True),
    Column("kind", String(32), primary_key=True),
    Column("key", String(255), nullable=False),
    Column("address", JSON, nullable=False),
    Column("linked_by", String(64), nullable=False),
    Column("linked_at", UtcDateTime, nullable=False),
    UniqueConstraint("kind", "key"),
)

# What `jit link` showed, until it is typed into the chat.
chat_codes = Table(
    "chat_codes",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)

# Proofs of what chat services posted lately: none counts twice.
chat_posts = Table(
    "chat_posts",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("until", UtcDateTime, nullable=False),
    Index(None, "until"),
)
