"""Runs that wait for their next attempt, and what is wrong with the files of models in use."""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("retry_at", sa.DateTime(timezone=True)))
    op.add_column("model_versions", sa.Column("fault", sa.String()))


def downgrade() -> None:
    """Runs that wait are taken up at once, and files are looked at anew."""
    op.drop_column("model_versions", "fault")
    op.drop_column("runs", "retry_at")
