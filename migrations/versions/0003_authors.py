"""Find what a person wrote without reading every response: asked before each lease."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_completions_author_id", "completions", ["author_id"], postgresql_where=sa.text("author_id IS NOT NULL")
    )


def downgrade() -> None:
    """Nothing is lost."""
    op.drop_index("ix_completions_author_id", "completions")
