"""How divided people are about a task, and reviews: a task's copy that one reviewer is given, and the verdict on it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

PURPOSES = {
    "0017": "purpose IN ('label', 'qualification', 'gold', 'repeat')",
    "0019": "purpose IN ('label', 'qualification', 'gold', 'repeat', 'review')",
}
SLOTS = {"0017": "slot BETWEEN 0 AND 4", "0019": "slot BETWEEN 0 AND 5"}

RULES = """
-- What was said of each two responses of a task, by position: level > 0: the first is better. Of the best of several,
-- nothing is said of two that aren't.
CREATE FUNCTION sides_of(preference smallint, ranks smallint[], answer_type text)
RETURNS TABLE (first integer, second integer, level integer) LANGUAGE sql IMMUTABLE AS $$
    SELECT 0, 1, preference::integer WHERE preference IS NOT NULL
    UNION ALL
    SELECT one.place::integer - 1, other.place::integer - 1,
           CASE WHEN one.rank IS NULL THEN -1 WHEN other.rank IS NULL THEN 1
                ELSE sign(other.rank - one.rank)::integer END
    FROM unnest(ranks) WITH ORDINALITY AS one (rank, place)
    JOIN unnest(ranks) WITH ORDINALITY AS other (rank, place) ON one.place < other.place
    WHERE CASE WHEN answer_type = 'best' THEN (one.rank IS NULL) <> (other.rank IS NULL)
               ELSE one.rank IS NOT NULL AND other.rank IS NOT NULL END
$$;

-- Of all two people and all two responses of a task: the share of opposites, a tie being half of one. No row for tasks
-- of which no two people said something that can be compared.
CREATE FUNCTION divisions(task_ids bigint[]) RETURNS TABLE (task_id bigint, division double precision)
LANGUAGE sql STABLE AS $$
    SELECT units.task_id, sum(a * b + tie * (a + b) / 2.0) / sum((a + b + tie) * (a + b + tie - 1) / 2)
    FROM (
        SELECT judgements.task_id,
               count(*) FILTER (WHERE level > 0) AS a,
               count(*) FILTER (WHERE level < 0) AS b,
               count(*) FILTER (WHERE level = 0) AS tie
        FROM judgements, LATERAL sides_of(preference, ranks, answer_type)
        WHERE judgements.task_id = ANY (task_ids) AND superseded_by IS NULL AND NOT is_check AND NOT is_verdict
        GROUP BY judgements.task_id, first, second
        HAVING count(*) > 1
    ) units
    GROUP BY units.task_id
$$;

CREATE FUNCTION judgements_divide_tasks() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    met bigint[];
BEGIN
    IF EXISTS (
        SELECT FROM added
        LEFT JOIN assignments ON assignments.id = added.assignment_id
        LEFT JOIN tasks ON tasks.id = assignments.task_id
        WHERE added.is_verdict AND (tasks.purpose = 'review' AND tasks.copy_of = added.task_id) IS NOT TRUE
           OR tasks.purpose = 'review' AND NOT added.is_verdict
    ) THEN
        RAISE EXCEPTION 'a verdict is what was said at a review of its task' USING ERRCODE = 'check_violation';
    END IF;
    SELECT array_agg(DISTINCT tasks.id) INTO met FROM added JOIN tasks ON tasks.id = added.task_id
    WHERE tasks.judged >= 2 AND NOT added.is_check AND NOT added.is_verdict;
    IF met IS NOT NULL THEN
        UPDATE tasks SET division = found.division FROM divisions(met) found
        WHERE tasks.id = found.task_id AND tasks.division IS DISTINCT FROM found.division;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER judgements_divide AFTER INSERT ON judgements
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION judgements_divide_tasks();

UPDATE tasks SET division = found.division
FROM divisions((SELECT array_agg(id) FROM tasks WHERE judged >= 2)) found WHERE tasks.id = found.task_id;
"""


def upgrade() -> None:
    op.add_column("projects", sa.Column("review", postgresql.JSONB(), server_default="{}", nullable=False))
    op.add_column("dataset_versions", sa.Column("settings", postgresql.JSONB(), server_default="{}", nullable=False))
    op.add_column("judgements", sa.Column("is_verdict", sa.Boolean(), server_default="false", nullable=False))
    op.create_check_constraint(
        op.f("ck_judgements_verdicts_are_of_people"),
        "judgements",
        "NOT is_verdict OR (kind <> 'imported' AND NOT is_check)",
    )
    op.create_index(
        "uq_judgements_verdict", "judgements", ["task_id"], unique=True,
        postgresql_where=sa.text("is_verdict AND superseded_by IS NULL"),
    )  # fmt: skip
    op.create_index(
        "ix_judgements_verdicts", "judgements", ["project_id", "id"], postgresql_where=sa.text("is_verdict")
    )
    op.add_column("tasks", sa.Column("division", sa.Float()))
    op.create_check_constraint(op.f("ck_tasks_division_is_a_share"), "tasks", "division BETWEEN 0 AND 1")
    op.create_check_constraint(
        op.f("ck_tasks_review_of_something"), "tasks", "purpose <> 'review' OR (copy_of IS NOT NULL AND quota = 1)"
    )
    op.create_index(
        "uq_tasks_review", "tasks", ["copy_of"], unique=True, postgresql_where=sa.text("purpose = 'review'")
    )
    op.create_index(
        "ix_tasks_divided", "tasks", ["project_id", sa.text("division DESC"), "id"],
        postgresql_where=sa.text("division > 0"),
    )  # fmt: skip
    _check("0019")
    op.execute(RULES)


def downgrade() -> None:
    """Refused by the database once somebody has given a verdict: without the column it would be one more label."""
    op.execute("DELETE FROM tasks WHERE purpose = 'review'")
    op.execute("DROP TRIGGER judgements_divide ON judgements")
    op.execute("DROP FUNCTION judgements_divide_tasks")
    op.execute("DROP FUNCTION divisions")
    op.execute("DROP FUNCTION sides_of")
    _check("0017")
    for index in ("ix_tasks_divided", "uq_tasks_review"):
        op.drop_index(index, "tasks")
    op.drop_constraint(op.f("ck_tasks_review_of_something"), "tasks")
    op.drop_column("tasks", "division")
    for index in ("ix_judgements_verdicts", "uq_judgements_verdict"):
        op.drop_index(index, "judgements")
    op.drop_constraint(op.f("ck_judgements_verdicts_are_of_people"), "judgements")
    op.drop_column("judgements", "is_verdict")
    op.drop_column("dataset_versions", "settings")
    op.drop_column("projects", "review")


def _check(state: str) -> None:
    for table, name, condition in (
        ("tasks", "purpose_known", PURPOSES[state]),
        ("assignments", "slot_known", SLOTS[state]),
    ):
        op.drop_constraint(op.f(f"ck_{table}_{name}"), table)
        op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, condition)
