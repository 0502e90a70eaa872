"""Webhooks, and what they are told: rows that the database writes in the transaction of what happened."""

from datetime import datetime
from typing import Literal, get_args

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, SmallInteger, String, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, Json, Key, one_of

# Each but the last is told by a trigger of the migration that made these tables.
EventKind = Literal[
    "judgement.created",
    "judgements.created",
    "dataset_version.created",
    "run.ended",
    "round.started",
    "round.ended",
    "gate.decided",
    "model.promoted",
    "model.rolled_back",
    "alarm.raised",
    "webhook.test",
]
DeliveryState = Literal["gathering", "waiting", "delivered", "failed"]
OffBecause = Literal["owner", "gone", "failing"]


class Webhook(Base):
    """An address that is told of events, by requests that are signed with its secret (Standard Webhooks).

    Without a project it hears of all projects. `secret_sealed` is encrypted with the key of the installation; the one
    before it signs, too, until `previous_until`. Of `judgements.created` it is told once in `pause_seconds` at most,
    the last time at `gathered_at`. `failing_since`: nothing has reached it since then. Switched off (`off_at`) by its
    owner, by its receiver (410: `gone`) or after failing for long.
    """

    __tablename__ = "webhooks"

    id: Mapped[Key]
    project_id: Mapped[int | None] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    address: Mapped[str] = mapped_column(String(2000))
    events: Mapped[list[str]] = mapped_column(ARRAY(String(40)))
    pause_seconds: Mapped[int] = mapped_column(server_default="60")
    secret_sealed: Mapped[bytes] = mapped_column(LargeBinary)
    previous_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    previous_until: Mapped[datetime | None]
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[CreatedAt]
    gathered_at: Mapped[datetime | None]
    failing_since: Mapped[datetime | None]
    off_at: Mapped[datetime | None]
    off_because: Mapped[str | None] = mapped_column(String(20))

    __table_args__ = (
        CheckConstraint("cardinality(events) > 0", name="told_of_something"),
        CheckConstraint("pause_seconds BETWEEN 1 AND 86400", name="pause_range"),
        CheckConstraint("(previous_sealed IS NULL) = (previous_until IS NULL)", name="previous_has_an_end"),
        CheckConstraint("(off_at IS NULL) = (off_because IS NULL)", name="off_for_a_reason"),
        CheckConstraint(one_of("off_because", get_args(OffBecause)), name="reason_known"),
    )


class Delivery(Base):
    """An event on its way to one webhook, and what became of each try.

    `message_id` is the same at every try, so that the receiver can tell. It is due at `due_at`: a worker that takes it
    moves that on, so that it is tried again if the worker dies. `attempt` grows with each try and is the worker's hold
    on it. `tries` are the last of them: {"at", "status", "milliseconds", "said", "problem"}. `about` holds ids and
    counts, and no text of anybody.
    """

    __tablename__ = "webhook_deliveries"

    id: Mapped[Key]
    webhook_id: Mapped[int] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    project_id: Mapped[int | None] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    message_id: Mapped[str] = mapped_column(
        String(40), server_default=text("'msg_' || replace(gen_random_uuid()::text, '-', '')")
    )
    kind: Mapped[str] = mapped_column(String(40))
    about: Mapped[Json]
    state: Mapped[str] = mapped_column(String(20), server_default="waiting")
    happened_at: Mapped[datetime] = mapped_column(server_default=func.now())
    due_at: Mapped[datetime] = mapped_column(server_default=func.now())
    attempt: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    tries: Mapped[list[Json]] = mapped_column(JSONB, server_default="[]")
    ended_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(one_of("kind", get_args(EventKind)), name="kind_known"),
        CheckConstraint(one_of("state", get_args(DeliveryState)), name="state_known"),
        CheckConstraint("(ended_at IS NOT NULL) = (state IN ('delivered', 'failed'))", name="final_state"),
        Index("ix_webhook_deliveries_newest", "webhook_id", text("id DESC")),
        Index("ix_webhook_deliveries_due", "due_at", "id", postgresql_where=text("state = 'waiting'")),
        Index("ix_webhook_deliveries_gathering", "webhook_id", postgresql_where=text("state = 'gathering'")),
    )
