"""Tasks, leases and what people said.

The promises of the judging flow are constraints here: `taken` never passes `quota`, nobody is given a task twice, a
task has one current judgement per assignment, and the recorded preference always follows from the choice and the
order that was shown.
"""

from datetime import datetime
from typing import Literal, get_args

from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    ForeignKey,
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

TaskState = Literal["open", "closed", "retired"]
AssignmentState = Literal["leased", "submitted", "skipped", "expired"]
JudgementKind = Literal["human", "simulated", "imported"]


class Task(Base):
    """A prompt and 2–9 completions to compare.

    `taken` counts live leases and judgements together. `selection` says how the task was chosen:
    {"rule", "propensity", ...}.
    """

    __tablename__ = "tasks"

    id: Mapped[Key]
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id", ondelete="CASCADE"), index=True)
    round_id: Mapped[int | None] = mapped_column(ForeignKey("rounds.id"), index=True)
    state: Mapped[str] = mapped_column(String(20), server_default="open")
    quota: Mapped[int] = mapped_column(SmallInteger)
    taken: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    judged: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    priority: Mapped[float] = mapped_column(server_default="0")
    selection: Mapped[Json] = mapped_column(server_default="{}")
    created_at: Mapped[CreatedAt]

    __table_args__ = (
        CheckConstraint(one_of("state", get_args(TaskState)), name="state_known"),
        CheckConstraint("taken BETWEEN 0 AND quota", name="overlap_is_exact"),
        CheckConstraint("judged BETWEEN 0 AND taken", name="judged_within_taken"),
        Index(
            "ix_tasks_open",
            "project_id",
            text("priority DESC"),
            "id",
            postgresql_where=text("state = 'open' AND taken < quota"),
        ),
    )


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
    """A task leased to one person. `shown_order[i]` is the position that is shown as the i-th pane (A, B, …)."""

    __tablename__ = "assignments"

    id: Mapped[Key]
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"))
    annotator_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    state: Mapped[str] = mapped_column(String(20), server_default="leased")
    shown_order: Mapped[list[int]] = mapped_column(ARRAY(SmallInteger))
    guidelines_version: Mapped[int]
    leased_at: Mapped[datetime] = mapped_column(server_default=func.now())
    lease_expires_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    skip_reason: Mapped[str | None] = mapped_column(String(2000))

    __table_args__ = (
        UniqueConstraint("task_id", "annotator_id"),
        CheckConstraint(one_of("state", get_args(AssignmentState)), name="state_known"),
        Index(
            "uq_assignments_one_lease",
            "project_id",
            "annotator_id",
            unique=True,
            postgresql_where=text("state = 'leased'"),
        ),
        Index("ix_assignments_lease_expiry", "lease_expires_at", postgresql_where=text("state = 'leased'")),
        Index("ix_assignments_recent", "project_id", "annotator_id", text("closed_at DESC")),
    )


class Judgement(Base):
    """What a person said of a task; append-only, a change writes a new row and points the old one at it.

    `choice` is what was pressed: 1 = A much better … 4 = tie … 7 = B much better, A being `shown_order[0]`.
    `preference` is the same in the task's own order: 3 = position 0 much better … −3 = position 1 much better.
    Imported judgements have no assignment and no annotator.
    """

    __tablename__ = "judgements"

    id: Mapped[Key]
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), index=True)
    assignment_id: Mapped[int | None] = mapped_column(ForeignKey("assignments.id"))
    annotator_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    kind: Mapped[str] = mapped_column(String(20))
    choice: Mapped[int] = mapped_column(SmallInteger)
    shown_order: Mapped[list[int]] = mapped_column(ARRAY(SmallInteger))
    preference: Mapped[int] = mapped_column(SmallInteger)
    idempotency_key: Mapped[str | None] = mapped_column(String(200))
    body_digest: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    guidelines_version: Mapped[int]
    served_at: Mapped[datetime | None]
    first_action_ms: Mapped[int | None]
    active_ms: Mapped[int | None]
    submitted_at: Mapped[datetime] = mapped_column(server_default=func.now())
    superseded_by: Mapped[int | None] = mapped_column(
        ForeignKey("judgements.id", deferrable=True, initially="DEFERRED")
    )

    __table_args__ = (
        UniqueConstraint("annotator_id", "idempotency_key"),
        CheckConstraint(one_of("kind", get_args(JudgementKind)), name="kind_known"),
        CheckConstraint("choice BETWEEN 1 AND 7", name="choice_range"),
        CheckConstraint(
            "preference = (4 - choice) * CASE WHEN shown_order[1] = 0 THEN 1 ELSE -1 END", name="preference_follows"
        ),
        CheckConstraint(
            "(kind = 'imported') = (assignment_id IS NULL) AND (kind = 'imported') = (annotator_id IS NULL)",
            name="imported_has_nobody",
        ),
        CheckConstraint("(assignment_id IS NULL) = (idempotency_key IS NULL)", name="submission_has_a_key"),
        Index("uq_judgements_current", "assignment_id", unique=True, postgresql_where=text("superseded_by IS NULL")),
        Index("ix_judgements_project_current", "project_id", "id", postgresql_where=text("superseded_by IS NULL")),
        Index("ix_judgements_annotator", "annotator_id", "project_id", "submitted_at"),
    )
