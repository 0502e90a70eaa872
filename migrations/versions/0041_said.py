"""How much somebody has judged is counted in an index alone, however much there is."""

import sqlalchemy as sa
from alembic import op

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_judgements_said",
        "judgements",
        ["project_id", "annotator_id", "submitted_at"],
        postgresql_where=sa.text("superseded_by IS NULL AND NOT is_verdict"),
    )


def downgrade() -> None:
    """Nothing is lost."""
    op.drop_index("ix_judgements_said", "judgements")
