"""Errands: what people and programs ask models at once, and what came of it."""

from datetime import datetime
from typing import Literal, get_args

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, Json, Key, one_of

ErrandKind = Literal["write", "score"]
ErrandState = Literal["queued", "running", "succeeded", "failed"]


class Errand(Base):
    """A small thing that a worker's resident process is asked: responses to one prompt, or scores of responses.

    `asked` is what for; `answers` grow while they are written. It is tried once, by who took it before `expires_at`,
    and forgotten a day later. `task_id` is the task that somebody made of two of its answers.
    """

    __tablename__ = "errands"

    id: Mapped[Key]
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    asked_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    kind: Mapped[str] = mapped_column(String(20))
    state: Mapped[str] = mapped_column(String(20), server_default="queued")
    asked: Mapped[Json]
    answers: Mapped[list[Json]] = mapped_column(server_default="[]")
    error: Mapped[str | None]
    task_id: Mapped[int | None] = mapped_column(ForeignKey("tasks.id", ondelete="SET NULL"))
    created_at: Mapped[CreatedAt]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(one_of("kind", get_args(ErrandKind)), name="kind_known"),
        CheckConstraint(one_of("state", get_args(ErrandState)), name="state_known"),
        CheckConstraint("(state = 'running') = (expires_at IS NOT NULL)", name="running_expires"),
        CheckConstraint("(ended_at IS NOT NULL) = (state IN ('succeeded', 'failed'))", name="final_state"),
        Index("ix_errands_project", "project_id", text("id DESC")),
    )
