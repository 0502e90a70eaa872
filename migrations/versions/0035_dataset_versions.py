"""Dataset versions say how they came about and can be told apart; what changes about judgements can be followed."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None

STAGES = (
    "sft", "reward", "cost", "ppo", "dpo", "kto", "generate", "evaluate", "select", "snapshot", "gate", "promote",
    "import", "ask", "adopt", "copy", "pack", "unpack", "remove", "erase", "change", "embed", "judge", "export",
)  # fmt: skip

_VERSION_RULE = """
CREATE OR REPLACE FUNCTION version_may_only_be_erased_from() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (to_jsonb(NEW) - ARRAY[{free}])
           <> (to_jsonb(OLD) - ARRAY[{free}])
       OR NEW.erased_from_at IS DISTINCT FROM coalesce(OLD.erased_from_at, NEW.erased_from_at)
       OR NEW.file_removed_at IS DISTINCT FROM coalesce(OLD.file_removed_at, NEW.file_removed_at) THEN
        RAISE EXCEPTION 'dataset_versions rows are immutable' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
"""
# What people note about a version is theirs to change; what it holds is not.
NOTED = _VERSION_RULE.format(free="'erased_from_at', 'file_removed_at', 'note', 'tags'")
FORMER = _VERSION_RULE.format(free="'erased_from_at', 'file_removed_at'")

# Every change that may alter what a dataset version cut now would hold, under the transaction that made it: ids are
# drawn before their rows can be seen, so that they don't tell what came after what.
FOLLOWED = """
CREATE FUNCTION this_transaction() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT pg_current_xact_id()::text::bigint
$$;

CREATE FUNCTION judgements_came() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO judgement_changes (project_id, changed_in, judgement_id)
        SELECT project_id, this_transaction(), id FROM came
        UNION
        -- Of a task that a reviewer has decided the other answers may count no more.
        SELECT other.project_id, this_transaction(), other.id
        FROM came JOIN judgements AS other ON other.task_id = came.task_id WHERE came.is_verdict
        ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER judgements_came AFTER INSERT ON judgements REFERENCING NEW TABLE AS came
    FOR EACH STATEMENT EXECUTE FUNCTION judgements_came();

CREATE FUNCTION judgements_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO judgement_changes (project_id, changed_in, judgement_id)
        SELECT project_id, this_transaction(), id FROM changed
        WHERE EXISTS (SELECT FROM projects WHERE projects.id = changed.project_id AND removal_asked_at IS NULL)
        ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER judgements_changed AFTER UPDATE ON judgements REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION judgements_changed();
CREATE TRIGGER judgements_went AFTER DELETE ON judgements REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION judgements_changed();

-- What a judgement is of changed: `TG_ARGV` names the judgements, given the changed row as `$1`.
CREATE FUNCTION what_is_judged_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'INSERT INTO judgement_changes (project_id, changed_in, judgement_id)'
        ' SELECT DISTINCT judgements.project_id, this_transaction(), judgements.id FROM judgements WHERE %s'
        ' ON CONFLICT DO NOTHING', TG_ARGV[0]
    ) USING NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER judgements_follow AFTER UPDATE ON prompts FOR EACH ROW
    WHEN ((OLD.excluded, OLD.split, OLD.erased_at) IS DISTINCT FROM (NEW.excluded, NEW.split, NEW.erased_at))
    EXECUTE FUNCTION what_is_judged_changed('task_id IN (SELECT id FROM tasks WHERE prompt_id = $1)');
CREATE TRIGGER judgements_follow AFTER UPDATE ON tasks FOR EACH ROW
    WHEN (OLD.erased_at IS DISTINCT FROM NEW.erased_at)
    EXECUTE FUNCTION what_is_judged_changed('task_id = $1');
CREATE TRIGGER judgements_follow AFTER UPDATE ON completions FOR EACH ROW
    WHEN (OLD.erased_at IS DISTINCT FROM NEW.erased_at)
    EXECUTE FUNCTION what_is_judged_changed(
        'task_id IN (SELECT task_id FROM task_completions WHERE completion_id = $1)'
    );
CREATE TRIGGER judgements_follow AFTER UPDATE ON demonstrations FOR EACH ROW
    WHEN (OLD.erased_at IS DISTINCT FROM NEW.erased_at)
    EXECUTE FUNCTION what_is_judged_changed('id = (SELECT judgement_id FROM demonstrations WHERE id = $1)');
"""


def upgrade() -> None:
    _allow(*STAGES, "folder")
    op.add_column("projects", sa.Column("licence", sa.String(60), server_default="unspecified", nullable=False))
    op.create_check_constraint(op.f("ck_projects_licence_form"), "projects", "licence ~ '^[A-Za-z0-9][A-Za-z0-9.+-]*$'")
    op.add_column("dataset_versions", sa.Column("manifest", postgresql.JSONB(), server_default="{}", nullable=False))
    op.add_column("dataset_versions", sa.Column("note", sa.String(), server_default="", nullable=False))
    op.add_column(
        "dataset_versions", sa.Column("tags", postgresql.ARRAY(sa.String(80)), server_default="{}", nullable=False)
    )
    op.create_index("ix_dataset_versions_tags", "dataset_versions", ["tags"], postgresql_using="gin")
    op.add_column("dataset_judgements", sa.Column("split", sa.String(20)))
    op.add_column("dataset_judgements", sa.Column("learnt", postgresql.JSONB()))
    op.execute(NOTED)
    op.execute("DROP TRIGGER log_changes ON dataset_versions")
    op.execute("SELECT log_changes_of('dataset_versions', 'id', untold => 'manifest')")
    op.create_table(
        "judgement_changes",
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("changed_in", sa.BigInteger(), nullable=False),
        sa.Column("judgement_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "changed_in", "judgement_id", name=op.f("pk_judgement_changes")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_judgement_changes_project_id"), ondelete="CASCADE"
        ),
    )
    op.create_index("ix_judgement_changes_at", "judgement_changes", ["at"], postgresql_using="brin")
    op.execute(FOLLOWED)


def downgrade() -> None:
    """Notes, tags, licences and manifests of dataset versions are lost; programs that follow judgements begin again."""
    for table in ("demonstrations", "completions", "tasks", "prompts"):
        op.execute(f"DROP TRIGGER judgements_follow ON {table}")
    for trigger in ("judgements_went", "judgements_changed", "judgements_came"):
        op.execute(f"DROP TRIGGER {trigger} ON judgements")
    for function in ("what_is_judged_changed", "judgements_changed", "judgements_came", "this_transaction"):
        op.execute(f"DROP FUNCTION {function}")
    op.drop_table("judgement_changes")
    op.execute("DROP TRIGGER log_changes ON dataset_versions")
    op.execute("SELECT log_changes_of('dataset_versions', 'id')")
    op.execute(FORMER)
    op.drop_column("dataset_judgements", "learnt")
    op.drop_column("dataset_judgements", "split")
    for column in ("tags", "note", "manifest"):
        op.drop_column("dataset_versions", column)
    op.drop_constraint(op.f("ck_projects_licence_form"), "projects", type_="check")
    op.drop_column("projects", "licence")
    op.execute("DELETE FROM runs WHERE stage = 'folder'")
    _allow(*STAGES)


def _allow(*stages: str) -> None:
    name = op.f("ck_runs_stage_known")
    op.drop_constraint(name, "runs", type_="check")
    op.create_check_constraint(name, "runs", f"stage IN ({', '.join(map(repr, stages))})")
