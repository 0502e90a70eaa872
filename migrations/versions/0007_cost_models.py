"""Runs of the stage `cost`, rounds that hold cost to a limit, and what a policy's limit was measured by."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STAGES = ("sft", "reward", "ppo", "dpo", "generate", "evaluate", "select", "snapshot", "gate", "promote", "import",
          "export")  # fmt: skip
STEPS = ("select", "label", "snapshot", "reward", "reward_gate", "ppo", "evaluate", "policy_gate", "promote",
         "generate", "done")  # fmt: skip


def upgrade() -> None:
    for table in ("rounds", "model_versions"):
        op.add_column(table, sa.Column("cost_id", sa.BigInteger()))
        op.create_foreign_key(op.f(f"fk_{table}_cost_id"), table, "model_versions", ["cost_id"], ["id"])
    _allow("runs", "stage", (*STAGES, "cost"))
    _allow("rounds", "step", (*STEPS, "cost"))


def downgrade() -> None:
    """Refused by the database while there are such runs: their models would lose what made them."""
    _allow("rounds", "step", STEPS)
    _allow("runs", "stage", STAGES)
    for table in ("rounds", "model_versions"):
        op.drop_column(table, "cost_id")


def _allow(table: str, column: str, values: tuple[str, ...]) -> None:
    name = op.f(f"ck_{table}_{column}_known")
    op.drop_constraint(name, table, type_="check")
    op.create_check_constraint(name, table, f"{column} IN ({', '.join(map(repr, values))})")
