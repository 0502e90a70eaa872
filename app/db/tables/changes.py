"""Changes of many rows at once, kept so that they can be undone."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, Json, Key


class BulkChange(Base):
    """`before` maps the id of each row that was changed to its columns as they were; `value` is what was asked for."""

    __tablename__ = "bulk_changes"

    id: Mapped[Key]
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    actor_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str] = mapped_column(String(20))
    value: Mapped[str] = mapped_column(String(200), server_default="")
    before: Mapped[Json]
    created_at: Mapped[CreatedAt]
    undone_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_bulk_changes_project", "project_id", text("id DESC")),)
