"""Why each round started: by hand, or what was the case then."""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

TRIGGERS = ("click", "at_once", "labels", "drift", "outlying", "schedule")


def upgrade() -> None:
    """Of rounds from before nobody knows."""
    op.add_column("rounds", sa.Column("trigger", sa.String(20)))
    op.add_column("rounds", sa.Column("trigger_figure", sa.Double()))
    op.add_column("rounds", sa.Column("trigger_bound", sa.Double()))
    op.create_check_constraint(
        op.f("ck_rounds_trigger_known"), "rounds", f"trigger IN ({', '.join(map(repr, TRIGGERS))})"
    )


def downgrade() -> None:
    """Why each round started is lost."""
    op.drop_constraint(op.f("ck_rounds_trigger_known"), "rounds", type_="check")
    for column in ("trigger_bound", "trigger_figure", "trigger"):
        op.drop_column("rounds", column)
