"""Selection that learns: what is embedded, slots of rounds, and the random slice of tasks."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

STAGES = ("sft", "reward", "cost", "ppo", "dpo", "kto", "generate", "evaluate", "select", "snapshot", "gate", "promote",
          "import", "ask", "adopt", "copy", "pack", "unpack", "remove", "erase", "change")  # fmt: skip
OWN = ("embed",)


def upgrade() -> None:
    _allow(*STAGES, *OWN)
    op.add_column("rounds", sa.Column("slots", sa.BigInteger()))
    op.create_check_constraint(op.f("ck_rounds_slots_range"), "rounds", "slots >= 0")
    op.create_check_constraint(
        op.f("ck_tasks_slice_known"),
        "tasks",
        "NOT selection ? 'slice' OR selection ->> 'slice' = 'chosen'"
        " OR (selection ->> 'slice' = 'random' AND coalesce((selection ->> 'propensity')::float, 0) > 0)",
    )
    op.create_index(
        "uq_tasks_slot",
        "tasks",
        ["round_id", sa.text("((selection ->> 'slot')::integer)")],
        unique=True,
        postgresql_where=sa.text("round_id IS NOT NULL AND selection ? 'slot'"),
    )


def downgrade() -> None:
    """Refused by the database while there are such runs: remove their rows first."""
    op.drop_index("uq_tasks_slot", "tasks")
    op.drop_constraint(op.f("ck_tasks_slice_known"), "tasks", type_="check")
    op.drop_constraint(op.f("ck_rounds_slots_range"), "rounds", type_="check")
    op.drop_column("rounds", "slots")
    _allow(*STAGES)


def _allow(*stages: str) -> None:
    name = op.f("ck_runs_stage_known")
    op.drop_constraint(name, "runs", type_="check")
    op.create_check_constraint(name, "runs", f"stage IN ({', '.join(map(repr, stages))})")
