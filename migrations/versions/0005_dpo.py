"""Runs of the stage `dpo`."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

BEFORE = ("sft", "reward", "ppo", "generate", "evaluate", "select", "snapshot", "gate", "promote", "import", "export")
AFTER = ("sft", "reward", "ppo", "dpo", *BEFORE[3:])


def upgrade() -> None:
    _allow(AFTER)


def downgrade() -> None:
    """Refused by the database while there are such runs: their models would lose what made them."""
    _allow(BEFORE)


def _allow(stages: tuple[str, ...]) -> None:
    name = op.f("ck_runs_stage_known")
    op.drop_constraint(name, "runs", type_="check")
    op.create_check_constraint(name, "runs", f"stage IN ({', '.join(map(repr, stages))})")
