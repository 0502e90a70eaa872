"""Reports: what workers compute about a project, and pages read."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "reports",
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("content", postgresql.JSONB(), nullable=True),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tried_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("up_to", sa.BigInteger(), nullable=True),
        sa.Column("up_to_change", sa.BigInteger(), nullable=True),
        sa.Column("problem", sa.String(500), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], ondelete="CASCADE", name=op.f("fk_reports_project_id_projects")
        ),
        sa.PrimaryKeyConstraint("project_id", "name", name=op.f("pk_reports")),
    )
    op.create_index("ix_reports_asked", "reports", ["asked_at"], postgresql_where=sa.text("asked_at IS NOT NULL"))


def downgrade() -> None:
    """Reports are lost: they are computed again."""
    op.drop_table("reports")
