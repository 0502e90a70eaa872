"""Ask more than one kind of question, and fetch one task ahead."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SIGNED_CHOICE = """CASE answer_type
    WHEN 'seven' THEN 4 - choice
    WHEN 'six' THEN CASE WHEN choice <= 3 THEN 4 - choice ELSE 3 - choice END
    WHEN 'eight' THEN CASE WHEN choice <= 4 THEN 5 - choice ELSE 4 - choice END
END"""
FIRST_SIDE = "CASE WHEN shown_order[1] = 0 THEN 1 ELSE -1 END"

JUDGEMENT_CHECKS = {
    "answer_type_known": "answer_type IN ('seven', 'six', 'eight', 'ranking', 'best')",
    "one_answer": "(choice IS NULL) = (ranks IS NOT NULL) AND (choice IS NULL) = (preference IS NULL)"
    " AND (ranks IS NULL) = (answer_type IN ('seven', 'six', 'eight'))",
    "choice_range": "choice BETWEEN 1 AND CASE answer_type WHEN 'seven' THEN 7 WHEN 'six' THEN 6 ELSE 8 END",
    "preference_follows": f"preference = ({SIGNED_CHOICE}) * {FIRST_SIDE}",
    "ranks_fit": "cardinality(ranks) = cardinality(shown_order) AND 1 <= ALL (array_remove(ranks, NULL))"
    " AND cardinality(ranks) >= ALL (array_remove(ranks, NULL))"
    " AND (answer_type <> 'best' OR array_remove(ranks, NULL) = ARRAY[1]::smallint[])",
    "acceptable_fits": "cardinality(acceptable) = cardinality(shown_order)",
}
LEASED = sa.text("state = 'leased'")


def upgrade() -> None:
    op.add_column("projects", sa.Column("question", postgresql.JSONB(), server_default="{}", nullable=False))

    op.add_column("tasks", sa.Column("skipped", sa.SmallInteger(), server_default="0", nullable=False))
    _replace_check("tasks", "judged_within_taken", "judged >= 0 AND skipped >= 0 AND judged + skipped <= taken")

    op.add_column("assignments", sa.Column("slot", sa.SmallInteger(), server_default="0", nullable=False))
    op.add_column("assignments", sa.Column("served_at", sa.DateTime(timezone=True)))
    op.add_column("assignments", sa.Column("keeps_place", sa.Boolean(), server_default="false", nullable=False))
    op.execute("UPDATE assignments SET served_at = leased_at")
    _add_check("assignments", "two_slots", "slot BETWEEN 0 AND 1")
    _add_check("assignments", "only_skips_keep", "NOT keeps_place OR state = 'skipped'")
    op.drop_index("uq_assignments_one_lease", "assignments")
    op.create_index(
        "uq_assignments_leases", "assignments", ["project_id", "annotator_id", "slot"],
        unique=True, postgresql_where=LEASED,
    )  # fmt: skip

    op.add_column("judgements", sa.Column("answer_type", sa.String(20), server_default="seven", nullable=False))
    op.add_column("judgements", sa.Column("ranks", sa.ARRAY(sa.SmallInteger())))
    op.add_column("judgements", sa.Column("criteria", postgresql.JSONB(), server_default="{}", nullable=False))
    op.add_column("judgements", sa.Column("acceptable", sa.ARRAY(sa.Boolean())))
    op.add_column("judgements", sa.Column("flags", postgresql.JSONB(), server_default="{}", nullable=False))
    op.add_column("judgements", sa.Column("rationale", sa.String()))
    op.add_column("judgements", sa.Column("visits", sa.SmallInteger()))
    op.add_column("judgements", sa.Column("hurried", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("judgements", sa.Column("client_version", sa.String(40)))
    op.alter_column("judgements", "choice", nullable=True)
    op.alter_column("judgements", "preference", nullable=True)
    for name in ("choice_range", "preference_follows"):
        _drop_check("judgements", name)
    for name, condition in JUDGEMENT_CHECKS.items():
        _add_check("judgements", name, condition)

    op.add_column("demonstrations", sa.Column("judgement_id", sa.BigInteger()))
    op.add_column("demonstrations", sa.Column("completion_id", sa.BigInteger()))
    for column, table in (("judgement_id", "judgements"), ("completion_id", "completions")):
        op.create_foreign_key(op.f(f"fk_demonstrations_{column}"), "demonstrations", table, [column], ["id"])
    op.create_unique_constraint(op.f("uq_demonstrations_judgement_id"), "demonstrations", ["judgement_id"])
    op.create_index(op.f("ix_demonstrations_completion_id"), "demonstrations", ["completion_id"])
    _add_check("demonstrations", "edited_has_an_origin", "(source = 'edited') = (completion_id IS NOT NULL)")


def downgrade() -> None:
    """Refused by the database once somebody answered in a form that the old tables can't hold."""
    _drop_check("demonstrations", "edited_has_an_origin")
    op.drop_column("demonstrations", "completion_id")
    op.drop_column("demonstrations", "judgement_id")

    for name in JUDGEMENT_CHECKS:
        _drop_check("judgements", name)
    op.alter_column("judgements", "choice", nullable=False)
    op.alter_column("judgements", "preference", nullable=False)
    for column in (
        "client_version", "hurried", "visits", "rationale", "flags", "acceptable", "criteria", "ranks", "answer_type"
    ):  # fmt: skip
        op.drop_column("judgements", column)
    _add_check("judgements", "choice_range", "choice BETWEEN 1 AND 7")
    _add_check("judgements", "preference_follows", f"preference = (4 - choice) * {FIRST_SIDE}")

    op.execute("UPDATE tasks SET taken = taken - skipped")
    op.execute(
        """WITH gone AS (
               UPDATE assignments SET state = 'expired' WHERE state = 'leased' AND slot = 1 RETURNING task_id
           )
           UPDATE tasks SET taken = taken - freed.places
           FROM (SELECT task_id, count(*) AS places FROM gone GROUP BY task_id) freed WHERE id = freed.task_id"""
    )
    op.drop_index("uq_assignments_leases", "assignments")
    op.create_index(
        "uq_assignments_one_lease", "assignments", ["project_id", "annotator_id"],
        unique=True, postgresql_where=LEASED,
    )  # fmt: skip
    for name in ("two_slots", "only_skips_keep"):
        _drop_check("assignments", name)
    for column in ("keeps_place", "served_at", "slot"):
        op.drop_column("assignments", column)

    _drop_check("tasks", "judged_within_taken")
    op.drop_column("tasks", "skipped")
    _add_check("tasks", "judged_within_taken", "judged BETWEEN 0 AND taken")

    op.drop_column("projects", "question")


def _add_check(table: str, name: str, condition: str) -> None:
    op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, condition)


def _drop_check(table: str, name: str) -> None:
    op.drop_constraint(op.f(f"ck_{table}_{name}"), table, type_="check")


def _replace_check(table: str, name: str, condition: str) -> None:
    _drop_check(table, name)
    _add_check(table, name, condition)
