"""Served models: OpenAI-compatible endpoints that write responses."""

from datetime import datetime
from typing import Literal, get_args

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, Json, Key, one_of

Protocol = Literal["chat", "completions"]


class ServedModel(Base):
    """A model behind an address, and how it is asked.

    `key_sealed` is the endpoint's key, encrypted with the key of the installation. A removed one stays, without its
    key, as long as responses name it.
    """

    __tablename__ = "served_models"

    id: Mapped[Key]
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    address: Mapped[str] = mapped_column(String(2000))
    model: Mapped[str] = mapped_column(String(300))
    protocol: Mapped[str] = mapped_column(String(20), server_default="chat")
    key_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    sampling: Mapped[Json] = mapped_column(server_default="{}")
    limits: Mapped[Json] = mapped_column(server_default="{}")
    created_at: Mapped[CreatedAt]
    removed_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(one_of("protocol", get_args(Protocol)), name="protocol_known"),
        CheckConstraint("length(btrim(name)) > 0 AND length(btrim(model)) > 0", name="named"),
        CheckConstraint("removed_at IS NULL OR key_sealed IS NULL", name="removed_without_a_key"),
        Index(
            "uq_served_models_name",
            "project_id",
            "name",
            unique=True,
            postgresql_where=text("removed_at IS NULL"),
        ),
        Index("ix_served_models_project_id", "project_id"),
    )
