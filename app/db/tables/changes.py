"""Changes of many rows at once, with what stood there before."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, Json, Key


class BulkChange(Base):
    """What was done (`name`, `value`) to how many rows (`changed`); `left` counts those that could not be, by reason.

    `filters` are those of the list whose rows are meant, null where rows were named one by one. Rows that match are
    dealt with from the newest to the oldest: those from `reached` on are done, those that came after it was asked for
    are none of it. `run_id` is the run that does it, or undoes it, where that takes long. `undone_at`: it was undone,
    or is being undone since.
    """

    __tablename__ = "bulk_changes"

    id: Mapped[Key]
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    actor_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str] = mapped_column(String(20))
    value: Mapped[str] = mapped_column(String(200), server_default="")
    filters: Mapped[Json | None]
    reached: Mapped[int | None]
    changed: Mapped[int] = mapped_column(server_default="0")
    left: Mapped[Json] = mapped_column(server_default="{}")
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id", ondelete="SET NULL"))
    created_at: Mapped[CreatedAt]
    finished_at: Mapped[datetime | None]
    undone_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_bulk_changes_project", "project_id", text("id DESC")),
        Index("ix_bulk_changes_run_id", "run_id", postgresql_where=text("run_id IS NOT NULL")),
    )


class ChangedRow(Base):
    """A row of a change, as it was before (`before`: its columns). It goes as it is put back."""

    __tablename__ = "changed_rows"

    change_id: Mapped[int] = mapped_column(ForeignKey("bulk_changes.id", ondelete="CASCADE"), primary_key=True)
    row_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    before: Mapped[Json]
