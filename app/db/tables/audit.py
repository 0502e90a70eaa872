"""The log of changes, which the database writes itself and lets nobody change.

A trigger (`log_changes`, attached in a migration by `log_changes_of`) writes an entry for each row that is made,
changed or deleted, with the columns that changed. What happens without changing a row (an export, somebody signs in) is
noted by `app.services.audit`.
"""

from datetime import datetime
from typing import Literal, get_args

from sqlalchemy import CheckConstraint, Computed, Index, String, func, text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, Json, Key, one_of

AuditAction = Literal["insert", "update", "delete", "done"]

LOGGED = frozenset(
    {
        "api_tokens",
        "bulk_changes",
        "dataset_versions",
        "gold_answers",
        "group_grants",
        "group_members",
        "groups",
        "imports",
        "invitations",
        "judges",
        "members",
        "passkeys",
        "projects",
        "promotions",
        "rounds",
        "runs",
        "served_models",
        "sign_in_links",
        "users",
        "webhooks",
    }
)
"""Tables whose rows people change by hand. Each has the trigger, and each statement on one names who acts."""

NOT_LOGGED = {
    "assignments": "the annotators' work itself, kept whole in its own rows",
    "attempts": "a counter of tries to sign in",
    "audit_entries": "the log",
    "backups": "the log of backups; what they hold changes nothing",
    "changed_rows": "what rows were before a change of many, which is logged",
    "completions": "written by runs and imports, which are logged",
    "dataset_judgements": "follows from the dataset version",
    "demonstrations": "written with judgements and by imports",
    "errands": "questions to models, gone within a day; what is made of one is a task",
    "external_identities": "follow from the first sign-in, which is noted",
    "gates": "decided by runs, and kept for ever",
    "judge_answers": "written by runs, which are logged",
    "judgement_changes": "itself a log",
    "judgements": "append-only themselves",
    "kept_answers": "what calls were answered, for a day; what they did is logged itself",
    "known_browsers": "follow from signing in, which is noted",
    "metrics": "measured by runs",
    "model_versions": "made by runs; what puts one into use is a promotion",
    "passkey_challenges": "random numbers that are over in minutes",
    "prompts": "come by imports and are changed in bulk, and both are logged",
    "project_files": "what comes of one is a project, which is logged",
    "reports": "computed by workers from everything else",
    "scored_pairs": "measured by runs",
    "sign_in_sessions": "begin by signing in, which is noted",
    "sites": "a word that is drawn once",
    "task_completions": "follow from the task",
    "tasks": "made by rounds and imports; leases move them all day",
    "webhook_deliveries": "the log of what webhooks were told",
}
"""Every other table, and why its changes are not in the log."""


class AuditEntry(Base):
    """One change: of which row (`kind` is its table, `subject` its key), or `done` for what changes none.

    `before` and `after` hold the columns that changed; what is secret or somebody's personal data is “…” there. Ids
    point nowhere, so that an entry outlives what it tells of.
    """

    __tablename__ = "audit_entries"

    id: Mapped[Key]
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    actor_id: Mapped[int | None]
    door: Mapped[str] = mapped_column(String(20))
    request_id: Mapped[str | None] = mapped_column(String(64))
    project_id: Mapped[int | None]
    kind: Mapped[str] = mapped_column(String(63))
    subject: Mapped[str] = mapped_column(String(200))
    action: Mapped[str] = mapped_column(String(20))
    before: Mapped[Json | None]
    after: Mapped[Json | None]
    words: Mapped[str] = mapped_column(
        TSVECTOR,
        # A bounded part: a tsvector can't be larger than 1 MB, and no change may fail for being long.
        Computed(
            "to_tsvector('simple', left(coalesce(before::text, ''), 50000) || ' ' ||"
            " left(coalesce(after::text, ''), 50000))",
            persisted=True,
        ),
        deferred=True,
    )

    __table_args__ = (
        CheckConstraint(one_of("action", get_args(AuditAction)), name="action_known"),
        Index("ix_audit_entries_project", "project_id", text("id DESC")),
        Index("ix_audit_entries_actor", "actor_id", text("id DESC")),
        Index("ix_audit_entries_at", "at"),
        Index("ix_audit_entries_words", "words", postgresql_using="gin"),
    )
