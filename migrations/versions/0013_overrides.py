"""Promotions that a gate had refused: which decision was overridden, and never without a reason."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("promotions", sa.Column("overrides_gate_id", sa.BigInteger()))
    op.create_foreign_key(op.f("fk_promotions_overrides_gate_id"), "promotions", "gates", ["overrides_gate_id"], ["id"])
    op.create_check_constraint(
        op.f("ck_promotions_override_has_a_reason"), "promotions", "overrides_gate_id IS NULL OR btrim(reason) <> ''"
    )


def downgrade() -> None:
    """Which decision of a gate a promotion overrode is lost; that and why it was promoted stays."""
    op.drop_constraint(op.f("ck_promotions_override_has_a_reason"), "promotions", type_="check")
    op.drop_column("promotions", "overrides_gate_id")
