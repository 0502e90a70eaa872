"""Projects and who works in them."""

from datetime import datetime
from typing import Literal, get_args

from sqlalchemy import CheckConstraint, ForeignKey, SmallInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, Json, Key, one_of

Role = Literal["owner", "reviewer", "annotator"]
SetupStep = Literal["compare", "writers", "question", "people"]


class Project(Base):
    """One alignment effort: its prompts, people, models and rounds.

    `question` is what annotators are asked (`app.services.projects.question.Question`), `checks` how they are checked
    (`app.services.projects.checks.Checks`), `review` how what divides them is decided
    (`app.services.projects.review.Review`), `round_settings` holds the defaults of a round
    (`app.services.loop.settings.round_settings.RoundSettings`), each only what differs from its defaults;
    `policy_source` is null for a policy trained from scratch on the demonstrations, else a Hugging Face directory
    or hub id that SFT starts from. `opens_next_round`: rounds may start by themselves at all. `setup_step` is
    where a new project's owner goes on setting it up, null once that is done. `licence` is that of its datasets,
    as the Hub calls it (`cc-by-4.0`). After `removal_asked_at` nobody sees the project any more, and a worker
    removes it.
    """

    __tablename__ = "projects"

    id: Mapped[Key]
    slug: Mapped[str] = mapped_column(String(80), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    description: Mapped[str] = mapped_column(server_default="")
    guidelines: Mapped[str] = mapped_column(server_default="")
    guidelines_version: Mapped[int] = mapped_column(server_default="1")
    overlap: Mapped[int] = mapped_column(SmallInteger, server_default="1")
    lease_seconds: Mapped[int] = mapped_column(server_default="1800")
    question: Mapped[Json] = mapped_column(server_default="{}")
    checks: Mapped[Json] = mapped_column(server_default="{}")
    review: Mapped[Json] = mapped_column(server_default="{}")
    policy_source: Mapped[str | None]
    round_settings: Mapped[Json] = mapped_column(server_default="{}")
    opens_next_round: Mapped[bool] = mapped_column(server_default="true")
    created_at: Mapped[CreatedAt]
    archived_at: Mapped[datetime | None]
    setup_step: Mapped[str | None] = mapped_column(String(20))
    removal_asked_at: Mapped[datetime | None]
    licence: Mapped[str] = mapped_column(String(60), server_default="unspecified")

    __table_args__ = (
        CheckConstraint("licence ~ '^[A-Za-z0-9][A-Za-z0-9.+-]*$'", name="licence_form"),
        CheckConstraint("slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$'", name="slug_form"),
        CheckConstraint("overlap BETWEEN 1 AND 100", name="overlap_range"),
        CheckConstraint("lease_seconds BETWEEN 1 AND 604800", name="lease_range"),
        CheckConstraint(one_of("setup_step", get_args(SetupStep)), name="setup_step_known"),
        CheckConstraint("removal_asked_at IS NULL OR archived_at IS NOT NULL", name="removed_from_the_archive"),
    )


class Member(Base):
    """`side_balance` is how often the task's first completion was shown on side A less how often on side B.

    `qualified_at`: when an annotator passed the project's qualification round, or was let in by an owner. `paused_at`:
    is given no work since then. `by_group`: is here by way of a group, in the role that the group has.
    """

    __tablename__ = "members"

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True)
    role: Mapped[str] = mapped_column(String(20))
    side_balance: Mapped[int] = mapped_column(server_default="0")
    qualified_at: Mapped[datetime | None]
    paused_at: Mapped[datetime | None]
    by_group: Mapped[bool] = mapped_column(server_default="false")
    created_at: Mapped[CreatedAt]

    __table_args__ = (CheckConstraint(one_of("role", get_args(Role)), name="role_known"),)
