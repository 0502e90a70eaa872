"""Files that become projects, and the runs that make them."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

STAGES = ("sft", "reward", "cost", "ppo", "dpo", "kto", "generate", "evaluate", "select", "snapshot", "gate", "promote",
          "import", "ask", "adopt", "copy", "pack", "remove", "erase")  # fmt: skip
OWN = ("unpack",)


def upgrade() -> None:
    op.create_table(
        "project_files",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("folder", sa.String(), nullable=False),
        sa.Column("file_name", sa.String(200), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_by_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("project_id", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_project_files")),
        sa.ForeignKeyConstraint(
            ["created_by_id"], ["users.id"], name=op.f("fk_project_files_created_by_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_project_files_project_id"), ondelete="CASCADE"
        ),
        sa.UniqueConstraint("project_id", name=op.f("uq_project_files_project_id")),
    )
    op.create_index(op.f("ix_project_files_created_by_id"), "project_files", ["created_by_id"])
    _allow(*STAGES, *OWN)


def downgrade() -> None:
    """Refused by the database while there are such runs: remove their rows first."""
    _allow(*STAGES)
    op.drop_table("project_files")


def _allow(*stages: str) -> None:
    name = op.f("ck_runs_stage_known")
    op.drop_constraint(name, "runs", type_="check")
    op.create_check_constraint(name, "runs", f"stage IN ({', '.join(map(repr, stages))})")
