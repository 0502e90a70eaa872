"""Judges that are models: served models whose judgements are a machine's, and what they said in both orders."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

STAGES = ("sft", "reward", "cost", "ppo", "dpo", "kto", "generate", "evaluate", "select", "snapshot", "gate", "promote",
          "import", "ask", "adopt", "copy", "pack", "unpack", "remove", "erase", "change", "embed")  # fmt: skip
OWN = ("judge",)

CHECKS = {
    "kind_known": (
        "kind IN ('human', 'simulated', 'imported')",
        "kind IN ('human', 'simulated', 'imported', 'machine')",
    ),
    "imported_has_nobody": (
        "(kind = 'imported') = (assignment_id IS NULL) AND (kind = 'imported') = (annotator_id IS NULL)",
        "(kind IN ('imported', 'machine')) = (assignment_id IS NULL) AND (kind = 'imported') = (annotator_id IS NULL)",
    ),
    "checks_are_of_people": (
        "NOT is_check OR kind <> 'imported'",
        "NOT is_check OR kind NOT IN ('imported', 'machine')",
    ),
    "verdicts_are_of_people": (
        "NOT is_verdict OR (kind <> 'imported' AND NOT is_check)",
        "NOT is_verdict OR (kind NOT IN ('imported', 'machine') AND NOT is_check)",
    ),
}

# How far people are apart: a machine is none of them.
DIVISIONS = """
CREATE OR REPLACE FUNCTION divisions(task_ids bigint[]) RETURNS TABLE (task_id bigint, division double precision)
LANGUAGE sql STABLE AS $$
    SELECT units.task_id, sum(a * b + tie * (a + b) / 2.0) / sum((a + b + tie) * (a + b + tie - 1) / 2)
    FROM (
        SELECT judgements.task_id,
               count(*) FILTER (WHERE level > 0) AS a,
               count(*) FILTER (WHERE level < 0) AS b,
               count(*) FILTER (WHERE level = 0) AS tie
        FROM judgements, LATERAL sides_of(preference, ranks, answer_type)
        WHERE judgements.task_id = ANY (task_ids) AND superseded_by IS NULL AND NOT is_check AND NOT is_verdict{only}
        GROUP BY judgements.task_id, first, second
        HAVING count(*) > 1
    ) units
    GROUP BY units.task_id
$$;
"""


def upgrade() -> None:
    _allow(*STAGES, *OWN)
    op.add_column("users", sa.Column("is_machine", sa.Boolean(), server_default="false", nullable=False))
    op.create_check_constraint(
        op.f("ck_users_machine_has_no_way_in"),
        "users",
        "NOT is_machine OR (email IS NULL AND password_hash IS NULL AND NOT is_admin AND NOT is_simulated)",
    )
    _check(1)
    op.create_index(
        "uq_judgements_machine", "judgements", ["task_id", "annotator_id"], unique=True,
        postgresql_where=sa.text("kind = 'machine' AND superseded_by IS NULL"),
    )  # fmt: skip
    op.execute(DIVISIONS.format(only=" AND kind <> 'machine'"))
    _judges()
    _answers()


def downgrade() -> None:
    """Refused by the database while there are judgements of machines: without their mark they would be people's."""
    op.drop_table("judge_answers")
    op.execute("DROP TRIGGER log_changes ON judges")
    op.drop_table("judges")
    op.drop_index("uq_judgements_machine", "judgements")
    op.execute(DIVISIONS.format(only=""))
    _check(0)
    op.drop_constraint(op.f("ck_users_machine_has_no_way_in"), "users", type_="check")
    op.drop_column("users", "is_machine")
    _allow(*STAGES)


def _judges() -> None:
    op.create_table(
        "judges",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("served_model_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("stopped_at", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], ondelete="CASCADE", name=op.f("fk_judges_project_id")),
        sa.ForeignKeyConstraint(["served_model_id"], ["served_models.id"], name=op.f("fk_judges_served_model_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_judges_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_judges")),
        sa.UniqueConstraint("user_id", name=op.f("uq_judges_user_id")),
    )
    op.create_index(op.f("ix_judges_project_id"), "judges", ["project_id"])
    op.create_index("ix_judges_served_model_id", "judges", ["served_model_id"])
    op.create_index(
        "uq_judges_served_model", "judges", ["served_model_id"], unique=True,
        postgresql_where=sa.text("stopped_at IS NULL"),
    )  # fmt: skip
    op.execute("SELECT log_changes_of('judges', 'id')")


def _answers() -> None:
    op.create_table(
        "judge_answers",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("judge_id", sa.BigInteger(), nullable=False),
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.BigInteger()),
        sa.Column("judgement_id", sa.BigInteger()),
        sa.Column("outcome", sa.String(20), nullable=False),
        sa.Column("chosen_as", sa.String(20), nullable=False),
        sa.Column("probability", sa.Float()),
        sa.Column("replies", postgresql.JSONB(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(
            ["judge_id"], ["judges.id"], ondelete="CASCADE", name=op.f("fk_judge_answers_judge_id")
        ),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], ondelete="CASCADE", name=op.f("fk_judge_answers_task_id")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], ondelete="SET NULL", name=op.f("fk_judge_answers_run_id")),
        sa.ForeignKeyConstraint(
            ["judgement_id"], ["judgements.id"], ondelete="CASCADE", name=op.f("fk_judge_answers_judgement_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_judge_answers")),
        sa.UniqueConstraint("judge_id", "task_id", name=op.f("uq_judge_answers_judge_id_task_id")),
        sa.UniqueConstraint("judgement_id", name=op.f("uq_judge_answers_judgement_id")),
        sa.CheckConstraint(
            "outcome IN ('first', 'second', 'tie', 'flip', 'abstained')", name=op.f("ck_judge_answers_outcome_known")
        ),
        sa.CheckConstraint("chosen_as IN ('shared', 'sure', 'chance')", name=op.f("ck_judge_answers_chosen_as_known")),
        sa.CheckConstraint(
            "(outcome = 'abstained') = (judgement_id IS NULL)", name=op.f("ck_judge_answers_abstention_says_nothing")
        ),
        sa.CheckConstraint("jsonb_array_length(replies) = 2", name=op.f("ck_judge_answers_both_orders")),
        sa.CheckConstraint("probability BETWEEN 0 AND 1", name=op.f("ck_judge_answers_probability_range")),
    )
    op.create_index(op.f("ix_judge_answers_task_id"), "judge_answers", ["task_id"])
    op.create_index(op.f("ix_judge_answers_run_id"), "judge_answers", ["run_id"])


def _allow(*stages: str) -> None:
    name = op.f("ck_runs_stage_known")
    op.drop_constraint(name, "runs", type_="check")
    op.create_check_constraint(name, "runs", f"stage IN ({', '.join(map(repr, stages))})")


def _check(state: int) -> None:
    for name, conditions in CHECKS.items():
        op.drop_constraint(op.f(f"ck_judgements_{name}"), "judgements", type_="check")
        op.create_check_constraint(op.f(f"ck_judgements_{name}"), "judgements", conditions[state])
