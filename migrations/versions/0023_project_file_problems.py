"""Why a project's file could not be taken in."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("project_files", sa.Column("problem", sa.String()))
    op.create_check_constraint(
        op.f("ck_project_files_nothing_came_of_a_problem"), "project_files", "problem IS NULL OR project_id IS NULL"
    )


def downgrade() -> None:
    """Why files could not be taken in is lost."""
    op.drop_column("project_files", "problem")
