"""How long a session's node keeps it while nothing carries it, so that it can be resumed (R25)."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    grace = sa.Column("grace_seconds", sa.Integer(), server_default=sa.text("0"), nullable=False)
    op.add_column("sessions", grace)
