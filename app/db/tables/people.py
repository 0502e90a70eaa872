"""People and how they prove who they are. Secrets are stored as SHA-256 digests, passwords as argon2 hashes."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, String, func
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, Key


class User(Base):
    __tablename__ = "users"

    id: Mapped[Key]
    name: Mapped[str] = mapped_column(String(200))
    email: Mapped[str | None] = mapped_column(String(320))
    password_hash: Mapped[str | None]
    is_admin: Mapped[bool] = mapped_column(server_default="false")
    is_simulated: Mapped[bool] = mapped_column(server_default="false")
    created_at: Mapped[CreatedAt]
    disabled_at: Mapped[datetime | None]

    __table_args__ = (
        Index("uq_users_email", func.lower(email), unique=True),
        CheckConstraint("length(btrim(name)) > 0", name="name_not_blank"),
    )


class SignInLink(Base):
    """A one-time link: whoever opens it first is signed in as `user_id`."""

    __tablename__ = "sign_in_links"

    id: Mapped[Key]
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    token_digest: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class SignInSession(Base):
    """A browser that is signed in; the cookie holds the token, this row its digest."""

    __tablename__ = "sign_in_sessions"

    token_digest: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[CreatedAt]
    last_seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]


class ApiToken(Base):
    __tablename__ = "api_tokens"

    id: Mapped[Key]
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(200))
    hint: Mapped[str] = mapped_column(String(16))
    token_digest: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Attempts(Base):
    """Fixed-window counter that limits sign-in tries, one row per subject and window."""

    __tablename__ = "attempts"

    subject: Mapped[str] = mapped_column(String(400), primary_key=True)
    window_start: Mapped[datetime] = mapped_column(primary_key=True)
    count: Mapped[int] = mapped_column(server_default="1")
