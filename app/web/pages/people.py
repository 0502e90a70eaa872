"""People of a project: who works here and as what, who is invited, and what one person does."""

from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Path, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.db.tables import Invitation, User
from app.db.tables.projects import Role
from app.errors import DomainError, Forbidden
from app.security import new_token
from app.services import accounts
from app.services.judging import releasing
from app.services.people import invitations, members, trust, work
from app.services.people.invitations import Invited
from app.web.locales import translated
from app.web.pages.access import Managed, ManagedProject, OwnedProject
from app.web.rendering import render
from app.web.serving.deps import CurrentUser, Db, settings_of

router = APIRouter(prefix="/projects/{slug}/people", include_in_schema=False)

PAGE_SIZE = 50
LINK_HOURS = 24
INVITATION_DAYS = (1, 7, 30)

Id = Annotated[int, Path(ge=1, le=2**63 - 1)]


class Asked(BaseModel):
    text: Annotated[str, Field(max_length=200)] = ""
    before: Annotated[int | None, Field(ge=1, le=2**63 - 1)] = None


EVERYBODY = Asked()


class Invite(BaseModel):
    """`people` are lines; `key` is the form's own, so that sending it twice invites nobody twice."""

    people: Annotated[str, Field(max_length=100_000)]
    role: Role = "annotator"
    days: Literal["1", "7", "30"] = "7"
    key: Annotated[str, Field(min_length=invitations.SHORTEST_FORM_KEY, max_length=100)]


class Renewed(BaseModel):
    key: Annotated[str, Field(max_length=100)] = ""


class Added(BaseModel):
    person: Annotated[str, Field(max_length=320)]
    role: Role = "annotator"


class NewRole(BaseModel):
    role: Role


class Pause(BaseModel):
    paused: bool


@router.get("")
async def list_people(request: Request, managed: ManagedProject, asked: Annotated[Asked, Query()], db: Db) -> Response:
    """Shows owners and reviewers who works here, as what, how much each has judged, and who is invited."""
    return await _page(request, managed, db, asked=asked)


@router.post("/invitations")
async def invite(
    request: Request,
    managed: ManagedProject,
    project: OwnedProject,
    form: Annotated[Invite, Form()],
    principal: CurrentUser,
    db: Db,
) -> Response:
    """Answers with the page and not with a redirect: the links are in this answer and nowhere else."""
    try:
        invitees = invitations.invitees_of(form.people)
        made = await invitations.invite(
            db, principal, project, invitees, form.role, days=int(form.days), form_key=form.key
        )
    except DomainError as problem:
        return await _page(request, managed, db, typed=form, problem=problem)
    return await _page(request, managed, db, made=made)


@router.post("/invitations/{invitation_id}/renew")
async def renew_invitation(
    request: Request,
    invitation_id: Id,
    managed: ManagedProject,
    project: OwnedProject,
    form: Annotated[Renewed, Form()],
    principal: CurrentUser,
    db: Db,
) -> Response:
    """Makes another link for an open invitation, whose link of before ends; answers as `invite` does."""
    made = await invitations.renew(db, principal, project, invitation_id, form_key=form.key)
    return await _page(request, managed, db, made=[made])


@router.post("/invitations/{invitation_id}/revoke")
async def revoke_invitation(invitation_id: Id, project: OwnedProject, db: Db) -> Response:
    """Has an open invitation let nobody in any more."""
    await invitations.revoke(db, project, invitation_id)
    return render.redirect(f"/projects/{project.slug}/people?said=revoked")


@router.post("/add")
async def add_person(project: OwnedProject, form: Annotated[Added, Form()], principal: CurrentUser, db: Db) -> Response:
    """Puts an account of the site into the project, for admins; owners invite, so that the person comes by themself."""
    if not principal.is_admin:
        raise Forbidden
    user = await accounts.find_user(db, form.person)
    ended = await members.put(db, project, user.id, form.role)
    return render.redirect(f"/projects/{project.slug}/people/{user.id}?said={'added-ended' if ended else 'added'}")


@router.get("/{user_id}")
async def show_person(request: Request, user_id: Id, managed: ManagedProject, db: Db) -> Response:
    """Shows owners and reviewers how much one person does here, how well, and what last."""
    return await _person(request, managed, await members.get(db, managed.project, user_id), db)


@router.post("/{user_id}/role")
async def change_role(
    user_id: Id, project: OwnedProject, form: Annotated[NewRole, Form()], principal: CurrentUser, db: Db
) -> Response:
    """Gives a member another role. Raises Conflict where owners would take their own ownership away."""
    await members.change_role(db, principal, project, user_id, form.role)
    return render.redirect(f"/projects/{project.slug}/people")


@router.post("/{user_id}/link")
async def create_link(
    request: Request, user_id: Id, managed: ManagedProject, project: OwnedProject, principal: CurrentUser, db: Db
) -> Response:
    """A link that signs this person in once. Shown in this answer and never again."""
    user = await members.get(db, project, user_id)
    await members.require_may_sign_in(db, principal, project, user)
    token = await accounts.create_sign_in_link(db, user.id, hours=LINK_HOURS, vouched_by_id=trust.voucher(principal))
    return await _person(request, managed, user, db, link=f"{settings_of(request).site_url}/sign-in/link/{token}")


@router.post("/{user_id}/pause")
async def pause(user_id: Id, project: OwnedProject, form: Annotated[Pause, Form()], db: Db) -> Response:
    """Gives a person no more work here, or work again."""
    await members.pause(db, project, user_id, paused=form.paused)
    said = "paused" if form.paused else "resumed"
    return render.redirect(f"/projects/{project.slug}/people/{user_id}?said={said}")


@router.post("/{user_id}/release")
async def release(user_id: Id, project: OwnedProject, db: Db) -> Response:
    """Gives the tasks that this person has on screen to others."""
    await members.get(db, project, user_id)
    count = await releasing.release(db, user_id, project=project)
    return render.redirect(f"/projects/{project.slug}/people/{user_id}?said=released&count={count}")


@router.post("/{user_id}/reopen")
async def reopen(user_id: Id, project: OwnedProject, db: Db) -> Response:
    """Has others judge again what this person judged."""
    await members.get(db, project, user_id)
    count = await releasing.reopen(db, project, user_id)
    return render.redirect(f"/projects/{project.slug}/people/{user_id}?said=reopened&count={count}")


@router.post("/{user_id}/remove")
async def remove(user_id: Id, project: OwnedProject, principal: CurrentUser, db: Db) -> Response:
    """Takes a person out of the project; what they judged stays."""
    await members.remove(db, principal, project, user_id)
    return render.redirect(f"/projects/{project.slug}/people?said=removed")


async def _page(
    request: Request,
    managed: Managed,
    db: AsyncSession,
    *,
    asked: Asked = EVERYBODY,
    made: list[Invited] | None = None,
    typed: Invite | None = None,
    problem: DomainError | None = None,
) -> Response:
    site = settings_of(request).site_url
    found = await members.page(db, managed.project, asked.text, size=PAGE_SIZE + 1, before=asked.before)
    shown = found[:PAGE_SIZE]
    count, judged = await members.count(db, managed.project)
    is_over = (Invitation.expires_at <= func.now()).label("is_over")
    invited = invitations.open_in(managed.project).add_columns(is_over).limit(1_000)
    links = [(one.invitation, f"{site}/invitations/{one.token}") for one in made or ()]
    return render.page(
        request,
        "people/list.html",
        status_code=problem.status if problem else 200,
        managed=managed,
        people=shown,
        count=count,
        judged=judged,
        asked=asked,
        older=urlencode({"text": asked.text, "before": shown[-1].user.id}) if len(found) > PAGE_SIZE else None,
        invited=(await db.execute(invited)).all() if managed.is_owner else [],
        links=links,
        typed=typed,
        problem=translated(problem) if problem else None,
        said=request.query_params.get("said"),
        key=new_token(),
        lifetimes=INVITATION_DAYS,
    )


async def _person(
    request: Request, managed: Managed, user: User, db: AsyncSession, *, link: str | None = None
) -> Response:
    done = await work.of_person(db, managed.project, user)
    count = request.query_params.get("count", "0")
    return render.page(
        request,
        "people/person.html",
        managed=managed,
        user=user,
        work=done,
        most=max((day.judgements for day in done.days), default=0),
        link=link,
        link_hours=LINK_HOURS,
        said=request.query_params.get("said"),
        count=int(count) if count.isdecimal() and len(count) < 10 else 0,
    )
