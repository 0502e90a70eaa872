"""Answers to calls that came with an Idempotency-Key."""

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, SmallInteger
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt


class KeptAnswer(Base):
    """What a token's call with a key was answered, so that the same call again has no second effect.

    Written in the transaction of the call itself, which makes a second one wait and find it. `sealed` is encrypted by
    the token and the key, of which there are digests here only: an answer may hold a secret that is told once.
    """

    __tablename__ = "kept_answers"

    token_digest: Mapped[bytes] = mapped_column(
        LargeBinary(32), ForeignKey("api_tokens.token_digest", ondelete="CASCADE"), primary_key=True
    )
    key_digest: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    request_digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    status: Mapped[int | None] = mapped_column(SmallInteger)
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[CreatedAt]

    __table_args__ = (
        CheckConstraint("(status IS NULL) = (sealed IS NULL)", name="whole"),
        Index("ix_kept_answers_created_at", "created_at"),
    )
