"""Exclusion of prompts, full-text search, what lists are narrowed to, and changes of many rows that can be undone."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

NARROWED = (
    ("ix_judgements_of_people", ["project_id", "annotator_id", "id"], "annotator_id IS NOT NULL"),
    ("ix_judgements_flagged", ["project_id", "id"], "flags <> '{}'::jsonb"),
    ("ix_judgements_reasons", ["project_id", "id"], "rationale IS NOT NULL"),
    ("ix_judgements_hurried", ["project_id", "id"], "hurried"),
    ("ix_judgements_replaced", ["project_id", "id"], "superseded_by IS NOT NULL"),
    ("ix_judgements_of_checks", ["project_id", "id"], "is_check"),
    ("ix_tasks_round", ["round_id", "id"], "round_id IS NOT NULL"),
    ("ix_tasks_judged_twice", ["project_id", "id"], "judged >= 2"),
    ("ix_completions_source", ["source", "id"], "source <> 'imported'"),
)


def upgrade() -> None:
    op.add_column("prompts", sa.Column("excluded", sa.Boolean(), server_default="false", nullable=False))
    op.create_index("ix_prompts_tags", "prompts", ["tags"], postgresql_using="gin")
    words = sa.text("""jsonb_to_tsvector('simple', messages, '["string"]')""")
    op.create_index("ix_prompts_words", "prompts", [words], postgresql_using="gin")
    for table in ("completions", "demonstrations"):
        text = sa.text("to_tsvector('simple', text)")
        op.create_index(f"ix_{table}_words", table, [text], postgresql_using="gin")
    for name, columns, where in NARROWED:
        op.create_index(name, name.split("_")[1], columns, postgresql_where=sa.text(where))
    op.drop_index("ix_tasks_round_id", "tasks")
    op.create_table(
        "bulk_changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("actor_id", sa.BigInteger(), nullable=True),
        sa.Column("name", sa.String(20), nullable=False),
        sa.Column("value", sa.String(200), server_default="", nullable=False),
        sa.Column("before", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("undone_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], ondelete="CASCADE", name=op.f("fk_bulk_changes_project_id_projects")
        ),
        sa.ForeignKeyConstraint(["actor_id"], ["users.id"], name=op.f("fk_bulk_changes_actor_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bulk_changes")),
    )
    op.create_index("ix_bulk_changes_project", "bulk_changes", ["project_id", sa.text("id DESC")])
    op.execute("SELECT log_changes_of('bulk_changes', 'id')")
    op.execute("SELECT log_changes_of('imports', 'id', changes => 'state, options, columns', of_whom => 'people')")
    op.execute("SELECT log_changes_of('served_models', 'id', untold => 'key_sealed')")


def downgrade() -> None:
    """Which prompts are excluded is lost, and the way back from changes of many rows."""
    op.execute("DROP TRIGGER log_changes ON imports")
    op.execute("DROP TRIGGER log_changes ON served_models")
    op.drop_table("bulk_changes")
    op.create_index("ix_tasks_round_id", "tasks", ["round_id"])
    for name, _, _ in NARROWED:
        op.drop_index(name, name.split("_")[1])
    for table in ("demonstrations", "completions", "prompts"):
        op.drop_index(f"ix_{table}_words", table)
    op.drop_index("ix_prompts_tags", "prompts")
    op.drop_column("prompts", "excluded")
