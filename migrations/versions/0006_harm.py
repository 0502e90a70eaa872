"""Which responses are safe, and which is less harmful."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

CHECKS = {
    "harm_is_said_whole": "(safe IS NULL) = (less_harmful IS NULL)",
    "safe_fits": "cardinality(safe) = 2 AND cardinality(safe) = cardinality(shown_order)"
    " AND array_position(safe, NULL) IS NULL",
    "less_harmful_follows": "less_harmful BETWEEN -1 AND 1"
    " AND (safe[1] = safe[2] OR less_harmful = CASE WHEN safe[1] THEN 1 ELSE -1 END)",
}


def upgrade() -> None:
    op.add_column("judgements", sa.Column("safe", sa.ARRAY(sa.Boolean())))
    op.add_column("judgements", sa.Column("less_harmful", sa.SmallInteger()))
    for name, condition in CHECKS.items():
        op.create_check_constraint(op.f(f"ck_judgements_{name}"), "judgements", condition)


def downgrade() -> None:
    """What was said of harm is lost; its constraints go with the columns."""
    op.drop_column("judgements", "less_harmful")
    op.drop_column("judgements", "safe")
