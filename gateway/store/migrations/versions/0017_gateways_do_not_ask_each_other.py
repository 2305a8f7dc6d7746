"""Gateways do not look for agents at each other: nobody ever wrote to that table."""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_table("replicas")
