"""What workers have computed about projects, for pages to read."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, Json


class WrittenReport(Base):
    """A report of a project: `content` as it was at `written_at`, or none yet.

    `asked_at` is when somebody asked for it anew, null once it was answered, at `tried_at`, by a new content or by a
    `problem`. `up_to` and `up_to_change` are the newest judgement and the newest entry of the log that were known then.
    """

    __tablename__ = "reports"

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    content: Mapped[Json | None]
    written_at: Mapped[datetime | None]
    asked_at: Mapped[datetime | None]
    tried_at: Mapped[datetime | None]
    up_to: Mapped[int | None]
    up_to_change: Mapped[int | None]
    problem: Mapped[str | None] = mapped_column(String(500))

    __table_args__ = (Index("ix_reports_asked", "asked_at", postgresql_where=text("asked_at IS NOT NULL")),)
