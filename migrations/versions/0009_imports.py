"""Imports that are kept in mind: files, what came of them, and the way back."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

STAGES = "'sft', 'reward', 'cost', 'ppo', 'dpo', 'kto', 'generate', 'evaluate', 'select', 'snapshot', 'gate', 'promote'"
OF_AN_IMPORT = ("prompts", "tasks", "demonstrations")

# What people said stays for good. What a file said goes with its import, which has to be said first; a dataset version
# that holds any of it keeps it by its foreign key.
LEAVING = """
CREATE FUNCTION imported_judgements_leave_with_their_import() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM removed WHERE NOT EXISTS (
            SELECT FROM tasks JOIN imports ON imports.id = tasks.import_id
            WHERE tasks.id = removed.task_id AND imports.state = 'undone'
        )
    ) THEN
        RAISE EXCEPTION 'judgements rows are immutable' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$;

DROP TRIGGER judgements_stay ON judgements;
CREATE TRIGGER judgements_stay BEFORE DELETE ON judgements
    FOR EACH ROW WHEN (OLD.kind <> 'imported') EXECUTE FUNCTION refuse_change();
CREATE TRIGGER judgements_leave AFTER DELETE ON judgements
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION imported_judgements_leave_with_their_import();
"""

STAYING = """
DROP TRIGGER judgements_leave ON judgements;
DROP TRIGGER judgements_stay ON judgements;
CREATE TRIGGER judgements_stay BEFORE DELETE ON judgements FOR EACH ROW EXECUTE FUNCTION refuse_change();
DROP FUNCTION imported_judgements_leave_with_their_import;
"""


def upgrade() -> None:
    op.create_table(
        "imports",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(20), server_default="uploaded", nullable=False),
        sa.Column("file_name", sa.String(200), nullable=False),
        sa.Column("folder", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger()),
        sa.Column("sha256", sa.String(64)),
        sa.Column("format", sa.String(60)),
        sa.Column("columns", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column("options", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column("counts", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column("return_to", sa.String(500)),
        sa.Column("run_id", sa.BigInteger()),
        sa.Column("created_by_id", sa.BigInteger()),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("imported_at", sa.DateTime(timezone=True)),
        sa.Column("undone_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imports")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_imports_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_imports_run_id"), ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["created_by_id"], ["users.id"], name=op.f("fk_imports_created_by_id")),
        sa.CheckConstraint(
            "state IN ('uploaded', 'checked', 'imported', 'undone')", name=op.f("ck_imports_state_known")
        ),
        sa.CheckConstraint(
            "(state IN ('imported', 'undone')) = (imported_at IS NOT NULL)", name=op.f("ck_imports_imported_when")
        ),
        sa.CheckConstraint("(state = 'undone') = (undone_at IS NOT NULL)", name=op.f("ck_imports_undone_when")),
    )
    op.create_index("ix_imports_project", "imports", ["project_id", sa.text("id DESC")])

    for table in OF_AN_IMPORT:
        op.add_column(table, sa.Column("import_id", sa.BigInteger()))
        op.create_foreign_key(op.f(f"fk_{table}_import_id"), table, "imports", ["import_id"], ["id"])
        op.create_index(
            f"ix_{table}_import_id", table, ["import_id"], postgresql_where=sa.text("import_id IS NOT NULL")
        )
    op.add_column("prompts", sa.Column("tags", postgresql.ARRAY(sa.String(80)), server_default="{}", nullable=False))
    op.add_column("completions", sa.Column("source_model", sa.String(200)))
    _index_what_models_wrote()
    op.add_column("tasks", sa.Column("import_digest", sa.LargeBinary(16)))
    op.create_index(
        "uq_tasks_import_digest", "tasks", ["project_id", "import_digest"],
        unique=True, postgresql_where=sa.text("import_digest IS NOT NULL"),
    )  # fmt: skip

    op.add_column("judgements", sa.Column("source_annotator", sa.String(200)))
    op.add_column("judgements", sa.Column("strength_said", sa.Boolean()))
    op.create_check_constraint(
        op.f("ck_judgements_source_is_a_file"),
        "judgements",
        "kind = 'imported' OR (source_annotator IS NULL AND strength_said IS NULL)",
    )
    op.create_index(
        "ix_judgements_superseded_by", "judgements", ["superseded_by"],
        postgresql_where=sa.text("superseded_by IS NOT NULL"),
    )  # fmt: skip
    op.execute(LEAVING)
    _stages(f"{STAGES}, 'import'")


def downgrade() -> None:
    """What was imported stays; which import it was of is forgotten."""
    op.execute("DELETE FROM runs WHERE stage = 'import'")
    _stages(STAGES)
    op.execute(STAYING)
    op.drop_index("ix_judgements_superseded_by", "judgements")
    op.drop_constraint(op.f("ck_judgements_source_is_a_file"), "judgements")
    op.drop_column("judgements", "strength_said")
    op.drop_column("judgements", "source_annotator")
    op.drop_index("uq_tasks_import_digest", "tasks")
    op.drop_column("tasks", "import_digest")
    _index_all_completions()
    op.drop_column("completions", "source_model")
    op.drop_column("prompts", "tags")
    for table in OF_AN_IMPORT:
        op.drop_column(table, "import_id")
    op.drop_table("imports")


def _stages(names: str) -> None:
    op.drop_constraint(op.f("ck_runs_stage_known"), "runs")
    op.create_check_constraint(op.f("ck_runs_stage_known"), "runs", f"stage IN ({names})")


def _index_what_models_wrote() -> None:
    """Imported completions are in none of these, which takes a tenth of the time off a large import."""
    op.drop_index("ix_completions_model_version_id", "completions")
    op.drop_index("ix_completions_run_id", "completions")
    op.drop_constraint(op.f("uq_completions_run_id_prompt_id_sample"), "completions")
    op.create_index(
        "ix_completions_model_version_id", "completions", ["model_version_id"],
        postgresql_where=sa.text("model_version_id IS NOT NULL"),
    )  # fmt: skip
    op.create_index(
        "uq_completions_sample", "completions", ["run_id", "prompt_id", "sample"],
        unique=True, postgresql_where=sa.text("run_id IS NOT NULL"),
    )  # fmt: skip


def _index_all_completions() -> None:
    op.drop_index("uq_completions_sample", "completions")
    op.drop_index("ix_completions_model_version_id", "completions")
    unique = op.f("uq_completions_run_id_prompt_id_sample")
    op.create_unique_constraint(unique, "completions", ["run_id", "prompt_id", "sample"])
    op.create_index("ix_completions_run_id", "completions", ["run_id"])
    op.create_index("ix_completions_model_version_id", "completions", ["model_version_id"])
