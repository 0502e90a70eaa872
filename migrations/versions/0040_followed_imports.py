"""Whoever follows judgements hears of imported ones: a load in bulk passes over triggers that aren't always on."""

from alembic import op

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE judgements ENABLE ALWAYS TRIGGER judgements_came")


def downgrade() -> None:
    """Nothing is lost."""
    op.execute("ALTER TABLE judgements ENABLE TRIGGER judgements_came")
