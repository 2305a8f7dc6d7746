"""From when on a user's client certificates count (R31)."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("certificates_from", sa.BigInteger(), nullable=True))
