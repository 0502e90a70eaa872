"""How well each annotator of a project works, as far as checks and clocks can tell."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import ScalarSelect, Subquery, and_, case, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.db.tables import GoldAnswer, Judgement, Member, Project, Task, User
from app.db.tables.projects import Role
from app.errors import NotFound
from app.services.judging import check_tasks
from app.services.judging.agreement import sides


@dataclass(frozen=True)
class Checked:
    """How somebody does on checks: `right` of `checked` answers to gold tasks are what the project says, and `same` of
    `repeated` tasks got the same side again, or a ranking in which most pairs did.
    """

    checked: int
    right: int
    repeated: int
    same: int


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one person did. `checked`, `right`, `repeated` and `same` are those of `Checked`, `practice_…` of the
    qualification round; of `sided` choices between A and B, `first` fell on A. `active_ms` is a median.
    """

    user_id: int
    judgements: int = 0
    practised: int = 0
    practice_right: int = 0
    checked: int = 0
    right: int = 0
    repeated: int = 0
    same: int = 0
    sided: int = 0
    first: int = 0
    hurried: int = 0
    active_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class Conduct(Work):
    """One member, and what they did."""

    user: User
    role: Role
    qualified_at: datetime | None


async def of_project(
    db: AsyncSession, project: Project, only: Collection[int] | None = None, *, work: Collection[Work] | None = None
) -> list[Conduct]:
    """Everybody who judged or may have to qualify, or the members of these ids; those with most judgements first.
    `work` is what they did, where that is known."""
    did = {one.user_id: one for one in (await works(db, project, only) if work is None else work)}
    has_conduct = (Member.role == "annotator") | User.id.in_(did)
    rows = await db.execute(
        select(User, Member.role, Member.qualified_at)
        .join(Member, Member.user_id == User.id)
        .where(Member.project_id == project.id, has_conduct if only is None else User.id.in_(only))
        .order_by(User.name)
    )
    people = [
        Conduct(
            user=user,
            role=cast(Role, role),
            qualified_at=qualified_at,
            **vars(did.get(user.id, Work(user_id=user.id))),
        )
        for user, role, qualified_at in rows
    ]
    return sorted(people, key=lambda person: person.judgements, reverse=True)


async def works(db: AsyncSession, project: Project, only: Collection[int] | None = None) -> list[Work]:
    """What everybody did, or the people of these ids: reads all of that."""
    return [Work(**row._mapping) for row in await db.execute(select(_work(project, only)))]


async def checked_in(db: AsyncSession, project: Project) -> dict[int, Checked]:
    """How everybody did on checks, by id; those who have left the project, too, for what they judged stays."""
    work = _work(project, None).c
    rows = await db.execute(select(work.user_id, work.checked, work.right, work.repeated, work.same))
    return {user_id: Checked(*numbers) for user_id, *numbers in rows}


async def let_in(db: AsyncSession, project: Project, user_id: int) -> None:
    """Have an annotator work without passing the qualification round. Raises NotFound."""
    member = await db.get(Member, (project.id, user_id), with_for_update=True, populate_existing=True)
    if member is None:
        raise NotFound
    if member.qualified_at is None:
        member.qualified_at = func.now()
    await db.flush()


def _work(project: Project, only: Collection[int] | None) -> Subquery:
    """What everybody did, or the people of these ids, whether they are still in the project or not."""
    original, earlier = aliased(Task), aliased(Judgement)
    is_practice, is_gold = Task.purpose == "qualification", Task.purpose == "gold"
    is_repeat = and_(Task.purpose == "repeat", earlier.id.is_not(None))
    said_alike = _said_alike(earlier)
    right = check_tasks.is_right()
    side = Judgement.preference * func.sign(0.5 - Judgement.shown_order[1])
    return (
        select(
            Judgement.annotator_id.label("user_id"),
            func.count().filter(~Judgement.is_check).label("judgements"),
            func.count().filter(is_practice).label("practised"),
            func.count().filter(is_practice, right).label("practice_right"),
            func.count().filter(is_gold).label("checked"),
            func.count().filter(is_gold, right).label("right"),
            func.count().filter(is_repeat, said_alike.is_not(None)).label("repeated"),
            func.count().filter(is_repeat, said_alike > 0.5).label("same"),
            func.count().filter(Judgement.preference != 0).label("sided"),
            func.count().filter(side > 0).label("first"),
            func.count().filter(Judgement.hurried).label("hurried"),
            func.percentile_cont(0.5).within_group(Judgement.active_ms).label("active_ms"),
        )
        .join(Task, Task.id == Judgement.task_id)
        .outerjoin(GoldAnswer, GoldAnswer.task_id == Task.id)
        .outerjoin(original, and_(original.id == Task.copy_of, Task.purpose == "repeat"))
        .outerjoin(
            earlier,
            and_(
                earlier.task_id == original.id,
                earlier.annotator_id == Judgement.annotator_id,
                earlier.superseded_by.is_(None),
                ~earlier.is_verdict,
            ),
        )
        .where(
            Judgement.project_id == project.id,
            Judgement.superseded_by.is_(None),
            ~Judgement.is_verdict,
            Judgement.annotator_id.is_not(None) if only is None else Judgement.annotator_id.in_(only),
        )
        .group_by(Judgement.annotator_id)
        .subquery()
    )


def _said_alike(earlier: type[Judgement]) -> ScalarSelect[Any]:
    """Of the pairs that a Judgement and an earlier one say something of, the share with the same side; null without
    one."""
    again, before = sides.of_two(), sides.of_two(earlier, "before")
    is_same_pair = and_(again.c.first == before.c.first, again.c.second == before.c.second)
    is_alike = func.sign(again.c.level) == func.sign(before.c.level)
    of_pairs = again.join(before, is_same_pair)
    return select(func.avg(case((is_alike, 1), else_=0))).select_from(of_pairs).scalar_subquery()
