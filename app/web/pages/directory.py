"""Everybody who has an account on this site, and the groups that are given to projects; for admins of the site."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Path, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.db.tables import Group, User
from app.db.tables.projects import Role
from app.errors import Conflict
from app.services import accounts
from app.services.people import directory, groups, trust
from app.services.projects import projects
from app.web.pages.access import CurrentAdmin
from app.web.rendering import render
from app.web.serving.deps import Db, settings_of

router = APIRouter(include_in_schema=False)

PAGE_SIZE = 50
GROUPS = 20
LINK_HOURS = 24

Id = Annotated[int, Path(ge=1, le=2**63 - 1)]
Name = Annotated[str, Field(max_length=200)]


class Asked(BaseModel):
    text: Annotated[str, Field(max_length=200)] = ""
    before: Annotated[int | None, Field(ge=1, le=2**63 - 1)] = None


class AskedGroups(BaseModel):
    """The groups after one of them; or one `group` alone, with people from before an account on."""

    after: Annotated[int | None, Field(ge=1, le=2**63 - 1)] = None
    group: Annotated[int | None, Field(ge=1, le=2**63 - 1)] = None
    before: Annotated[int | None, Field(ge=1, le=2**63 - 1)] = None


class Admin(BaseModel):
    is_admin: bool


class Disabled(BaseModel):
    disabled: bool


class Erasure(BaseModel):
    """The person's name, typed by who erases: it can't be undone."""

    name: Name


class NewGroup(BaseModel):
    name: Name


class Person(BaseModel):
    person: Annotated[str, Field(max_length=320)]


class Grant(BaseModel):
    project: Annotated[str, Field(max_length=80)]
    role: Role = "annotator"


@router.get("/people")
async def list_accounts(request: Request, admin: CurrentAdmin, asked: Annotated[Asked, Query()], db: Db) -> Response:
    """Shows admins every account, the newest first."""
    found = await directory.page(db, asked.text, size=PAGE_SIZE + 1, before=asked.before)
    shown = found[:PAGE_SIZE]
    older = urlencode({"text": asked.text, "before": shown[-1].user.id}) if len(found) > PAGE_SIZE else None
    return render.page(
        request,
        "people/accounts.html",
        asked=asked,
        listed=shown,
        older=older,
        said=request.query_params.get("said"),
    )


@router.get("/people/{user_id}")
async def show_account(request: Request, user_id: Id, admin: CurrentAdmin, db: Db) -> Response:
    """Shows admins one account with the projects it is in, and what they can do with it."""
    return await _account(request, await directory.get(db, user_id), admin.user_id, db)


@router.post("/people/{user_id}/link")
async def create_link(request: Request, user_id: Id, admin: CurrentAdmin, db: Db) -> Response:
    """A link that signs this person in once. Shown in this answer and never again."""
    user = await directory.get(db, user_id)
    await trust.hold_rights(db, admin)
    token = await accounts.create_sign_in_link(db, user.id, hours=LINK_HOURS)
    link = f"{settings_of(request).site_url}/sign-in/link/{token}"
    return await _account(request, user, admin.user_id, db, link=link)


@router.post("/people/{user_id}/admin")
async def set_admin(user_id: Id, admin: CurrentAdmin, form: Annotated[Admin, Form()], db: Db) -> Response:
    """Has somebody run the site, or no more."""
    user = await directory.get(db, user_id)
    directory.require_not_oneself(admin, user)
    await trust.hold_rights(db, admin)
    await directory.set_admin(db, user, is_admin=form.is_admin)
    return render.redirect(f"/people/{user_id}?said=saved")


@router.post("/people/{user_id}/disabled")
async def set_disabled(user_id: Id, admin: CurrentAdmin, form: Annotated[Disabled, Form()], db: Db) -> Response:
    """Shuts somebody out of the site, or lets them in again."""
    user = await directory.get(db, user_id)
    directory.require_not_oneself(admin, user)
    await (directory.disable(db, user) if form.disabled else directory.enable(db, user))
    return render.redirect(f"/people/{user_id}?said=saved")


@router.post("/people/{user_id}/end")
async def end_ways_in(user_id: Id, admin: CurrentAdmin, db: Db) -> Response:
    """Signs somebody out on every device, and ends their tokens."""
    user = await directory.get(db, user_id)
    directory.require_not_oneself(admin, user)
    await directory.end_ways_in(db, user)
    return render.redirect(f"/people/{user_id}?said=ended")


@router.post("/people/{user_id}/erase")
async def erase(user_id: Id, admin: CurrentAdmin, form: Annotated[Erasure, Form()], db: Db) -> Response:
    """Forgets a person for good, once their name is typed."""
    user = await directory.get(db, user_id)
    directory.require_not_oneself(admin, user)
    if form.name.strip() != user.name:
        raise Conflict("Type the name as it is written to erase this person.")
    await directory.erase(db, user)
    return render.redirect("/people?said=erased")


@router.get("/groups")
async def list_groups(
    request: Request, admin: CurrentAdmin, asked: Annotated[AskedGroups, Query()], db: Db
) -> Response:
    """Shows admins each group with its people and projects; of one group alone people who are further down."""
    found = await groups.page(db, size=GROUPS + 1, after=asked.after, only=asked.group)
    shown = [
        (view, await groups.people_before(db, view.group, size=PAGE_SIZE + 1, before=asked.before))
        for view in found[:GROUPS]
    ]
    return render.page(
        request,
        "groups/list.html",
        asked=asked,
        groups=shown,
        count=await groups.count(db),
        size=PAGE_SIZE,
        next=shown[-1][0].group.id if len(found) > GROUPS else None,
        projects=list(await db.scalars(projects.visible_to(admin))),
    )


@router.post("/groups")
async def create_group(admin: CurrentAdmin, form: Annotated[NewGroup, Form()], db: Db) -> Response:
    """Makes a group with nobody in it."""
    return _to(await groups.create(db, form.name))


@router.post("/groups/{group_id}/name")
async def rename_group(group_id: Id, admin: CurrentAdmin, form: Annotated[NewGroup, Form()], db: Db) -> Response:
    """Calls a group something else."""
    group = await groups.get(db, group_id)
    await groups.rename(db, group, form.name)
    return _to(group)


@router.post("/groups/{group_id}/remove")
async def remove_group(group_id: Id, admin: CurrentAdmin, db: Db) -> Response:
    """Dissolves a group; who was in a project by it alone is out of that project."""
    await groups.remove(db, await groups.get(db, group_id))
    return render.redirect("/groups")


@router.post("/groups/{group_id}/people")
async def put_into_group(group_id: Id, admin: CurrentAdmin, form: Annotated[Person, Form()], db: Db) -> Response:
    """Puts somebody who has an account into a group, and so into its projects."""
    group = await groups.get(db, group_id)
    await groups.put(db, group, await accounts.find_user(db, form.person))
    return _to(group)


@router.post("/groups/{group_id}/people/{user_id}/remove")
async def take_out_of_group(group_id: Id, user_id: Id, admin: CurrentAdmin, db: Db) -> Response:
    """Takes somebody out of a group, and so out of its projects."""
    group = await groups.get(db, group_id)
    await groups.take_out(db, group, user_id)
    return _to(group)


@router.post("/groups/{group_id}/projects")
async def give_group(group_id: Id, admin: CurrentAdmin, form: Annotated[Grant, Form()], db: Db) -> Response:
    """Gives a group to a project, or changes its role there."""
    group = await groups.get(db, group_id)
    await groups.give(db, group, await projects.get(db, admin, form.project), form.role)
    return _to(group)


@router.post("/groups/{group_id}/projects/{project_id}/remove")
async def withdraw_group(group_id: Id, project_id: Id, admin: CurrentAdmin, db: Db) -> Response:
    """Takes a group out of a project."""
    group = await groups.get(db, group_id)
    await groups.withdraw(db, group, project_id)
    return _to(group)


def _to(group: Group) -> Response:
    return render.redirect(f"/groups?group={group.id}#group-{group.id}")


async def _account(
    request: Request, user: User, admin_id: int, db: AsyncSession, *, link: str | None = None
) -> Response:
    devices, programs = await directory.ways_in(db, user)
    return render.page(
        request,
        "people/account.html",
        user=user,
        is_oneself=user.id == admin_id,
        memberships=await directory.memberships(db, user),
        devices=devices,
        programs=programs,
        link=link,
        link_hours=LINK_HOURS,
        said=request.query_params.get("said"),
    )
