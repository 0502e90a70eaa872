"""What somebody wrote is found without all that they judged and skipped."""

import sqlalchemy as sa
from alembic import op

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None

WRITTEN = {"judgements": "rationale IS NOT NULL", "assignments": "length(skip_reason) > 0"}


def upgrade() -> None:
    for table, is_written in WRITTEN.items():
        op.create_index(f"ix_{table}_written", table, ["annotator_id"], postgresql_where=sa.text(is_written))


def downgrade() -> None:
    """Nothing is lost."""
    for table in WRITTEN:
        op.drop_index(f"ix_{table}_written", table)
