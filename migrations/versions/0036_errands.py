"""Errands: what models are asked at once; and runs that push a model somewhere."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None

STAGES = (
    *("sft", "reward", "cost", "ppo", "dpo", "kto", "generate", "evaluate", "select", "snapshot", "gate", "promote"),
    *(
        "import",
        "ask",
        "adopt",
        "copy",
        "pack",
        "unpack",
        "remove",
        "erase",
        "change",
        "embed",
        "judge",
        "export",
        "folder",
    ),
)
OWN = ("push",)


def upgrade() -> None:
    op.create_table(
        "errands",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("asked_by_id", sa.BigInteger()),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("state", sa.String(20), server_default="queued", nullable=False),
        sa.Column("asked", postgresql.JSONB(), nullable=False),
        sa.Column("answers", postgresql.JSONB(), server_default="[]", nullable=False),
        sa.Column("error", sa.String()),
        sa.Column("task_id", sa.BigInteger()),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_errands")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_errands_project_id_projects"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["asked_by_id"], ["users.id"], name=op.f("fk_errands_asked_by_id_users"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name=op.f("fk_errands_task_id_tasks"), ondelete="SET NULL"),
        sa.CheckConstraint("kind IN ('write', 'score')", name=op.f("ck_errands_kind_known")),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'succeeded', 'failed')", name=op.f("ck_errands_state_known")
        ),
        sa.CheckConstraint("(state = 'running') = (expires_at IS NOT NULL)", name=op.f("ck_errands_running_expires")),
        sa.CheckConstraint(
            "(ended_at IS NOT NULL) = (state IN ('succeeded', 'failed'))", name=op.f("ck_errands_final_state")
        ),
    )
    op.create_index("ix_errands_project", "errands", ["project_id", sa.text("id DESC")])
    _allow((*STAGES, *OWN))


def downgrade() -> None:
    """What was asked of models in the last day is lost, and so are the runs that pushed models somewhere."""
    op.drop_table("errands")
    op.execute("DELETE FROM runs WHERE stage = 'push'")
    _allow(STAGES)


def _allow(stages: tuple[str, ...]) -> None:
    name = op.f("ck_runs_stage_known")
    op.drop_constraint(name, "runs", type_="check")
    listed = ", ".join(f"'{stage}'" for stage in stages)
    op.create_check_constraint(name, "runs", f"stage IN ({listed})")
