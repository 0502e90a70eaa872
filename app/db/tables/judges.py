"""Judges: served models that judge pairs, each an annotator marked as a machine, and what they answered."""

from datetime import datetime
from typing import Literal, get_args

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, Json, Key, one_of

# A flip names the same side in both orders, and so contradicts itself.
Outcome = Literal["first", "second", "tie", "flip", "abstained"]
ChosenAs = Literal["shared", "sure", "chance"]


class Judge(Base):
    """A served model's membership as a machine. `user_id` is the annotator that its judgements name.

    In a table of its own and not among members: whatever speaks of members speaks of people. One that was stopped
    keeps what it said; the same model made a judge again is another annotator.
    """

    __tablename__ = "judges"

    id: Mapped[Key]
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    served_model_id: Mapped[int] = mapped_column(ForeignKey("served_models.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), unique=True)
    created_at: Mapped[CreatedAt]
    stopped_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_judges_served_model_id", "served_model_id"),
        Index("uq_judges_served_model", "served_model_id", unique=True, postgresql_where=text("stopped_at IS NULL")),
    )


class JudgeAnswer(Base):
    """What a judge said of a pair, asked once in each order.

    `replies` are two of {"order", "said", "text", "why"}: the positions as A and B, the side that it named (`A`, `B`,
    `tie`) or null with the reason why that couldn't be read. An abstention has no judgement. `chosen_as`: one that
    people had judged (`shared`), one of which the head was `sure` (with its `probability` that position 0 is better),
    or by `chance`. Of what was erased (`erased_at`) no text is left.
    """

    __tablename__ = "judge_answers"

    id: Mapped[Key]
    judge_id: Mapped[int] = mapped_column(ForeignKey("judges.id", ondelete="CASCADE"))
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), index=True)
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id", ondelete="SET NULL"), index=True)
    judgement_id: Mapped[int | None] = mapped_column(ForeignKey("judgements.id", ondelete="CASCADE"), unique=True)
    outcome: Mapped[str] = mapped_column(String(20))
    chosen_as: Mapped[str] = mapped_column(String(20))
    probability: Mapped[float | None]
    replies: Mapped[list[Json]]
    tokens: Mapped[int]
    created_at: Mapped[CreatedAt]
    erased_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("judge_id", "task_id"),
        CheckConstraint(one_of("outcome", get_args(Outcome)), name="outcome_known"),
        CheckConstraint(one_of("chosen_as", get_args(ChosenAs)), name="chosen_as_known"),
        CheckConstraint("(outcome = 'abstained') = (judgement_id IS NULL)", name="abstention_says_nothing"),
        CheckConstraint("jsonb_array_length(replies) = 2", name="both_orders"),
        CheckConstraint("probability BETWEEN 0 AND 1", name="probability_range"),
    )
