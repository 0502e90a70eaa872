"""People of a project: who works here and as what, and how somebody new comes in."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Form, Path, Request
from pydantic import BaseModel, Field
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.db.tables import Judgement, Member, Project, User
from app.db.tables.projects import Role
from app.errors import Conflict, Forbidden, NotFound
from app.security import Principal
from app.services import accounts
from app.services.projects import projects
from app.web.locales import gettext
from app.web.pages.access import Managed, ManagedProject, OwnedProject
from app.web.rendering import render
from app.web.serving.deps import CurrentUser, Db, settings_of

router = APIRouter(prefix="/projects/{slug}/people", include_in_schema=False)

LINK_HOURS = 24

UserId = Annotated[int, Path(ge=1, le=2**63 - 1)]


@dataclass(frozen=True)
class Person:
    """A member with what they did here. `judged_at` is their last judgement."""

    user: User
    role: Role
    judgements: int
    judged_at: datetime | None


class NewPerson(BaseModel):
    name: Annotated[str, Field(max_length=200)]
    email: Annotated[str, Field(max_length=320)] = ""
    role: Role = "annotator"


class NewRole(BaseModel):
    role: Role


@router.get("")
async def list_people(request: Request, managed: ManagedProject, db: Db) -> Response:
    """Shows owners and reviewers who works here, as what, and how much each has judged."""
    return await _page(request, managed, db)


@router.post("")
async def add_person(
    request: Request, managed: ManagedProject, project: OwnedProject, form: Annotated[NewPerson, Form()], db: Db
) -> Response:
    """Somebody who has an account is added by e-mail address; anybody else gets an account and a link to sign in."""
    known = await _by_email(db, form.email)
    if known is not None:
        await projects.add_member(db, project, known.id, form.role)
        return render.redirect(f"/projects/{project.slug}/people")
    user = await accounts.create_user(db, name=form.name, email=form.email.strip() or None)
    await projects.add_member(db, project, user.id, form.role)
    return await _page(request, managed, db, link_for=user)


@router.post("/{user_id}/role")
async def change_role(
    user_id: UserId, project: OwnedProject, form: Annotated[NewRole, Form()], principal: CurrentUser, db: Db
) -> Response:
    """Gives a member another role. Raises Conflict where owners would take their own ownership away."""
    await _member(db, project, user_id)
    if user_id == principal.user_id and form.role != "owner" and not principal.is_admin:
        raise Conflict(gettext("You can't take your own ownership away; another owner can."))
    await projects.add_member(db, project, user_id, form.role)
    return render.redirect(f"/projects/{project.slug}/people")


@router.post("/{user_id}/link")
async def create_link(
    request: Request, user_id: UserId, managed: ManagedProject, project: OwnedProject, principal: CurrentUser, db: Db
) -> Response:
    """A link that signs this person in once. Shown in this answer and never again."""
    user = await _member(db, project, user_id)
    await _require_may_sign_in(db, principal, user)
    return await _page(request, managed, db, link_for=user)


async def _page(request: Request, managed: Managed, db: AsyncSession, *, link_for: User | None = None) -> Response:
    link = None
    if link_for is not None:
        token = await accounts.create_sign_in_link(db, link_for.id, hours=LINK_HOURS)
        link = f"{settings_of(request).site_url}/sign-in/link/{token}"
    return render.page(
        request,
        "people/list.html",
        managed=managed,
        people=await _people(db, managed.project),
        link=link,
        link_for=link_for,
        link_hours=LINK_HOURS,
    )


async def _people(db: AsyncSession, project: Project) -> list[Person]:
    work = (
        select(Judgement.annotator_id, func.count().label("count"), func.max(Judgement.submitted_at).label("last"))
        .where(Judgement.project_id == project.id, Judgement.superseded_by.is_(None))
        .group_by(Judgement.annotator_id)
        .subquery()
    )
    rows = await db.execute(
        select(User, Member.role, func.coalesce(work.c.count, 0), work.c.last)
        .join(Member, Member.user_id == User.id)
        .outerjoin(work, work.c.annotator_id == User.id)
        .where(Member.project_id == project.id)
        .order_by(work.c.count.desc().nulls_last(), User.name)
    )
    return [Person(user, role, judgements, last) for user, role, judgements, last in rows]


async def _member(db: AsyncSession, project: Project, user_id: int) -> User:
    user = await db.scalar(
        select(User).join(Member, Member.user_id == User.id).where(Member.project_id == project.id, User.id == user_id)
    )
    if user is None:
        raise NotFound
    return user


async def _by_email(db: AsyncSession, email: str) -> User | None:
    if not email.strip():
        return None
    return await db.scalar(select(User).where(func.lower(User.email) == email.strip().lower()))


async def _require_may_sign_in(db: AsyncSession, principal: Principal, user: User) -> None:
    """A sign-in link is the whole account. So an owner makes one only for people who can do nothing beyond the
    owner's own projects; for admins, and for people of other projects, an admin has to."""
    if principal.is_admin:
        return
    own = select(Member.project_id).where(Member.user_id == principal.user_id, Member.role == "owner")
    elsewhere = await db.scalar(
        select(Member.project_id).where(Member.user_id == user.id, Member.project_id.not_in(own)).limit(1)
    )
    if user.is_admin or elsewhere is not None:
        raise Forbidden(gettext("This person can do more than you: ask an admin for the link."))
