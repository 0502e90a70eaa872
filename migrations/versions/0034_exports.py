"""Runs that write dataset versions into files."""

from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

STAGES = ("sft", "reward", "cost", "ppo", "dpo", "kto", "generate", "evaluate", "select", "snapshot", "gate",
          "promote", "import", "ask", "adopt", "copy", "pack", "unpack", "remove", "erase", "change", "embed",
          "judge")  # fmt: skip


def upgrade() -> None:
    _allow(*STAGES, "export")


def downgrade() -> None:
    """Runs of the new stage go; their files stay where they are until the project is removed."""
    op.execute("DELETE FROM runs WHERE stage = 'export'")
    _allow(*STAGES)


def _allow(*stages: str) -> None:
    op.drop_constraint(op.f("ck_runs_stage_known"), "runs", type_="check")
    known = ", ".join(f"'{stage}'" for stage in stages)
    op.create_check_constraint(op.f("ck_runs_stage_known"), "runs", f"stage IN ({known})")
