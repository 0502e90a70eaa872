"""Projects that are being set up or removed; runs that adopt a model and copy, pack or remove a project.

The keys that close a circle of tables can be checked at the end of a transaction, so that a project goes and comes as a
whole. What else is never deleted goes with its project, once that was asked for.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

STAGES = ("sft", "reward", "cost", "ppo", "dpo", "generate", "evaluate", "select", "snapshot", "gate", "promote", "kto",
          "import")  # fmt: skip
OWN = ("adopt", "copy", "pack", "remove")
CIRCLES = (
    ("completions", "fk_completions_model_version_id"),
    ("completions", "fk_completions_run_id"),
    ("dataset_versions", "fk_dataset_versions_run_id"),
    ("model_versions", "fk_model_versions_run_id"),
)

# What people said and what was cut from it stays, but for a project that is removed as a whole.
LEAVING = """
CREATE FUNCTION is_being_removed(project bigint) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM projects WHERE id = project AND removal_asked_at IS NOT NULL)
$$;
CREATE FUNCTION is_dataset_being_removed(dataset bigint) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM dataset_versions WHERE id = dataset AND is_being_removed(project_id))
$$;

DROP TRIGGER judgements_stay ON judgements;
CREATE TRIGGER judgements_stay BEFORE DELETE ON judgements
    FOR EACH ROW WHEN (OLD.kind <> 'imported' AND NOT is_being_removed(OLD.project_id))
    EXECUTE FUNCTION refuse_change();
CREATE OR REPLACE FUNCTION imported_judgements_leave_with_their_import() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM removed WHERE NOT is_being_removed(removed.project_id) AND NOT EXISTS (
            SELECT FROM tasks JOIN imports ON imports.id = tasks.import_id
            WHERE tasks.id = removed.task_id AND imports.state = 'undone'
        )
    ) THEN
        RAISE EXCEPTION 'judgements rows are immutable' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$;
DROP TRIGGER dataset_versions_immutable ON dataset_versions;
CREATE TRIGGER dataset_versions_immutable BEFORE UPDATE ON dataset_versions
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER dataset_versions_stay BEFORE DELETE ON dataset_versions
    FOR EACH ROW WHEN (NOT is_being_removed(OLD.project_id)) EXECUTE FUNCTION refuse_change();
DROP TRIGGER dataset_judgements_immutable ON dataset_judgements;
CREATE TRIGGER dataset_judgements_immutable BEFORE UPDATE ON dataset_judgements
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER dataset_judgements_stay BEFORE DELETE ON dataset_judgements
    FOR EACH ROW WHEN (NOT is_dataset_being_removed(OLD.dataset_version_id)) EXECUTE FUNCTION refuse_change();
"""

STAYING = """
DROP TRIGGER dataset_judgements_stay ON dataset_judgements;
DROP TRIGGER dataset_judgements_immutable ON dataset_judgements;
CREATE TRIGGER dataset_judgements_immutable BEFORE UPDATE OR DELETE ON dataset_judgements
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
DROP TRIGGER dataset_versions_stay ON dataset_versions;
DROP TRIGGER dataset_versions_immutable ON dataset_versions;
CREATE TRIGGER dataset_versions_immutable BEFORE UPDATE OR DELETE ON dataset_versions
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
DROP TRIGGER judgements_stay ON judgements;
CREATE TRIGGER judgements_stay BEFORE DELETE ON judgements
    FOR EACH ROW WHEN (OLD.kind <> 'imported') EXECUTE FUNCTION refuse_change();
CREATE OR REPLACE FUNCTION imported_judgements_leave_with_their_import() RETURNS trigger LANGUAGE plpgsql AS $$
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
DROP FUNCTION is_dataset_being_removed;
DROP FUNCTION is_being_removed;
"""


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
    # Without these, each judgement and assignment that is deleted reads all judgements there are.
    op.create_index(op.f("ix_judgements_assignment_id"), "judgements", ["assignment_id"])
    op.execute(
        "CREATE INDEX IF NOT EXISTS ix_judgements_superseded_by ON judgements (superseded_by)"
        " WHERE superseded_by IS NOT NULL"
    )
    op.execute(LEAVING)
    _allow(*STAGES, *OWN)


def downgrade() -> None:
    """Refused by the database while there are such runs: remove their rows first."""
    _allow(*STAGES)
    op.execute(STAYING)
    op.drop_index(op.f("ix_judgements_assignment_id"), "judgements")
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
