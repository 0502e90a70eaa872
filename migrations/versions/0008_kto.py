"""Runs of the stage `kto`, and none of `import` and `export`, which never were any."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

STAGES = ("sft", "reward", "cost", "ppo", "dpo", "generate", "evaluate", "select", "snapshot", "gate", "promote")


def upgrade() -> None:
    _allow(*STAGES, "kto")


def downgrade() -> None:
    """Refused by the database while there are such runs: their models would lose what made them."""
    _allow(*STAGES, "import", "export")


def _allow(*stages: str) -> None:
    name = op.f("ck_runs_stage_known")
    op.drop_constraint(name, "runs", type_="check")
    op.create_check_constraint(name, "runs", f"stage IN ({', '.join(map(repr, stages))})")
