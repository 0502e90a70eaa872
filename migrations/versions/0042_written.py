"""What somebody wrote is found without all that they judged and skipped."""

import sqlalchemy as sa
from alembic import op

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None

WORDS = {"judgements": "rationale IS NOT NULL", "assignments": "length(skip_reason) > 0"}


def upgrade() -> None:
    for table, has_words in WORDS.items():
        op.create_index(f"ix_{table}_words", table, ["annotator_id"], postgresql_where=sa.text(has_words))


def downgrade() -> None:
    """Nothing is lost."""
    for table in WORDS:
        op.drop_index(f"ix_{table}_words", table)
