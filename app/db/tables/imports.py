"""Files that came in: what was read how, what became of it, and which run is at it."""

from datetime import datetime
from typing import Literal, get_args

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, Json, Key, one_of

ImportState = Literal["uploaded", "checked", "imported", "undone"]


class Import(Base):
    """A file on its way into a project, or what came of one.

    `state` is what was last done with all of it; whether something is being done now its latest run (`run_id`) says.
    `folder` is relative to the home folder; the file lies in it if it was uploaded, and the table of its bad rows.
    `file_name` is for people: what is no text in it is escaped. `columns` says which column each field of the `format`
    is read from, `options` and `counts` are those of `app.services.data.storing.loads`. `return_to` is the page of this
    site that sent somebody here and waits for them.
    """

    __tablename__ = "imports"

    id: Mapped[Key]
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    state: Mapped[str] = mapped_column(String(20), server_default="uploaded")
    file_name: Mapped[str] = mapped_column(String(200))
    folder: Mapped[str]
    size_bytes: Mapped[int | None]
    sha256: Mapped[str | None] = mapped_column(String(64))
    format: Mapped[str | None] = mapped_column(String(60))
    columns: Mapped[Json] = mapped_column(server_default="{}")
    options: Mapped[Json] = mapped_column(server_default="{}")
    counts: Mapped[Json] = mapped_column(server_default="{}")
    return_to: Mapped[str | None] = mapped_column(String(500))
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id", ondelete="SET NULL"))
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[CreatedAt]
    imported_at: Mapped[datetime | None]
    undone_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(one_of("state", get_args(ImportState)), name="state_known"),
        CheckConstraint("(state IN ('imported', 'undone')) = (imported_at IS NOT NULL)", name="imported_when"),
        CheckConstraint("(state = 'undone') = (undone_at IS NOT NULL)", name="undone_when"),
        Index("ix_imports_project", "project_id", text("id DESC")),
    )
