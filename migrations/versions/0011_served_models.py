"""Served models, responses that they wrote, and runs of the stage `ask`."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

STAGES = ("sft", "reward", "cost", "ppo", "dpo", "generate", "evaluate", "select", "snapshot", "gate", "promote", "kto",
          "import", "adopt", "copy", "pack", "remove")  # fmt: skip
SOURCES = ("starter", "policy", "imported", "person")


def upgrade() -> None:
    op.create_table(
        "served_models",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("address", sa.String(2000), nullable=False),
        sa.Column("model", sa.String(300), nullable=False),
        sa.Column("protocol", sa.String(20), server_default="chat", nullable=False),
        sa.Column("key_sealed", sa.LargeBinary()),
        sa.Column("sampling", JSONB(), server_default="{}", nullable=False),
        sa.Column("limits", JSONB(), server_default="{}", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_served_models")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_served_models_project_id"), ondelete="CASCADE"
        ),
        sa.CheckConstraint("protocol IN ('chat', 'completions')", name=op.f("ck_served_models_protocol_known")),
        sa.CheckConstraint("length(btrim(name)) > 0 AND length(btrim(model)) > 0", name=op.f("ck_served_models_named")),
        sa.CheckConstraint(
            "removed_at IS NULL OR key_sealed IS NULL", name=op.f("ck_served_models_removed_without_a_key")
        ),
    )
    op.create_index(
        "uq_served_models_name",
        "served_models",
        ["project_id", "name"],
        unique=True,
        postgresql_where=sa.text("removed_at IS NULL"),
    )
    op.create_index("ix_served_models_project_id", "served_models", ["project_id"])
    op.add_column("completions", sa.Column("served_model_id", sa.BigInteger()))
    op.add_column("completions", sa.Column("made_with", JSONB()))
    op.create_foreign_key(
        op.f("fk_completions_served_model_id"), "completions", "served_models", ["served_model_id"], ["id"]
    )
    op.create_index(
        "ix_completions_served_model_id",
        "completions",
        ["served_model_id"],
        postgresql_where=sa.text("served_model_id IS NOT NULL"),
    )
    _allow("completions", "source", (*SOURCES, "served"))
    for column, name in (("served_model_id", "served_has_a_model"), ("made_with", "served_has_settings")):
        op.create_check_constraint(
            op.f(f"ck_completions_{name}"), "completions", f"(source = 'served') = ({column} IS NOT NULL)"
        )
    _allow("runs", "stage", (*STAGES, "ask"))


def downgrade() -> None:
    """Refused by the database while there are such runs or responses: judgements would lose what they are about."""
    _allow("runs", "stage", STAGES)
    _allow("completions", "source", SOURCES)
    op.drop_column("completions", "made_with")
    op.drop_column("completions", "served_model_id")
    op.drop_table("served_models")


def _allow(table: str, column: str, values: tuple[str, ...]) -> None:
    name = op.f(f"ck_{table}_{column}_known")
    op.drop_constraint(name, table, type_="check")
    op.create_check_constraint(name, table, f"{column} IN ({', '.join(map(repr, values))})")
