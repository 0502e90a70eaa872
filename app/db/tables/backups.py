"""Backups that were made here, or tried."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Index, String, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, Key


class Backup(Base):
    """A backup into `place`; under way until `ended_at`, and of no use with a `problem`.

    `new_bytes` are those of `size_bytes` that the place did not hold before; `lacking` is how many files were missing
    or damaged already when it was made. The rows stay behind when an installation is restored.
    """

    __tablename__ = "backups"

    id: Mapped[Key]
    place: Mapped[str] = mapped_column(String(2000))
    name: Mapped[str | None] = mapped_column(String(100))
    began_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]
    size_bytes: Mapped[int | None]
    new_bytes: Mapped[int | None]
    lacking: Mapped[int] = mapped_column(server_default="0")
    problem: Mapped[str | None] = mapped_column(String(1000))

    __table_args__ = (
        CheckConstraint("(name IS NOT NULL) = (ended_at IS NOT NULL AND problem IS NULL)", name="whole_has_a_name"),
        CheckConstraint("problem IS NULL OR ended_at IS NOT NULL", name="ended_by_a_problem"),
        Index("ix_backups_place", "place", text("id DESC")),
    )
