"""People and their ways in: invitations, one-time links, sessions, API tokens, and a counter for sign-in attempts.

Only digests of secrets are stored: who reads a backup can't sign in with it.

`vouched_by_id`, wherever it stands, is who made the link that this way in goes back to, unless that was an admin. What
one owner's link has opened must not open another owner's project: `app.services.people.trust`.
"""

from datetime import datetime
from typing import Literal, get_args

from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    SmallInteger,
    String,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, Key, one_of
from app.db.tables.projects import Role

Scope = Literal["read", "judge", "manage"]


class User(Base):
    """A person, a simulated one, or a machine that judges: that is a member of nothing and never signs in. Whoever was
    erased keeps the row, for what they judged, and no name.
    """

    __tablename__ = "users"

    id: Mapped[Key]
    name: Mapped[str] = mapped_column(String(200))
    email: Mapped[str | None] = mapped_column(String(320))
    password_hash: Mapped[str | None]
    password_vouched_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    is_admin: Mapped[bool] = mapped_column(server_default="false")
    is_simulated: Mapped[bool] = mapped_column(server_default="false")
    is_machine: Mapped[bool] = mapped_column(server_default="false")
    created_at: Mapped[CreatedAt]
    disabled_at: Mapped[datetime | None]
    erased_at: Mapped[datetime | None]

    __table_args__ = (
        # Not unique: an address is what somebody says, so another's claim to it must keep nobody out, nor tell of them.
        Index("ix_users_email", func.lower(email)),
        CheckConstraint("length(btrim(name)) > 0", name="name_not_blank"),
        CheckConstraint(
            "erased_at IS NULL OR (email IS NULL AND password_hash IS NULL AND disabled_at IS NOT NULL)",
            name="erased_is_nobody",
        ),
        CheckConstraint(
            "NOT is_machine OR (email IS NULL AND password_hash IS NULL AND NOT is_admin AND NOT is_simulated)",
            name="machine_has_no_way_in",
        ),
    )


class Invitation(Base):
    """A one-time link into a project for somebody new, or for somebody who joins with the account they have.

    It never signs in to an account that exists. `form_digest` and `position` say which line of which form it came from:
    the same form makes the same invitations, however often it is sent.
    """

    __tablename__ = "invitations"

    id: Mapped[Key]
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    role: Mapped[str] = mapped_column(String(20))
    name: Mapped[str] = mapped_column(String(200), server_default="")
    email: Mapped[str | None] = mapped_column(String(320))
    token_digest: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    form_digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    position: Mapped[int] = mapped_column(SmallInteger)
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    vouched_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    accepted_at: Mapped[datetime | None]
    accepted_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))

    __table_args__ = (
        UniqueConstraint("project_id", "form_digest", "position"),
        CheckConstraint(one_of("role", get_args(Role)), name="role_known"),
        CheckConstraint("(accepted_at IS NULL) = (accepted_by_id IS NULL)", name="accepted_by_somebody"),
        CheckConstraint("accepted_at IS NULL OR revoked_at IS NULL", name="used_or_revoked"),
        Index(
            "ix_invitations_open",
            "project_id",
            text("id DESC"),
            postgresql_where=text("accepted_at IS NULL AND revoked_at IS NULL"),
        ),
    )


class SignInLink(Base):
    """A one-time link: whoever opens it first is signed in as `user_id`."""

    __tablename__ = "sign_in_links"

    id: Mapped[Key]
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    token_digest: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    vouched_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class SignInSession(Base):
    """A browser that is signed in; the cookie holds the token, this row its digest.

    `device` is what the browser said it is; `by_password`: its person knew the password; `passkey_id`: had this
    passkey; `proved_at`: when they last showed that it is them.
    """

    __tablename__ = "sign_in_sessions"

    token_digest: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    id: Mapped[int] = mapped_column(Identity(always=False), unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    device: Mapped[str] = mapped_column(String(300), server_default="")
    by_password: Mapped[bool] = mapped_column(server_default="false")
    passkey_id: Mapped[int | None] = mapped_column(ForeignKey("passkeys.id", ondelete="SET NULL"), index=True)
    proved_at: Mapped[datetime | None]
    vouched_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[CreatedAt]
    last_seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]


class ExternalIdentity(Base):
    """Somebody as an identity provider knows them: by its address and its own name for them, and by nothing else."""

    __tablename__ = "external_identities"

    issuer: Mapped[str] = mapped_column(String(500), primary_key=True)
    subject: Mapped[str] = mapped_column(String(255), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[CreatedAt]


class KnownBrowser(Base):
    """A browser in which somebody was signed in once: its tries to sign in are counted by themselves, so that whoever
    fails in their name elsewhere can't lock them out of it.
    """

    __tablename__ = "known_browsers"

    token_digest: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[CreatedAt]


class Passkey(Base):
    """A key pair whose private half a person's device keeps; it signs in by signing a challenge (WebAuthn).

    `sign_count` is how often the device says that it has signed: 0 for good on devices that don't count.
    """

    __tablename__ = "passkeys"

    id: Mapped[Key]
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(200))
    credential_id: Mapped[bytes] = mapped_column(LargeBinary(1023), unique=True)
    public_key: Mapped[bytes]
    sign_count: Mapped[int]
    vouched_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[CreatedAt]
    last_used_at: Mapped[datetime | None]


class PasskeyChallenge(Base):
    """What a passkey is asked to sign, until a browser answers to it. `browser_digest` is of that browser's secret."""

    __tablename__ = "passkey_challenges"

    challenge: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    browser_digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    expires_at: Mapped[datetime] = mapped_column(index=True)


class ApiToken(Base):
    """A program's way in: it may do what its scopes say of what its person may do, until it ends."""

    __tablename__ = "api_tokens"

    id: Mapped[Key]
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(200))
    hint: Mapped[str] = mapped_column(String(16))
    token_digest: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    vouched_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    scopes: Mapped[list[str]] = mapped_column(ARRAY(String(20)))
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(
            f"scopes <@ ARRAY{list(get_args(Scope))}::varchar[] AND cardinality(scopes) > 0",
            name="scopes_known",
        ),
    )


class Attempts(Base):
    """Fixed-window counter that limits sign-in tries, one row per subject and window."""

    __tablename__ = "attempts"

    subject: Mapped[str] = mapped_column(String(400), primary_key=True)
    window_start: Mapped[datetime] = mapped_column(primary_key=True)
    count: Mapped[int] = mapped_column(server_default="1")
