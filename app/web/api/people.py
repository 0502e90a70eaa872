"""People of a project, and invitations to it."""

from datetime import date, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Request, Response, status
from pydantic import BaseModel, Field
from sqlalchemy import select

from app.db.tables import Invitation, Member, User
from app.db.tables.projects import Role
from app.security import new_token
from app.services import accounts
from app.services.judging import releasing
from app.services.people import invitations, members, trust, work
from app.services.people.invitations import Invitee
from app.services.people.members import Person
from app.web.api.access import Admin, Caller, Id, ManagedProject, OwnedProject
from app.web.api.edits import Edit, Read
from app.web.api.paging import Page, Paging, read_page, read_rows
from app.web.api.schemas import NO_NUL, In, Out
from app.web.serving.deps import Db, settings_of

router = APIRouter(tags=["people"])

LINK_HOURS = 24


class PersonOut(BaseModel):
    id: int
    name: str
    email: str | None
    role: Role
    state: Literal["active", "paused", "disabled"]
    by_group: bool = Field(description="Is here by way of a group, in the role that it gives.")
    judgements: int
    judged_at: datetime | None


class DayOut(Out):
    day: date
    judgements: int
    active_ms: int


class ConductOut(Out):
    judgements: int
    checked: int = Field(description="Answers to gold tasks.")
    right: int = Field(description="As many of them are what the project says.")
    repeated: int = Field(description="Own tasks that were asked again.")
    same: int = Field(description="As many of them got the same side again.")
    sided: int = Field(description="Choices between A and B.")
    first: int = Field(description="As many of them fell on A.")
    hurried: int = Field(description="Answers that came faster than reading and were confirmed.")
    active_ms: float | None = Field(description="Median time with the page in front and in use.")


class WorkOut(BaseModel):
    conduct: ConductOut
    days: list[DayOut] = Field(description="UTC days of the last 30 with a judgement, the newest first.")
    leased: int = Field(description="Tasks that the person holds now.")
    kept: int = Field(description="Tasks that were given to them and wait.")


class MemberIn(In):
    role: Role | None = None
    paused: bool | None = Field(None, description="True: gets no more work here.")


class AddIn(In):
    person: Annotated[str, Field(max_length=320, pattern=NO_NUL, description="Name or e-mail address of an account.")]
    role: Role = "annotator"


class InviteeIn(In):
    name: Annotated[str, Field(max_length=200, pattern=NO_NUL)] = ""
    email: Annotated[str | None, Field(max_length=320, pattern=NO_NUL)] = None


class InvitationsIn(In):
    people: Annotated[list[InviteeIn], Field(min_length=1, max_length=invitations.MOST_AT_ONCE)]
    role: Role = "annotator"
    days: Annotated[int, Field(ge=1, le=90, description="How long the links work.")] = 7


class RenewalIn(In):
    days: Annotated[int, Field(ge=1, le=90, description="How long the new link works.")] = 7


class InvitationOut(Out):
    id: int
    name: str
    email: str | None
    role: Role
    created_at: datetime
    expires_at: datetime


class InvitedOut(InvitationOut):
    link: str = Field(description="Lets one person in, once. It is told in this answer and never again.")


class LinkOut(BaseModel):
    link: str = Field(description="Signs the person in once. It is told in this answer and never again.")


class CountOut(BaseModel):
    tasks: int


@router.get("/projects/{slug}/people", summary="List people")
async def list_people(project: ManagedProject, db: Db, paging: Paging) -> Page[PersonOut]:
    """Everybody in the project, those with most judgements first."""
    there = select(User).join(Member, Member.user_id == User.id).where(Member.project_id == project.id)
    users, following = await read_rows(db, there, User.id, paging=paging)
    found = {one.user.id: one for one in await members.of_project(db, project, [user.id for user in users])}
    return Page(items=[_person(found[user.id]) for user in users], next_cursor=following)


@router.post("/projects/{slug}/people", status_code=status.HTTP_201_CREATED, summary="Add an account")
async def add_person(project: OwnedProject, admin: Admin, asked: AddIn, db: Db) -> PersonOut:
    """Puts an account of the site into the project; for admins. Owners make invitations."""
    user = await accounts.find_user(db, asked.person)
    await members.put(db, project, user.id, asked.role)
    (person,) = await members.of_project(db, project, [user.id])
    return _person(person)


@router.get("/projects/{slug}/people/{user_id}", summary="Read what a person does")
async def read_person(project: ManagedProject, user_id: Id, db: Db, read: Read) -> WorkOut:
    """How much one person does in the project on which day, and how well."""
    person = await members.get(db, project, user_id)
    await read.tell(db, await db.get_one(Member, (project.id, user_id)))
    done = await work.of_person(db, project, person)
    days = [DayOut.model_validate(day) for day in done.days]
    return WorkOut(conduct=ConductOut.model_validate(done.conduct), days=days, leased=done.leased, kept=done.kept)


@router.patch("/projects/{slug}/people/{user_id}", summary="Change a member")
async def change_member(
    project: OwnedProject, user_id: Id, asked: MemberIn, caller: Caller, db: Db, edit: Edit
) -> PersonOut:
    """Another role, a pause, or the end of one. What isn't sent stays."""
    await members.get(db, project, user_id)
    member = await db.get_one(Member, (project.id, user_id))
    await edit.require_current(db, member)
    if asked.role is not None:
        await members.change_role(db, caller, project, user_id, asked.role)
    if asked.paused is not None:
        await members.pause(db, project, user_id, paused=asked.paused)
    await edit.tell(db, member)
    await db.refresh(member)
    (person,) = await members.of_project(db, project, [user_id])
    return _person(person)


@router.delete("/projects/{slug}/people/{user_id}", status_code=204, summary="Remove a member")
async def remove_member(project: OwnedProject, user_id: Id, caller: Caller, db: Db) -> Response:
    """What they judged stays; the tasks that they hold are free for others."""
    await members.remove(db, caller, project, user_id)
    return Response(status_code=204)


@router.post("/projects/{slug}/people/{user_id}/release", summary="Free the tasks of a person")
async def release(project: OwnedProject, user_id: Id, db: Db) -> CountOut:
    """Gives the tasks that this person holds, and those that were given to them, to others."""
    await members.get(db, project, user_id)
    return CountOut(tasks=await releasing.release(db, user_id, project=project))


@router.post("/projects/{slug}/people/{user_id}/reopen", summary="Have the work of a person judged again")
async def reopen(project: OwnedProject, user_id: Id, db: Db) -> CountOut:
    """One more place in each closed task that this person judged, 10,000 at once. What was said stays."""
    await members.get(db, project, user_id)
    return CountOut(tasks=await releasing.reopen(db, project, user_id))


@router.post("/projects/{slug}/people/{user_id}/sign-in-link", status_code=201, summary="Make a sign-in link")
async def create_member_link(request: Request, project: OwnedProject, user_id: Id, caller: Caller, db: Db) -> LinkOut:
    """For 24 hours; 403 for who can do more than you."""
    user = await members.get(db, project, user_id)
    await members.require_may_sign_in(db, caller, project, user)
    token = await accounts.create_sign_in_link(db, user.id, hours=LINK_HOURS, vouched_by_id=trust.voucher(caller))
    return LinkOut(link=f"{settings_of(request).site_url}/sign-in/link/{token}")


@router.get("/projects/{slug}/invitations", summary="List open invitations")
async def list_invitations(project: OwnedProject, db: Db, paging: Paging) -> Page[InvitationOut]:
    """Invitations that nobody has accepted or revoked, newest first. After `expires_at` one has to be renewed."""
    still = invitations.open_in(project)
    return await read_page(db, still, Invitation.id, paging=paging, out=InvitationOut.model_validate)


@router.post("/projects/{slug}/invitations", status_code=status.HTTP_201_CREATED, summary="Invite people")
async def invite(
    request: Request,
    project: OwnedProject,
    asked: InvitationsIn,
    caller: Caller,
    db: Db,
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=invitations.SHORTEST_FORM_KEY,
            max_length=100,
            description="A secret of yours: sent again with it, the same people get the same links.",
        ),
    ] = None,
) -> list[InvitedOut]:
    """A link for each of `people`, by which they make an account or join with the one that they have."""
    wanted = [
        Invitee(
            name=accounts.checked_name(one.name) if one.name.strip() else "",
            email=accounts.checked_email(one.email) if one.email else None,
        )
        for one in asked.people
    ]
    made = await invitations.invite(
        db, caller, project, wanted, asked.role, days=asked.days, form_key=key or new_token()
    )
    site = settings_of(request).site_url
    return [InvitedOut(**_invitation(one.invitation), link=f"{site}/invitations/{one.token}") for one in made]


@router.post(
    "/projects/{slug}/invitations/{invitation_id}/renew",
    status_code=status.HTTP_201_CREATED,
    summary="Renew an invitation",
)
async def renew_invitation(
    request: Request, project: OwnedProject, invitation_id: Id, body: RenewalIn, caller: Caller, db: Db
) -> InvitedOut:
    """Another link for one that is lost or over; the link before lets nobody in any more. 404 once it is used."""
    made = await invitations.renew(db, caller, project, invitation_id, days=body.days)
    link = f"{settings_of(request).site_url}/invitations/{made.token}"
    return InvitedOut(**_invitation(made.invitation), link=link)


@router.delete("/projects/{slug}/invitations/{invitation_id}", status_code=204, summary="Revoke an invitation")
async def revoke_invitation(project: OwnedProject, invitation_id: Id, db: Db) -> Response:
    """The link lets nobody in any more."""
    await invitations.revoke(db, project, invitation_id)
    return Response(status_code=204)


def _person(one: Person) -> PersonOut:
    state: Literal["active", "paused", "disabled"] = "paused" if one.member.paused_at else "active"
    return PersonOut(
        id=one.user.id,
        name=one.user.name,
        email=one.user.email,
        role=one.member.role,
        state="disabled" if one.user.disabled_at else state,
        by_group=one.member.by_group,
        judgements=one.judgements,
        judged_at=one.judged_at,
    )


def _invitation(invitation: Invitation) -> dict[str, object]:
    return InvitationOut.model_validate(invitation).model_dump()
