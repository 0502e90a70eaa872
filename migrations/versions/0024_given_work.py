"""Tasks that are kept for one person, changes of as many rows as match, and indexes for lists."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

STAGES = ("sft", "reward", "cost", "ppo", "dpo", "kto", "generate", "evaluate", "select", "snapshot", "gate", "promote",
          "import", "ask", "adopt", "copy", "pack", "remove", "erase", "unpack")  # fmt: skip
OWN = ("change",)

IS_OPEN = "state = 'open' AND purpose = 'label' AND taken < quota"

RULES = """
-- A lease that is new: a renewed one was given before the task was kept for somebody.
CREATE FUNCTION lease_of_a_reserved_task() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM tasks WHERE id = NEW.task_id AND reserved_for_id <> NEW.annotator_id) THEN
        RAISE EXCEPTION 'the task is reserved for somebody else' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lease_of_a_reserved_task BEFORE INSERT OR UPDATE OF state ON assignments
    FOR EACH ROW WHEN (NEW.state = 'leased') EXECUTE FUNCTION lease_of_a_reserved_task();
"""

ROWS = """
INSERT INTO changed_rows (change_id, row_id, before)
    SELECT bulk_changes.id, was.key::bigint, was.value FROM bulk_changes, jsonb_each(bulk_changes.before) AS was
    WHERE undone_at IS NULL;
UPDATE bulk_changes SET finished_at = created_at,
    changed = (SELECT count(*) FROM jsonb_object_keys(bulk_changes.before));
"""

FORMER_ROWS = """
UPDATE bulk_changes SET before = coalesce(
    (SELECT jsonb_object_agg(row_id, changed_rows.before) FROM changed_rows WHERE change_id = bulk_changes.id), '{}')
"""


def upgrade() -> None:
    op.add_column("tasks", sa.Column("reserved_for_id", sa.BigInteger()))
    op.create_foreign_key(
        "fk_tasks_reserved_for",
        "tasks",
        "members",
        ["project_id", "reserved_for_id"],
        ["project_id", "user_id"],
        ondelete="SET NULL (reserved_for_id)",
    )
    op.create_check_constraint(
        op.f("ck_tasks_labels_are_reserved"), "tasks", "reserved_for_id IS NULL OR purpose = 'label'"
    )
    op.create_index(
        "ix_tasks_reserved",
        "tasks",
        ["project_id", "reserved_for_id", "id"],
        postgresql_where=sa.text("reserved_for_id IS NOT NULL"),
    )
    op.drop_index("ix_tasks_open", "tasks")
    op.create_index(
        "ix_tasks_open",
        "tasks",
        ["project_id", sa.text("coalesce(reserved_for_id, 0)"), sa.text("priority DESC"), "id"],
        postgresql_where=sa.text(IS_OPEN),
    )
    op.execute(RULES)
    op.create_index("ix_completions_length", "completions", [sa.text("length(text)"), "id"])
    op.create_index(
        "ix_judgements_flagged_tasks",
        "judgements",
        ["task_id"],
        postgresql_where=sa.text("flags <> '{}'::jsonb"),
    )
    # The log tells what was asked for, and how many rows it came to once that is known.
    op.execute("DROP TRIGGER log_changes ON bulk_changes")
    op.add_column("bulk_changes", sa.Column("filters", postgresql.JSONB()))
    op.add_column("bulk_changes", sa.Column("reached", sa.BigInteger()))
    op.add_column("bulk_changes", sa.Column("changed", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("bulk_changes", sa.Column("left", postgresql.JSONB(), server_default="{}", nullable=False))
    op.add_column("bulk_changes", sa.Column("run_id", sa.BigInteger()))
    op.add_column("bulk_changes", sa.Column("finished_at", sa.DateTime(timezone=True)))
    op.create_foreign_key(
        op.f("fk_bulk_changes_run_id_runs"), "bulk_changes", "runs", ["run_id"], ["id"], ondelete="SET NULL"
    )
    op.create_index(
        "ix_bulk_changes_run_id", "bulk_changes", ["run_id"], postgresql_where=sa.text("run_id IS NOT NULL")
    )
    op.create_table(
        "changed_rows",
        sa.Column("change_id", sa.BigInteger(), nullable=False),
        sa.Column("row_id", sa.BigInteger(), nullable=False),
        sa.Column("before", postgresql.JSONB(), nullable=False),
        sa.ForeignKeyConstraint(
            ["change_id"], ["bulk_changes.id"], ondelete="CASCADE", name=op.f("fk_changed_rows_change_id_bulk_changes")
        ),
        sa.PrimaryKeyConstraint("change_id", "row_id", name=op.f("pk_changed_rows")),
    )
    op.execute(ROWS)
    op.drop_column("bulk_changes", "before")
    op.execute("SELECT log_changes_of('bulk_changes', 'id', changes => 'finished_at, undone_at')")
    _allow(*STAGES, *OWN)


def downgrade() -> None:
    """Refused by the database while there are runs of such changes: remove their rows first."""
    _allow(*STAGES)
    op.execute("DROP TRIGGER log_changes ON bulk_changes")
    op.add_column("bulk_changes", sa.Column("before", postgresql.JSONB(), server_default="{}", nullable=False))
    op.execute(FORMER_ROWS)
    op.alter_column("bulk_changes", "before", server_default=None)
    op.drop_table("changed_rows")
    op.drop_index("ix_bulk_changes_run_id", "bulk_changes")
    for column in ("filters", "reached", "changed", "left", "run_id", "finished_at"):
        op.drop_column("bulk_changes", column)
    op.execute("SELECT log_changes_of('bulk_changes', 'id')")
    op.execute("DROP TRIGGER lease_of_a_reserved_task ON assignments")
    op.execute("DROP FUNCTION lease_of_a_reserved_task")
    op.drop_index("ix_tasks_open", "tasks")
    op.create_index(
        "ix_tasks_open", "tasks", ["project_id", sa.text("priority DESC"), "id"], postgresql_where=sa.text(IS_OPEN)
    )
    op.drop_index("ix_judgements_flagged_tasks", "judgements")
    op.drop_index("ix_completions_length", "completions")
    op.drop_index("ix_tasks_reserved", "tasks")
    op.drop_constraint(op.f("ck_tasks_labels_are_reserved"), "tasks", type_="check")
    op.drop_constraint("fk_tasks_reserved_for", "tasks", type_="foreignkey")
    op.drop_column("tasks", "reserved_for_id")


def _allow(*stages: str) -> None:
    name = op.f("ck_runs_stage_known")
    op.drop_constraint(name, "runs", type_="check")
    op.create_check_constraint(name, "runs", f"stage IN ({', '.join(map(repr, stages))})")
