"""Check annotators: a qualification round, gold tasks among the others, and tasks of their own asked again."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TASK_CHECKS = {
    "purpose_known": "purpose IN ('label', 'qualification', 'gold', 'repeat')",
    "repeat_of_something": "purpose <> 'repeat' OR copy_of IS NOT NULL",
    "labels_are_no_copies": "purpose <> 'label' OR copy_of IS NULL",
}

RULES = """
CREATE FUNCTION datasets_hold_labels() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM added JOIN judgements ON judgements.id = added.judgement_id WHERE judgements.is_check) THEN
        RAISE EXCEPTION 'a check is no label' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER dataset_judgements_are_labels AFTER INSERT ON dataset_judgements
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION datasets_hold_labels();
"""


def upgrade() -> None:
    op.add_column("projects", sa.Column("checks", postgresql.JSONB(), server_default="{}", nullable=False))
    op.add_column("members", sa.Column("qualified_at", sa.DateTime(timezone=True)))

    op.add_column("tasks", sa.Column("purpose", sa.String(20), server_default="label", nullable=False))
    op.add_column("tasks", sa.Column("copy_of", sa.BigInteger()))
    op.create_foreign_key(op.f("fk_tasks_copy_of"), "tasks", "tasks", ["copy_of"], ["id"], ondelete="CASCADE")
    for name, condition in TASK_CHECKS.items():
        op.create_check_constraint(op.f(f"ck_tasks_{name}"), "tasks", condition)
    _index_open_tasks("state = 'open' AND purpose = 'label' AND taken < quota")
    op.create_index(
        "ix_tasks_checks", "tasks", ["project_id", "purpose", "id"], postgresql_where=sa.text("purpose <> 'label'")
    )
    op.create_index("ix_tasks_copy_of", "tasks", ["copy_of"], postgresql_where=sa.text("copy_of IS NOT NULL"))

    op.create_table(
        "gold_answers",
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sa.Column("better", sa.SmallInteger()),
        sa.Column("explanation", sa.String(), server_default="", nullable=False),
        sa.Column("author_id", sa.BigInteger()),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_gold_answers")),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name=op.f("fk_gold_answers_task_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["author_id"], ["users.id"], name=op.f("fk_gold_answers_author_id")),
        sa.CheckConstraint("better BETWEEN 0 AND 8", name=op.f("ck_gold_answers_better_is_a_position")),
    )

    op.add_column("judgements", sa.Column("is_check", sa.Boolean(), server_default="false", nullable=False))
    op.create_check_constraint(
        op.f("ck_judgements_checks_are_of_people"), "judgements", "NOT is_check OR kind <> 'imported'"
    )
    op.create_index(
        "ix_judgements_checks", "judgements", ["project_id", "annotator_id"],
        postgresql_where=sa.text("is_check AND superseded_by IS NULL"),
    )  # fmt: skip
    op.execute(RULES)


def downgrade() -> None:
    """Refused by the database once somebody has judged a check: without the column it would be a label."""
    op.execute("DELETE FROM tasks WHERE purpose <> 'label'")
    op.execute("DROP TRIGGER dataset_judgements_are_labels ON dataset_judgements")
    op.execute("DROP FUNCTION datasets_hold_labels")
    op.drop_index("ix_judgements_checks", "judgements")
    op.drop_column("judgements", "is_check")
    op.drop_table("gold_answers")
    for index in ("ix_tasks_copy_of", "ix_tasks_checks"):
        op.drop_index(index, "tasks")
    _index_open_tasks("state = 'open' AND taken < quota")
    op.drop_column("tasks", "copy_of")
    op.drop_column("tasks", "purpose")
    op.drop_column("members", "qualified_at")
    op.drop_column("projects", "checks")


def _index_open_tasks(condition: str) -> None:
    op.drop_index("ix_tasks_open", "tasks")
    op.create_index(
        "ix_tasks_open", "tasks", ["project_id", sa.text("priority DESC"), "id"], postgresql_where=sa.text(condition)
    )
