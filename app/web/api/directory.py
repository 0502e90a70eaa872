"""Everybody who has an account, and groups; for admins of the site."""

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Query, Request, Response, status
from pydantic import BaseModel, Field
from sqlalchemy import select

from app.db.tables import Group, User
from app.db.tables.projects import Role
from app.services import accounts
from app.services.people import directory, groups, trust
from app.services.people.groups import GroupView
from app.services.projects import projects
from app.web.api.access import Admin, Id
from app.web.api.edits import Edit, Read
from app.web.api.paging import Page, PageQuery, Paging, read_page, read_rows
from app.web.api.people import LINK_HOURS, LinkOut
from app.web.api.schemas import NO_NUL, In, Out
from app.web.serving.deps import Db, settings_of

router = APIRouter(tags=["site"])

Name = Annotated[str, Field(max_length=200, pattern=NO_NUL)]


class AccountOut(Out):
    id: int
    name: str
    email: str | None
    is_admin: bool
    is_simulated: bool
    created_at: datetime
    disabled_at: datetime | None


class AccountIn(In):
    is_admin: bool | None = Field(None, description="Whether the person runs the site.")
    disabled: bool | None = Field(None, description="True: shut out at once; sessions, tokens and links end for good.")


class AccountsQuery(PageQuery):
    text: Annotated[str, Field(max_length=200, pattern=NO_NUL, description="Parts of name or address.")] = ""


class GroupIn(In):
    name: Name


class GrantIn(In):
    role: Role = "annotator"


class GrantOut(BaseModel):
    slug: str
    role: Role


class GroupOut(BaseModel):
    id: int
    name: str
    people: int = Field(description="How many are in it: who, `GET …/people` lists.")
    projects: list[GrantOut]

    @classmethod
    def of(cls, view: GroupView) -> Self:
        given = [GrantOut(slug=project.slug, role=role) for project, role in view.projects]
        return cls(id=view.group.id, name=view.group.name, people=view.people, projects=given)


@router.get("/people", summary="List accounts")
async def list_accounts(admin: Admin, db: Db, asked: Annotated[AccountsQuery, Query()]) -> Page[AccountOut]:
    """Everybody who has an account, newest first; for admins."""
    return await read_page(db, directory.found(asked.text), User.id, paging=asked, out=AccountOut.model_validate)


@router.get("/people/{user_id}", summary="Read an account")
async def read_account(user_id: Id, admin: Admin, db: Db, read: Read) -> AccountOut:
    """For admins."""
    user = await directory.get(db, user_id)
    await read.tell(db, user)
    return AccountOut.model_validate(user)


@router.patch("/people/{user_id}", summary="Change an account")
async def change_account(user_id: Id, admin: Admin, asked: AccountIn, db: Db, edit: Edit) -> AccountOut:
    """Makes somebody an admin or ends that, shuts them out or lets them in again. What isn't sent stays."""
    user = await directory.get(db, user_id)
    directory.require_not_oneself(admin, user)
    await edit.require_current(db, user)
    if asked.is_admin is not None:
        await trust.hold_rights(db, admin)
        await directory.set_admin(db, user, is_admin=asked.is_admin)
    if asked.disabled is not None:
        await (directory.disable(db, user) if asked.disabled else directory.enable(db, user))
    await edit.tell(db, user)
    await db.refresh(user)
    return AccountOut.model_validate(user)


@router.delete("/people/{user_id}", status_code=204, summary="Erase a person")
async def erase_person(user_id: Id, admin: Admin, db: Db) -> Response:
    """Forgets name, address, password, ways in and memberships for good. What was judged stays, of a pseudonym."""
    user = await directory.get(db, user_id)
    directory.require_not_oneself(admin, user)
    await directory.erase(db, user)
    return Response(status_code=204)


@router.post("/people/{user_id}/sign-in-link", status_code=201, summary="Make a sign-in link for anybody")
async def create_link(request: Request, user_id: Id, admin: Admin, db: Db) -> LinkOut:
    """For 24 hours."""
    user = await directory.get(db, user_id)
    await trust.hold_rights(db, admin)
    token = await accounts.create_sign_in_link(db, user.id, hours=LINK_HOURS)
    return LinkOut(link=f"{settings_of(request).site_url}/sign-in/link/{token}")


@router.delete("/people/{user_id}/sessions", status_code=204, summary="Sign a person out everywhere")
async def end_ways_in(user_id: Id, admin: Admin, db: Db) -> Response:
    """Ends every session, token and unopened sign-in link. Password and passkeys stay."""
    user = await directory.get(db, user_id)
    directory.require_not_oneself(admin, user)
    await directory.end_ways_in(db, user)
    return Response(status_code=204)


@router.get("/groups", summary="List groups")
async def list_groups(admin: Admin, db: Db, paging: Paging) -> Page[GroupOut]:
    """Newest first, each with the projects that it is given to; for admins."""
    found, following = await read_rows(db, select(Group), Group.id, paging=paging)
    return Page(items=[GroupOut.of(view) for view in await groups.views(db, found)], next_cursor=following)


@router.post("/groups", status_code=status.HTTP_201_CREATED, summary="Make a group")
async def create_group(admin: Admin, asked: GroupIn, db: Db) -> GroupOut:
    """A group with nobody in it."""
    group = await groups.create(db, asked.name)
    return GroupOut(id=group.id, name=group.name, people=0, projects=[])


@router.get("/groups/{group_id}", summary="Read a group")
async def read_group(group_id: Id, admin: Admin, db: Db, read: Read) -> GroupOut:
    """How many are in it and which projects it is given to; for admins."""
    group = await groups.get(db, group_id)
    await read.tell(db, group)
    (view,) = await groups.views(db, [group])
    return GroupOut.of(view)


@router.get("/groups/{group_id}/people", summary="List who is in a group")
async def list_people_of_group(group_id: Id, admin: Admin, db: Db, paging: Paging) -> Page[AccountOut]:
    """The newest account first; for admins."""
    there = groups.people_of(await groups.get(db, group_id))
    return await read_page(db, there, User.id, paging=paging, out=AccountOut.model_validate)


@router.patch("/groups/{group_id}", status_code=204, summary="Rename a group")
async def rename_group(group_id: Id, admin: Admin, asked: GroupIn, db: Db, edit: Edit) -> None:
    """Calls a group something else."""
    group = await groups.get(db, group_id)
    await edit.require_current(db, group)
    await groups.rename(db, group, asked.name)
    await edit.tell(db, group)


@router.delete("/groups/{group_id}", status_code=204, summary="Dissolve a group")
async def remove_group(group_id: Id, admin: Admin, db: Db) -> Response:
    """Who is in a project by way of it alone is out of that project."""
    await groups.remove(db, await groups.get(db, group_id))
    return Response(status_code=204)


@router.put("/groups/{group_id}/people/{user_id}", status_code=204, summary="Put somebody into a group")
async def put_into_group(group_id: Id, user_id: Id, admin: Admin, db: Db) -> Response:
    """And so into its projects."""
    await groups.put(db, await groups.get(db, group_id), await directory.get(db, user_id))
    return Response(status_code=204)


@router.delete("/groups/{group_id}/people/{user_id}", status_code=204, summary="Take somebody out of a group")
async def take_out_of_group(group_id: Id, user_id: Id, admin: Admin, db: Db) -> Response:
    """And so out of its projects."""
    await groups.take_out(db, await groups.get(db, group_id), user_id)
    return Response(status_code=204)


@router.put("/groups/{group_id}/projects/{slug}", status_code=204, summary="Give a group to a project")
async def give_group(group_id: Id, slug: str, admin: Admin, asked: GrantIn, db: Db) -> Response:
    """Everybody in it is a member there, in this role."""
    group = await groups.get(db, group_id)
    await groups.give(db, group, await projects.get(db, admin, slug), asked.role)
    return Response(status_code=204)


@router.delete("/groups/{group_id}/projects/{slug}", status_code=204, summary="Take a group out of a project")
async def withdraw_group(group_id: Id, slug: str, admin: Admin, db: Db) -> Response:
    """Who is there by way of it alone is out."""
    group = await groups.get(db, group_id)
    await groups.withdraw(db, group, (await projects.get(db, admin, slug)).id)
    return Response(status_code=204)
