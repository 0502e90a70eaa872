"""Projects: who sees them, who does what in them, and how far they are."""

import re
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import cast, get_args

from sqlalchemy import BigInteger, ColumnElement, Select, bindparam, exists, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.prepared import Prepared
from app.db.tables import (
    Assignment,
    Completion,
    DatasetJudgement,
    Demonstration,
    Judgement,
    Member,
    Project,
    Prompt,
    Task,
    TaskCompletion,
)
from app.db.tables.content import Split
from app.db.tables.projects import Role
from app.errors import Conflict, Forbidden, Invalid, NotFound
from app.security import Principal
from app.services.question import Question
from app.settings import settings

SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class ProjectOverview:
    """Counts of one project. `judgements` are the current ones, imported ones included and checks not; a day is a UTC
    day.
    """

    prompts_by_split: dict[Split, int]
    demonstrations: int
    completions: int
    tasks_open: int
    tasks_closed: int
    judgements: int
    judgements_imported: int
    judgements_since_snapshot: int
    labels_today: int
    annotators: int


@dataclass(frozen=True)
class Progress:
    """How far one annotator is: judgements today (UTC) and in all, and tasks that are open to them now."""

    today: int
    total: int
    open_for_me: int


def visible_to(actor: Principal) -> Select[Project]:
    """The projects that `actor` may see: the one statement that every look at projects starts from."""
    return _visible() if actor.is_admin else _visible(actor.user_id)


def _visible(member_id: int | ColumnElement[int] | None = None) -> Select[Project]:
    projects = select(Project).where(Project.archived_at.is_(None))
    if member_id is None:
        return projects
    return projects.where(exists().where(Member.project_id == Project.id, Member.user_id == member_id))


@cache
def _named(*, is_admin: bool) -> Select[Project]:
    """By the parameters `slug` and `actor`. Made once: almost every request asks it."""
    visible = _visible() if is_admin else _visible(bindparam("actor", type_=BigInteger))
    return visible.where(Project.slug == bindparam("slug"))


async def get(db: AsyncSession, actor: Principal, slug: str) -> Project:
    """Raises NotFound for an unknown project and for one that `actor` may not see alike."""
    # What can't be a slug isn't asked for: PostgreSQL refuses to even compare some of it.
    named = {"slug": slug} if actor.is_admin else {"slug": slug, "actor": actor.user_id}
    project = await db.scalar(_named(is_admin=actor.is_admin), named) if SLUG.fullmatch(slug) else None
    if project is None:
        raise NotFound
    return project


async def named(db: AsyncSession, slug: str) -> Project:
    """For the command line, whose user has the whole database. Raises NotFound."""
    project = await db.scalar(select(Project).where(Project.slug == slug))
    if project is None:
        raise NotFound(f"There is no project {slug}.")
    return project


async def role_of(db: AsyncSession, actor: Principal, project: Project) -> Role | None:
    """What `actor` is in the project; an admin is an owner everywhere."""
    if actor.is_admin:
        return "owner"
    role = await db.scalar(
        select(Member.role).where(Member.project_id == project.id, Member.user_id == actor.user_id),
    )
    return cast(Role | None, role)


async def require_role(db: AsyncSession, actor: Principal, project: Project, *roles: Role) -> Role:
    """Raises Forbidden unless `actor` has one of `roles`."""
    role = await role_of(db, actor, project)
    if role is None or role not in roles:
        raise Forbidden
    return role


async def create(
    db: AsyncSession,
    *,
    slug: str,
    name: str,
    owner_id: int | None,
    description: str = "",
    guidelines: str = "",
    overlap: int = 1,
    lease_seconds: int | None = None,
    policy_source: str | None = None,
) -> Project:
    """Raises Invalid for a slug that can't be an address, Conflict for one that is taken."""
    if not SLUG.fullmatch(slug) or len(slug) > 80:
        raise Invalid(f"A project's short name has small letters, digits and single hyphens, not {slug!r}.")
    if not name.strip():
        raise Invalid("A project needs a name.")
    project = Project(
        slug=slug,
        name=name.strip(),
        description=description,
        guidelines=guidelines,
        overlap=overlap,
        lease_seconds=lease_seconds or settings().assignment_lease_seconds,
        policy_source=policy_source,
    )
    try:
        async with db.begin_nested():
            db.add(project)
    except IntegrityError:
        raise Conflict(f"There is already a project {slug}.") from None
    if owner_id is not None:
        await add_member(db, project, owner_id, "owner")
    return project


def ask(project: Project, question: Question, guidelines: str, *, overlap: int, lease_seconds: int) -> None:
    """Change what the project asks from here on. New guidelines are a new version; open tasks keep their overlap.

    Raises Invalid.
    """
    if overlap not in range(1, 101):
        raise Invalid("A task is judged by 1 to 100 people.")
    if lease_seconds not in range(60, 604_801):
        raise Invalid("A task is reserved for a minute at least and a week at most.")
    if guidelines.strip() != project.guidelines.strip():
        project.guidelines = guidelines.replace("\0", "").replace("\r\n", "\n").strip()
        project.guidelines_version += 1
    project.question = question.to_json()
    project.overlap = overlap
    project.lease_seconds = lease_seconds


async def add_member(db: AsyncSession, project: Project, user_id: int, role: Role) -> None:
    """Add a person, or change the role of one who is a member already."""
    if role not in get_args(Role):
        raise Invalid(f"A role is one of {', '.join(get_args(Role))}, not {role!r}.")
    await db.execute(
        insert(Member)
        .values(project_id=project.id, user_id=user_id, role=role)
        .on_conflict_do_update(index_elements=["project_id", "user_id"], set_={"role": role})
    )


@dataclass(frozen=True)
class Membership:
    """What one person is in a project, how their sides are balanced, and what the project gives out now."""

    role: Role
    qualified_at: datetime | None
    side_balance: int
    lease_seconds: int
    guidelines_version: int
    checked: Json


_MEMBERSHIP = Prepared(
    Membership,
    select(
        Member.role,
        Member.qualified_at,
        Member.side_balance,
        Project.lease_seconds,
        Project.guidelines_version,
        Project.checks.label("checked"),
    )
    .join(Project, Project.id == Member.project_id)
    .where(
        Member.project_id == bindparam("project", type_=BigInteger),
        Member.user_id == bindparam("actor", type_=BigInteger),
        Project.archived_at.is_(None),
    )
    .with_for_update(of=Member),
)


async def membership(db: AsyncSession, actor: Principal, project_id: int) -> Membership:
    """What `actor` is in the project, locked; an admin's row is made at the first need of one. Raises NotFound."""
    if actor.is_admin:
        await db.execute(
            insert(Member)
            .values(project_id=project_id, user_id=actor.user_id, role="owner")
            .on_conflict_do_nothing(index_elements=["project_id", "user_id"])
        )
    member = await _MEMBERSHIP.first(db, project=project_id, actor=actor.user_id)
    if member is None:
        raise NotFound
    return member


def eligible_for(user_id: int | ColumnElement[int]) -> tuple[ColumnElement[bool], ...]:
    """Conditions on Task: not given to this person before (a lease that ran out apart), nothing in it by them."""
    given = exists().where(
        Assignment.task_id == Task.id, Assignment.annotator_id == user_id, Assignment.state != "expired"
    )
    written = exists().where(
        TaskCompletion.task_id == Task.id,
        TaskCompletion.completion_id == Completion.id,
        Completion.author_id == user_id,
    )
    return (Task.state == "open", ~given, ~written)


def labels_of(project_id: int) -> tuple[ColumnElement[bool], ...]:
    """Conditions on Judgement: what people say now of tasks made for labels, imported or given here."""
    return (Judgement.project_id == project_id, Judgement.superseded_by.is_(None), ~Judgement.is_check)


def held_by_a_dataset() -> ColumnElement[bool]:
    """Condition on Judgement: some dataset version holds it, so that it can't be changed any more."""
    return exists().where(DatasetJudgement.judgement_id == Judgement.id)


async def overview(db: AsyncSession, project: Project) -> ProjectOverview:
    labels = labels_of(project.id)
    tasks = select(func.count()).select_from(Task).where(Task.project_id == project.id, Task.purpose == "label")
    judgements = select(func.count()).select_from(Judgement).where(*labels)
    of_project = (Prompt.project_id == project.id,)
    splits = await db.execute(
        select(Prompt.split, func.count().label("prompts")).where(*of_project).group_by(Prompt.split)
    )
    figures = (
        await db.execute(
            select(
                _count(select(Demonstration.id).join(Prompt).where(*of_project)).label("demonstrations"),
                _count(select(Completion.id).join(Prompt).where(*of_project)).label("completions"),
                tasks.where(Task.state == "open").scalar_subquery().label("tasks_open"),
                tasks.where(Task.state == "closed").scalar_subquery().label("tasks_closed"),
                judgements.scalar_subquery().label("judgements"),
                judgements.where(Judgement.kind == "imported").scalar_subquery().label("judgements_imported"),
                judgements.where(~held_by_a_dataset()).scalar_subquery().label("judgements_since_snapshot"),
                judgements.where(_today(), Judgement.kind != "imported").scalar_subquery().label("labels_today"),
                select(func.count(Judgement.annotator_id.distinct()))
                .where(*labels)
                .scalar_subquery()
                .label("annotators"),
            )
        )
    ).one()
    by_split = dict.fromkeys(get_args(Split), 0) | {row.split: row.prompts for row in splits}
    return ProjectOverview(prompts_by_split=by_split, **figures._mapping)


async def annotator_progress(db: AsyncSession, actor: Principal, project: Project) -> Progress:
    mine = (
        select(func.count())
        .select_from(Judgement)
        .where(
            Judgement.project_id == project.id,
            Judgement.annotator_id == actor.user_id,
            Judgement.superseded_by.is_(None),
        )
    )
    free = _count(
        select(Task.id).where(
            Task.project_id == project.id,
            Task.purpose == "label",
            Task.taken < Task.quota,
            *eligible_for(actor.user_id),
        )
    )
    row = await db.execute(select(mine.where(_today()).scalar_subquery(), mine.scalar_subquery(), free))
    today, total, open_for_me = row.one()
    return Progress(today, total, open_for_me)


def _count(rows: Select[int]) -> ColumnElement[int]:
    return select(func.count()).select_from(rows.subquery()).scalar_subquery()


def _today() -> ColumnElement[bool]:
    return Judgement.submitted_at >= func.date_trunc("day", func.now())
