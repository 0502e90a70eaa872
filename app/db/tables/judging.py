"""Tasks, leases and what people said.

The promises of the judging flow are constraints here: `taken` never passes `quota`, nobody is given a task twice, a
task has one current judgement per assignment, and the recorded preference always follows from the choice and the
order that was shown.
"""

from datetime import datetime
from typing import Literal, get_args

from sqlalchemy import (
    ARRAY,
    Boolean,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    SmallInteger,
    String,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, Json, Key, one_of

LEASE_SLOTS = 5  # so many tasks one person can have at a time: one on the desk, the others fetched ahead
REVIEW_SLOT = LEASE_SLOTS  # and beside them one that they review

TaskState = Literal["open", "closed", "retired"]
# Only what people say of tasks made for labels is a label; the others check the people themselves, or decide about one.
TaskPurpose = Literal["label", "qualification", "gold", "repeat", "review"]
AssignmentState = Literal["leased", "submitted", "skipped", "expired"]
JudgementKind = Literal["human", "simulated", "imported", "machine"]
# Pairs on a scale of 7, 6 or 8 segments from A to B (6 and 8 have no tie; 8 are the four levels of Llama 2 to each
# side), a ranking of several, or the best of several.
AnswerType = Literal["seven", "six", "eight", "ranking", "best"]

IS_BY_SOMEBODY = text("annotator_id IS NOT NULL")

_SIGNED_CHOICE = """CASE answer_type
    WHEN 'seven' THEN 4 - choice
    WHEN 'six' THEN CASE WHEN choice <= 3 THEN 4 - choice ELSE 3 - choice END
    WHEN 'eight' THEN CASE WHEN choice <= 4 THEN 5 - choice ELSE 4 - choice END
END"""


class Task(Base):
    """A prompt and 2–9 completions to compare.

    `taken` counts live leases, judgements and those skips (`skipped`) that use a place up. `selection` says how the
    task was chosen: {"rule", "propensity", "slice", "policy", "round", "slot"}. Of the slice `random` are those that a
    coin gave to chance before anything was scored: a sample of what policies write, on which quality is measured;
    `chosen` are a rule's. Where machines judge, another coin has said, before anything was scored, whether they may
    judge this one: {"machines": "on" or "off", "machines_propensity"}. A slot of a round is filled once. A check (any
    purpose but `label`) may be a copy of another task: a `repeat` is one of somebody's own earlier tasks, asked again.
    A `review` is a copy, too, with one place: a reviewer has it, and what they say of it is the verdict on the
    original. `division` is how far those who judged the task are apart: of all two people the share who said the
    opposite, a tie counting half; null while no two can be compared. The database keeps it. An owner may give a task to
    a member (`reserved_for_id`): until they have judged or skipped it, or work here no more, nobody else is given a
    place of it. `import_id` is the import that brought the task with all that is in it; `import_digest` tells its
    content, so that no project holds the same one twice. A task with something that was erased (`erased_at`) is retired
    for good.
    """

    __tablename__ = "tasks"

    id: Mapped[Key]
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id", ondelete="CASCADE"), index=True)
    purpose: Mapped[str] = mapped_column(String(20), server_default="label")
    copy_of: Mapped[int | None] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"))
    round_id: Mapped[int | None] = mapped_column(ForeignKey("rounds.id"))
    state: Mapped[str] = mapped_column(String(20), server_default="open")
    quota: Mapped[int] = mapped_column(SmallInteger)
    taken: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    judged: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    skipped: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    priority: Mapped[float] = mapped_column(server_default="0")
    selection: Mapped[Json] = mapped_column(server_default="{}")
    division: Mapped[float | None]
    reserved_for_id: Mapped[int | None]
    import_id: Mapped[int | None] = mapped_column(ForeignKey("imports.id"))
    import_digest: Mapped[bytes | None] = mapped_column(LargeBinary(16))
    created_at: Mapped[CreatedAt]
    erased_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(one_of("state", get_args(TaskState)), name="state_known"),
        CheckConstraint(one_of("purpose", get_args(TaskPurpose)), name="purpose_known"),
        CheckConstraint("purpose <> 'repeat' OR copy_of IS NOT NULL", name="repeat_of_something"),
        CheckConstraint("purpose <> 'review' OR (copy_of IS NOT NULL AND quota = 1)", name="review_of_something"),
        CheckConstraint("purpose <> 'label' OR copy_of IS NULL", name="labels_are_no_copies"),
        CheckConstraint("division BETWEEN 0 AND 1", name="division_is_a_share"),
        CheckConstraint("taken BETWEEN 0 AND quota", name="overlap_is_exact"),
        CheckConstraint("judged >= 0 AND skipped >= 0 AND judged + skipped <= taken", name="judged_within_taken"),
        Index(
            "ix_tasks_open",
            "project_id",
            text("coalesce(reserved_for_id, 0)"),  # 0: for anybody; nobody's work is looked for among that of others
            text("priority DESC"),
            "id",
            postgresql_where=text("state = 'open' AND purpose = 'label' AND taken < quota"),
        ),
        # Who leaves the project leaves what was kept for them.
        ForeignKeyConstraint(
            ["project_id", "reserved_for_id"],
            ["members.project_id", "members.user_id"],
            name="fk_tasks_reserved_for",
            ondelete="SET NULL (reserved_for_id)",
        ),
        CheckConstraint("reserved_for_id IS NULL OR purpose = 'label'", name="labels_are_reserved"),
        Index(
            "ix_tasks_reserved",
            "project_id",
            "reserved_for_id",
            "id",
            postgresql_where=text("reserved_for_id IS NOT NULL"),
        ),
        CheckConstraint("erased_at IS NULL OR (state = 'retired' AND import_digest IS NULL)", name="erased_is_empty"),
        CheckConstraint(
            "NOT selection ? 'slice' OR selection ->> 'slice' = 'chosen'"
            " OR (selection ->> 'slice' = 'random' AND coalesce((selection ->> 'propensity')::float, 0) > 0)",
            name="slice_known",
        ),
        Index(
            "uq_tasks_slot",
            "round_id",
            text("((selection ->> 'slot')::integer)"),
            unique=True,
            postgresql_where=text("round_id IS NOT NULL AND selection ? 'slot'"),
        ),
        Index("ix_tasks_checks", "project_id", "purpose", "id", postgresql_where=text("purpose <> 'label'")),
        Index("ix_tasks_round", "round_id", "id", postgresql_where=text("round_id IS NOT NULL")),
        Index("ix_tasks_judged_twice", "project_id", "id", postgresql_where=text("judged >= 2")),
        Index("uq_tasks_review", "copy_of", unique=True, postgresql_where=text("purpose = 'review'")),
        Index("ix_tasks_divided", "project_id", text("division DESC"), "id", postgresql_where=text("division > 0")),
        Index("ix_tasks_copy_of", "copy_of", postgresql_where=text("copy_of IS NOT NULL")),
        Index("ix_tasks_import_id", "import_id", postgresql_where=text("import_id IS NOT NULL")),
        Index(
            "uq_tasks_import_digest",
            "project_id",
            "import_digest",
            unique=True,
            postgresql_where=text("import_digest IS NOT NULL"),
        ),
    )


class GoldAnswer(Base):
    """What the project says of a task: the response at position `better` is, or with none there, neither is.

    `explanation` is Markdown, shown where the project gives feedback.
    """

    __tablename__ = "gold_answers"

    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    better: Mapped[int | None] = mapped_column(SmallInteger)
    explanation: Mapped[str] = mapped_column(server_default="")
    author_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[CreatedAt]

    __table_args__ = (CheckConstraint("better BETWEEN 0 AND 8", name="better_is_a_position"),)


class TaskCompletion(Base):
    """The completions of a task, by position from 0; positions carry no meaning to the annotator."""

    __tablename__ = "task_completions"

    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    completion_id: Mapped[int] = mapped_column(ForeignKey("completions.id"), index=True)

    __table_args__ = (
        UniqueConstraint("task_id", "completion_id"),
        CheckConstraint("position BETWEEN 0 AND 8", name="two_to_nine"),
    )


class Assignment(Base):
    """A task leased to one person. `shown_order[i]` is the position that is shown as the i-th pane (A, B, …).

    A person holds a lease in each of a few slots: the task on the desk, those that are fetched ahead, which have not
    been served yet, and one that they review. A skip that uses the task's place up keeps it.
    """

    __tablename__ = "assignments"

    id: Mapped[Key]
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"))
    annotator_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    state: Mapped[str] = mapped_column(String(20), server_default="leased")
    slot: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    shown_order: Mapped[list[int]] = mapped_column(ARRAY(SmallInteger))
    guidelines_version: Mapped[int]
    leased_at: Mapped[datetime] = mapped_column(server_default=func.now())
    served_at: Mapped[datetime | None]
    lease_expires_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    skip_reason: Mapped[str | None] = mapped_column(String(2000))
    keeps_place: Mapped[bool] = mapped_column(server_default="false")

    __table_args__ = (
        UniqueConstraint("task_id", "annotator_id"),
        CheckConstraint(one_of("state", get_args(AssignmentState)), name="state_known"),
        CheckConstraint(f"slot BETWEEN 0 AND {REVIEW_SLOT}", name="slot_known"),
        CheckConstraint("NOT keeps_place OR state = 'skipped'", name="only_skips_keep"),
        Index(
            "uq_assignments_leases",
            "project_id",
            "annotator_id",
            "slot",
            unique=True,
            postgresql_where=text("state = 'leased'"),
        ),
        Index("ix_assignments_lease_expiry", "lease_expires_at", postgresql_where=text("state = 'leased'")),
        Index("ix_assignments_recent", "project_id", "annotator_id", text("closed_at DESC")),
        # What somebody wrote themselves, of all that they did.
        Index("ix_assignments_written", "annotator_id", postgresql_where=text("length(skip_reason) > 0")),
    )


class Judgement(Base):
    """What a person said of a task; append-only, a change writes a new row and points the old one at it.

    Of a pair, `choice` is the segment that was pressed, from 1 at A's end on, A being `shown_order[0]`; `preference`
    is the same in the task's own order: positive = position 0 is better, by so many levels. Of more, `ranks[i]` is
    the rank of position i: 1 is best, equal ranks are ties, null is unranked, which is not last; the best of several
    has rank 1 and the others none. All else that was said is by position, too: `criteria` {name: 1 (position 0 is
    better), 0 or -1}, `acceptable[i]`, `flags` {position: [name, ...]}, `safe[i]`, and `less_harmful`: 1 (position 0
    is), 0 or -1; of two of which one is safe, that one.

    `is_check`: said of a task that checks the person. It is no label: no dataset holds it, and no round counts it.
    `is_verdict`: what a reviewer decided about the task, said at a review of it (the assignment's task); a task has one
    at most. It is no label either and takes no place of the task, but datasets may prefer it to the labels.

    Times are of the pair on screen: `visits` how often its page came to the front, `hurried` that the person confirmed
    an answer given faster than reading. Imported judgements have no assignment and no annotator; `source_annotator` is
    the name in their file, `strength_said` whether it told how much better the better response is.

    A machine's (`kind`) is no label: people are spoken of without it, it takes no place of the task, and it has no
    assignment. What it said of a pair in both orders is one ranking here and kept whole in `judge_answers`.

    Of one whose words were erased (`erased_at`) what was chosen stays.
    """

    __tablename__ = "judgements"

    id: Mapped[Key]
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), index=True)
    assignment_id: Mapped[int | None] = mapped_column(ForeignKey("assignments.id"), index=True)
    annotator_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    kind: Mapped[str] = mapped_column(String(20))
    is_check: Mapped[bool] = mapped_column(server_default="false")
    is_verdict: Mapped[bool] = mapped_column(server_default="false")
    answer_type: Mapped[str] = mapped_column(String(20), server_default="seven")
    choice: Mapped[int | None] = mapped_column(SmallInteger)
    shown_order: Mapped[list[int]] = mapped_column(ARRAY(SmallInteger))
    preference: Mapped[int | None] = mapped_column(SmallInteger)
    ranks: Mapped[list[int | None] | None] = mapped_column(ARRAY(SmallInteger))
    criteria: Mapped[Json] = mapped_column(server_default="{}")
    acceptable: Mapped[list[bool | None] | None] = mapped_column(ARRAY(Boolean))
    flags: Mapped[Json] = mapped_column(server_default="{}")
    safe: Mapped[list[bool] | None] = mapped_column(ARRAY(Boolean))
    less_harmful: Mapped[int | None] = mapped_column(SmallInteger)
    rationale: Mapped[str | None]
    idempotency_key: Mapped[str | None] = mapped_column(String(200))
    body_digest: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    guidelines_version: Mapped[int]
    served_at: Mapped[datetime | None]
    first_action_ms: Mapped[int | None]
    active_ms: Mapped[int | None]
    visits: Mapped[int | None] = mapped_column(SmallInteger)
    hurried: Mapped[bool] = mapped_column(server_default="false")
    client_version: Mapped[str | None] = mapped_column(String(40))
    source_annotator: Mapped[str | None] = mapped_column(String(200))
    strength_said: Mapped[bool | None]
    submitted_at: Mapped[datetime] = mapped_column(server_default=func.now())
    superseded_by: Mapped[int | None] = mapped_column(
        ForeignKey("judgements.id", deferrable=True, initially="DEFERRED")
    )
    erased_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("annotator_id", "idempotency_key"),
        CheckConstraint(one_of("kind", get_args(JudgementKind)), name="kind_known"),
        CheckConstraint(one_of("answer_type", get_args(AnswerType)), name="answer_type_known"),
        CheckConstraint(
            "(choice IS NULL) = (ranks IS NOT NULL) AND (choice IS NULL) = (preference IS NULL)"
            " AND (ranks IS NULL) = (answer_type IN ('seven', 'six', 'eight'))",
            name="one_answer",
        ),
        CheckConstraint(
            "choice BETWEEN 1 AND CASE answer_type WHEN 'seven' THEN 7 WHEN 'six' THEN 6 ELSE 8 END",
            name="choice_range",
        ),
        CheckConstraint(
            f"preference = ({_SIGNED_CHOICE}) * CASE WHEN shown_order[1] = 0 THEN 1 ELSE -1 END",
            name="preference_follows",
        ),
        CheckConstraint(
            "cardinality(ranks) = cardinality(shown_order) AND 1 <= ALL (array_remove(ranks, NULL))"
            " AND cardinality(ranks) >= ALL (array_remove(ranks, NULL))"
            " AND (answer_type <> 'best' OR array_remove(ranks, NULL) = ARRAY[1]::smallint[])",
            name="ranks_fit",
        ),
        CheckConstraint("cardinality(acceptable) = cardinality(shown_order)", name="acceptable_fits"),
        CheckConstraint("(safe IS NULL) = (less_harmful IS NULL)", name="harm_is_said_whole"),
        CheckConstraint(
            "cardinality(safe) = 2 AND cardinality(safe) = cardinality(shown_order)"
            " AND array_position(safe, NULL) IS NULL",
            name="safe_fits",
        ),
        CheckConstraint(
            "less_harmful BETWEEN -1 AND 1"
            " AND (safe[1] = safe[2] OR less_harmful = CASE WHEN safe[1] THEN 1 ELSE -1 END)",
            name="less_harmful_follows",
        ),
        CheckConstraint(
            "(kind IN ('imported', 'machine')) = (assignment_id IS NULL)"
            " AND (kind = 'imported') = (annotator_id IS NULL)",
            name="imported_has_nobody",
        ),
        CheckConstraint("(assignment_id IS NULL) = (idempotency_key IS NULL)", name="submission_has_a_key"),
        CheckConstraint("erased_at IS NULL OR (rationale IS NULL AND body_digest IS NULL)", name="erased_is_empty"),
        CheckConstraint(
            "kind = 'imported' OR (source_annotator IS NULL AND strength_said IS NULL)", name="source_is_a_file"
        ),
        Index("uq_judgements_current", "assignment_id", unique=True, postgresql_where=text("superseded_by IS NULL")),
        Index("ix_judgements_superseded_by", "superseded_by", postgresql_where=text("superseded_by IS NOT NULL")),
        CheckConstraint("NOT is_check OR kind NOT IN ('imported', 'machine')", name="checks_are_of_people"),
        CheckConstraint(
            "NOT is_verdict OR (kind NOT IN ('imported', 'machine') AND NOT is_check)", name="verdicts_are_of_people"
        ),
        Index(
            "uq_judgements_machine",
            "task_id",
            "annotator_id",
            unique=True,
            postgresql_where=text("kind = 'machine' AND superseded_by IS NULL"),
        ),
        Index(
            "uq_judgements_verdict",
            "task_id",
            unique=True,
            postgresql_where=text("is_verdict AND superseded_by IS NULL"),
        ),
        Index("ix_judgements_verdicts", "project_id", "id", postgresql_where=text("is_verdict")),
        Index("ix_judgements_project_current", "project_id", "id", postgresql_where=text("superseded_by IS NULL")),
        Index(
            "ix_judgements_checks",
            "project_id",
            "annotator_id",
            postgresql_where=text("is_check AND superseded_by IS NULL"),
        ),
        Index("ix_judgements_annotator", "annotator_id", "project_id", "submitted_at"),
        Index("ix_judgements_written", "annotator_id", postgresql_where=text("rationale IS NOT NULL")),
        # What pages count of people: no row is looked at for it.
        Index(
            "ix_judgements_said",
            "project_id",
            "annotator_id",
            "submitted_at",
            postgresql_where=text("superseded_by IS NULL AND NOT is_verdict"),
        ),
        # What lists are narrowed to. Imported judgements, which are many, are in few of these.
        Index("ix_judgements_of_people", "project_id", "annotator_id", "id", postgresql_where=IS_BY_SOMEBODY),
        Index("ix_judgements_flagged", "project_id", "id", postgresql_where=text("flags <> '{}'::jsonb")),
        Index("ix_judgements_flagged_tasks", "task_id", postgresql_where=text("flags <> '{}'::jsonb")),
        Index("ix_judgements_reasons", "project_id", "id", postgresql_where=text("rationale IS NOT NULL")),
        Index("ix_judgements_hurried", "project_id", "id", postgresql_where=text("hurried")),
        Index("ix_judgements_replaced", "project_id", "id", postgresql_where=text("superseded_by IS NOT NULL")),
        Index("ix_judgements_of_checks", "project_id", "id", postgresql_where=text("is_check")),
    )
