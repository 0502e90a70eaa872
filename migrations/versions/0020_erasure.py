"""Erasure of prompts, responses and what a person wrote."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

STAGES = ("sft", "reward", "ppo", "dpo", "generate", "evaluate", "select", "snapshot", "gate", "promote", "kto", "cost",
          "import", "ask", "adopt", "copy", "pack", "remove")  # fmt: skip
OWN = ("erase",)

# An erased text stays erased: the checks hold it to nothing as long as `erased_at` is there, and that stays.
FINAL = """
CREATE TRIGGER erased_for_good BEFORE UPDATE OF erased_at ON {table}
    FOR EACH ROW WHEN (OLD.erased_at IS NOT NULL AND NEW.erased_at IS DISTINCT FROM OLD.erased_at)
    EXECUTE FUNCTION refuse_change()
"""
EMPTY = (
    ("prompts", """messages = '[{"role": "user", "content": ""}]'::jsonb"""),
    ("completions", "text = ''"),
    ("demonstrations", "text = ''"),
    ("judgements", "rationale IS NULL AND body_digest IS NULL"),
    ("tasks", "state = 'retired' AND import_digest IS NULL"),
)
FINAL_OF = ("prompts", "completions", "demonstrations", "tasks")

RULES = """
CREATE OR REPLACE FUNCTION judgement_may_only_be_superseded() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Its words may be erased, whoever holds it; what was chosen stays.
    IF OLD.erased_at IS NULL AND NEW.erased_at IS NOT NULL
       AND (to_jsonb(NEW) - ARRAY['rationale', 'body_digest', 'erased_at'])
           = (to_jsonb(OLD) - ARRAY['rationale', 'body_digest', 'erased_at']) THEN
        RETURN NEW;
    END IF;
    IF OLD.superseded_by IS NOT NULL OR NEW.superseded_by IS NULL
       OR (to_jsonb(NEW) - 'superseded_by') <> (to_jsonb(OLD) - 'superseded_by') THEN
        RAISE EXCEPTION 'judgements are append-only' USING ERRCODE = 'restrict_violation';
    END IF;
    IF EXISTS (SELECT FROM dataset_judgements WHERE judgement_id = OLD.id) THEN
        RAISE EXCEPTION 'a dataset version holds this judgement' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
-- All that happens to a version is that something which it holds was erased, and its file removed for that.
CREATE FUNCTION version_may_only_be_erased_from() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (to_jsonb(NEW) - ARRAY['erased_from_at', 'file_removed_at'])
           <> (to_jsonb(OLD) - ARRAY['erased_from_at', 'file_removed_at'])
       OR NEW.erased_from_at IS DISTINCT FROM coalesce(OLD.erased_from_at, NEW.erased_from_at)
       OR NEW.file_removed_at IS DISTINCT FROM coalesce(OLD.file_removed_at, NEW.file_removed_at) THEN
        RAISE EXCEPTION 'dataset_versions rows are immutable' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
DROP TRIGGER dataset_versions_immutable ON dataset_versions;
CREATE TRIGGER dataset_versions_immutable BEFORE UPDATE ON dataset_versions
    FOR EACH ROW EXECUTE FUNCTION version_may_only_be_erased_from();
-- Explanations are texts that can be erased: the log tells that they changed, and not to what.
DROP TRIGGER log_changes ON gold_answers;
SELECT log_changes_of('gold_answers', 'task_id', untold => 'explanation');
ALTER TABLE audit_entries DISABLE TRIGGER audit_entries_append_only;
UPDATE audit_entries SET
    before = CASE WHEN before ->> 'explanation' <> '' THEN before || '{"explanation": "…"}' ELSE before END,
    after = CASE WHEN after ->> 'explanation' <> '' THEN after || '{"explanation": "…"}' ELSE after END
WHERE kind = 'gold_answers';
ALTER TABLE audit_entries ENABLE TRIGGER audit_entries_append_only;
"""

FORMER_RULES = """
DROP TRIGGER dataset_versions_immutable ON dataset_versions;
CREATE TRIGGER dataset_versions_immutable BEFORE UPDATE ON dataset_versions
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
DROP FUNCTION version_may_only_be_erased_from;
CREATE OR REPLACE FUNCTION judgement_may_only_be_superseded() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.superseded_by IS NOT NULL OR NEW.superseded_by IS NULL
       OR (to_jsonb(NEW) - 'superseded_by') <> (to_jsonb(OLD) - 'superseded_by') THEN
        RAISE EXCEPTION 'judgements are append-only' USING ERRCODE = 'restrict_violation';
    END IF;
    IF EXISTS (SELECT FROM dataset_judgements WHERE judgement_id = OLD.id) THEN
        RAISE EXCEPTION 'a dataset version holds this judgement' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
DROP TRIGGER log_changes ON gold_answers;
SELECT log_changes_of('gold_answers', 'task_id');
"""


def upgrade() -> None:
    _allow(*STAGES, *OWN)
    for table, condition in EMPTY:
        op.add_column(table, sa.Column("erased_at", sa.DateTime(timezone=True)))
        name = op.f(f"ck_{table}_erased_is_empty")
        op.create_check_constraint(name, table, f"erased_at IS NULL OR ({condition})")
    for table in FINAL_OF:
        op.execute(FINAL.format(table=table))
    _demonstrations_hold_text("erased_at IS NOT NULL OR length(btrim(text)) > 0")
    op.create_index(
        "ix_demonstrations_author_id",
        "demonstrations",
        ["author_id"],
        postgresql_where=sa.text("author_id IS NOT NULL"),
    )
    op.add_column("dataset_versions", sa.Column("erased_from_at", sa.DateTime(timezone=True)))
    op.add_column("dataset_versions", sa.Column("file_removed_at", sa.DateTime(timezone=True)))
    op.create_check_constraint(
        op.f("ck_dataset_versions_removed_when_erased"),
        "dataset_versions",
        "file_removed_at IS NULL OR erased_from_at IS NOT NULL",
    )
    _run_script(RULES)


def downgrade() -> None:
    """What was erased stays so: its marks are lost, and with them what keeps it so."""
    _run_script(FORMER_RULES)
    op.drop_column("dataset_versions", "file_removed_at")
    op.drop_column("dataset_versions", "erased_from_at")
    op.drop_index("ix_demonstrations_author_id", "demonstrations")
    for table in FINAL_OF:
        op.execute(f"DROP TRIGGER erased_for_good ON {table}")
    op.execute("DELETE FROM demonstrations WHERE text = ''")
    _demonstrations_hold_text("length(btrim(text)) > 0")
    for table, _ in EMPTY:
        op.drop_column(table, "erased_at")
    op.execute("DELETE FROM runs WHERE stage = 'erase'")
    _allow(*STAGES)


def _demonstrations_hold_text(condition: str) -> None:
    name = op.f("ck_demonstrations_text_not_blank")
    op.drop_constraint(name, "demonstrations", type_="check")
    op.create_check_constraint(name, "demonstrations", condition)


def _allow(*stages: str) -> None:
    name = op.f("ck_runs_stage_known")
    op.drop_constraint(name, "runs", type_="check")
    op.create_check_constraint(name, "runs", f"stage IN ({', '.join(map(repr, stages))})")


def _run_script(script: str) -> None:
    """Straight to the driver: many statements, percent signs and all."""
    op.get_bind().connection.driver_connection.execute(script)  # type: ignore[union-attr]
