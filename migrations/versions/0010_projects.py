"""Projects that are being set up or removed; runs that remove, copy and pack a project.

The keys that close a circle of tables can be checked at the end of a transaction, so that a project goes and comes as a
whole.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0008"
branch_labels = None
depends_on = None

STAGES = ("sft", "reward", "cost", "ppo", "dpo", "generate", "evaluate", "select", "snapshot", "gate", "promote", "kto")
OWN = ("remove", "copy", "pack")
CIRCLES = (
    ("completions", "fk_completions_model_version_id"),
    ("completions", "fk_completions_run_id"),
    ("dataset_versions", "fk_dataset_versions_run_id"),
    ("model_versions", "fk_model_versions_run_id"),
)


def upgrade() -> None:
    op.add_column("projects", sa.Column("setup_step", sa.String(20)))
    op.add_column("projects", sa.Column("removal_asked_at", sa.DateTime(timezone=True)))
    op.create_check_constraint(
        op.f("ck_projects_setup_step_known"), "projects", "setup_step IN ('compare', 'writers', 'question', 'people')"
    )
    op.create_check_constraint(
        op.f("ck_projects_removed_from_the_archive"), "projects", "removal_asked_at IS NULL OR archived_at IS NOT NULL"
    )
    for table, key in CIRCLES:
        op.execute(f"ALTER TABLE {table} ALTER CONSTRAINT {key} DEFERRABLE INITIALLY IMMEDIATE")
    _allow(*STAGES, *OWN)


def downgrade() -> None:
    """Refused by the database while there are such runs: remove their rows first."""
    _allow(*STAGES)
    for table, key in CIRCLES:
        op.execute(f"ALTER TABLE {table} ALTER CONSTRAINT {key} NOT DEFERRABLE")
    op.drop_constraint(op.f("ck_projects_removed_from_the_archive"), "projects", type_="check")
    op.drop_constraint(op.f("ck_projects_setup_step_known"), "projects", type_="check")
    op.drop_column("projects", "removal_asked_at")
    op.drop_column("projects", "setup_step")


def _allow(*stages: str) -> None:
    name = op.f("ck_runs_stage_known")
    op.drop_constraint(name, "runs", type_="check")
    op.create_check_constraint(name, "runs", f"stage IN ({', '.join(map(repr, stages))})")
