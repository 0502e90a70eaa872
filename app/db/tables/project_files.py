"""Files that came in to become a project."""

from sqlalchemy import CheckConstraint, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, Key


class ProjectFile(Base):
    """A whole project's file that somebody has sent in and looks at. `project_id` is what was made of it, if anything.

    `folder` is relative to the home folder; the file lies in it until its project is complete. `problem` is why it
    could not be taken in: then nothing is left of it, nor of what was made of it.
    """

    __tablename__ = "project_files"

    id: Mapped[Key]
    folder: Mapped[str]
    file_name: Mapped[str] = mapped_column(String(200))
    size_bytes: Mapped[int]
    created_by_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[CreatedAt]
    project_id: Mapped[int | None] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    problem: Mapped[str | None]

    __table_args__ = (
        UniqueConstraint("project_id"),
        CheckConstraint("problem IS NULL OR project_id IS NULL", name="nothing_came_of_a_problem"),
    )
