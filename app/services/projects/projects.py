"""Projects: who sees them, who does what in them, and what they ask."""

import re
from functools import cache
from typing import cast, get_args

from sqlalchemy import BigInteger, ColumnElement, Select, bindparam, exists, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Member, Project
from app.db.tables.projects import Role
from app.errors import Conflict, Forbidden, Invalid, NotFound
from app.security import Principal
from app.services.projects.question import Question
from app.settings import settings

RESERVED = ("new",)  # what stands in the place of a slug in the address of another page
UNSPECIFIED = "unspecified"
"""The licence of a project that says none."""
SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def visible_to(actor: Principal) -> Select[Project]:
    """The projects that `actor` may see: the one statement that every look at projects starts from."""
    return _visible() if actor.is_admin else _visible(actor.user_id)


async def get(db: AsyncSession, actor: Principal, slug: str) -> Project:
    """Raises NotFound for an unknown project and for one that `actor` may not see alike."""
    # What can't be a slug isn't asked for: PostgreSQL refuses to even compare some of it.
    named = {"slug": slug} if actor.is_admin else {"slug": slug, "actor": actor.user_id}
    project = await db.scalar(_named(is_admin=actor.is_admin), named) if SLUG.fullmatch(slug) else None
    if project is None:
        raise NotFound
    return project


def archived_of(actor: Principal) -> Select[Project]:
    """The archived projects that `actor` owns, who alone may put them back."""
    archived = select(Project).where(Project.archived_at.is_not(None), Project.removal_asked_at.is_(None))
    if actor.is_admin:
        return archived
    return archived.where(
        exists().where(Member.project_id == Project.id, Member.user_id == actor.user_id, Member.role == "owner")
    )


async def get_even_archived(db: AsyncSession, actor: Principal, slug: str) -> Project:
    """A project that `actor` may see, or an archived one of their own. Raises NotFound."""
    try:
        return await get(db, actor, slug)
    except NotFound:
        if SLUG.fullmatch(slug):
            project = await db.scalar(archived_of(actor).where(Project.slug == slug))
            if project is not None:
                return project
        raise


async def named(db: AsyncSession, slug: str) -> Project:
    """For the command line, whose user has the whole database. Raises NotFound."""
    project = await db.scalar(select(Project).where(Project.slug == slug, Project.removal_asked_at.is_(None)))
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
        raise Invalid(
            "A project's short name has small letters, digits and single hyphens, not %(slug)s.", slug=repr(slug)
        )
    if slug in RESERVED:
        raise Conflict("No project can be called %(slug)s in addresses.", slug=slug)
    project = Project(
        slug=slug,
        name=_checked_name(name),
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
        raise Conflict("There is already a project %(slug)s.", slug=slug) from None
    if owner_id is not None:
        await add_member(db, project, owner_id, "owner")
    return project


def put_out_of_sight(project: Project) -> None:
    """Let nobody see the project any more; a worker removes it once its runs have ended."""
    project.archived_at = project.archived_at or func.now()
    project.removal_asked_at = func.now()


def describe(project: Project, *, name: str, description: str, licence: str | None = None) -> None:
    """What the project is called, what it is for, and under which licence its datasets are, None leaving that; its
    address stays. Raises Invalid.
    """
    said = description.replace("\0", "").replace("\r\n", "\n").strip()
    if len(said) > 10_000:
        raise Invalid("A description has at most 10,000 characters.")
    if licence is not None:
        project.licence = _checked_licence(licence)
    project.name = _checked_name(name)
    project.description = said


def ask(project: Project, question: Question, guidelines: str, *, overlap: int, lease_seconds: int) -> None:
    """Change what the project asks from here on. New guidelines are a new version; open tasks keep their overlap.

    Raises Invalid.
    """
    if overlap not in range(1, 101):
        raise Invalid("A task is judged by 1 to 100 people.")
    if lease_seconds not in range(60, 604_801):
        raise Invalid("A task is reserved for a minute at least and a week at most.")
    said = guidelines.replace("\0", "").replace("\r\n", "\n").strip()  # browsers end the lines of a form by CRLF
    if said != project.guidelines.strip():
        project.guidelines = said
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
        .on_conflict_do_update(index_elements=["project_id", "user_id"], set_={"role": role, "by_group": False})
    )


def _checked_licence(said: str) -> str:
    """Nothing is `unspecified`."""
    licence = said.strip() or UNSPECIFIED
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,59}", licence):
        raise Invalid("A licence is its short name, as cc-by-4.0: letters, digits, dots and hyphens.")
    return licence


def _checked_name(name: str) -> str:
    name = name.strip()
    if not name:
        raise Invalid("A project needs a name.")
    if len(name) > 200 or not name.isprintable():
        raise Invalid("A project's name has at most 200 printable characters.")
    return name


def _visible(member_id: int | ColumnElement[int] | None = None) -> Select[Project]:
    projects = select(Project).where(Project.archived_at.is_(None))
    if member_id is None:
        return projects
    return projects.where(exists().where(Member.project_id == Project.id, Member.user_id == member_id))


@cache
def _named(*, is_admin: bool) -> Select[Project]:
    """The project of the parameters `slug` and `actor`. Made once: almost every request asks it."""
    visible = _visible() if is_admin else _visible(bindparam("actor", type_=BigInteger))
    return visible.where(Project.slug == bindparam("slug"))
