"""What tells this installation from others that share a cluster with it."""

from sqlalchemy import CheckConstraint, SmallInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base


class Site(Base):
    """One row, drawn at first need: a restored copy draws another word, so that it ends nobody's jobs but its own."""

    __tablename__ = "sites"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    word: Mapped[str] = mapped_column(String(16))

    __table_args__ = (CheckConstraint("id = 1", name="one"),)
