"""What one person does in a project: how much on which day, how well, and what last."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import Date, cast, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Assignment, Judgement, Member, Project, Task, User
from app.errors import NotFound
from app.security import Principal
from app.services.judging import quality, recent_judgements
from app.services.judging.quality import Conduct
from app.services.judging.recent_judgements import RecentJudgement

DAYS = 30
RECENT = 20


@dataclass(frozen=True)
class Day:
    """Judgements of one UTC day, checks among them, and how long pairs were on screen and looked at."""

    day: date
    judgements: int
    active_ms: int


@dataclass(frozen=True)
class Work:
    """`days` are those of the last 30 with a judgement, the newest first; `leased` is how many tasks are held now, and
    `kept` how many were given to them by an owner and wait.
    """

    member: Member
    conduct: Conduct
    days: list[Day]
    recent: list[RecentJudgement]
    leased: int
    kept: int
    first_at: datetime | None


async def of_person(db: AsyncSession, project: Project, user: User) -> Work:
    """Raises NotFound for who is not in the project."""
    member = await db.get(Member, (project.id, user.id))
    conduct = await quality.of_project(db, project, [user.id])
    if member is None or not conduct:
        raise NotFound
    mine = (
        Judgement.annotator_id == user.id,
        Judgement.project_id == project.id,
        Judgement.superseded_by.is_(None),
        ~Judgement.is_verdict,
    )
    day = cast(func.timezone("UTC", Judgement.submitted_at), Date)
    days = await db.execute(
        select(
            day.label("day"),
            func.count().label("judgements"),
            func.coalesce(func.sum(Judgement.active_ms), 0).label("active_ms"),
        )
        .where(*mine, Judgement.submitted_at > func.now() - timedelta(days=DAYS))
        .group_by(day)
        .order_by(day.desc())
    )
    leased = select(func.count()).where(
        Assignment.project_id == project.id, Assignment.annotator_id == user.id, Assignment.state == "leased"
    )
    kept = select(func.count()).where(Task.project_id == project.id, Task.reserved_for_id == user.id)
    return Work(
        member=member,
        conduct=conduct[0],
        days=[Day(row.day, row.judgements, int(row.active_ms)) for row in days],
        recent=await recent_judgements.of_person(
            db, Principal(user.id, user.name, is_admin=False), project, limit=RECENT
        ),
        leased=await db.scalar(leased) or 0,
        kept=await db.scalar(kept) or 0,
        first_at=await db.scalar(select(func.min(Judgement.submitted_at)).where(*mine)),
    )
