"""Projects: who sees them and who may do what."""

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import Conflict, Forbidden, Invalid, NotFound
from app.services.projects import projects
from app.settings import settings
from tests.factories import make_member, make_project, make_user, principal


async def test_members_see_their_projects_and_nobody_else_s(db: AsyncSession) -> None:
    here, there = await make_project(db), await make_project(db)
    ada = await make_member(db, here)
    assert (await projects.get(db, ada, here.slug)).id == here.id
    for slug in (there.slug, "no-such-project"):
        with pytest.raises(NotFound, match="nothing here"):
            await projects.get(db, ada, slug)
    assert [project.id for project in await db.scalars(projects.visible_to(ada))] == [here.id]


async def test_an_admin_sees_all_projects_and_owns_them(db: AsyncSession) -> None:
    here, there = await make_project(db), await make_project(db)
    admin = principal(await make_user(db, is_admin=True))
    assert {project.id for project in await db.scalars(projects.visible_to(admin))} == {here.id, there.id}
    assert await projects.role_of(db, admin, here) == "owner"


async def test_a_role_that_is_not_enough_is_refused(db: AsyncSession) -> None:
    project = await make_project(db)
    ada, stranger = await make_member(db, project, "annotator"), principal(await make_user(db))
    assert await projects.require_role(db, ada, project, "annotator", "owner") == "annotator"
    for actor in (ada, stranger):
        with pytest.raises(Forbidden):
            await projects.require_role(db, actor, project, "reviewer", "owner")


async def test_who_creates_a_project_owns_it_and_roles_can_change(db: AsyncSession) -> None:
    user = await make_user(db)
    project = await projects.create(db, slug="my-project-2", name=" Mine ", owner_id=user.id, overlap=3)
    assert (project.name, project.overlap) == ("Mine", 3)
    assert project.lease_seconds == settings().assignment_lease_seconds
    assert await projects.role_of(db, principal(user), project) == "owner"
    await projects.add_member(db, project, user.id, "reviewer")
    assert await projects.role_of(db, principal(user), project) == "reviewer"


@pytest.mark.parametrize("slug", ["", "Big", "two  words", "-a", "a-", "a--b", "ä", "a" * 81, "a\n"])
async def test_a_short_name_must_fit_into_an_address(db: AsyncSession, slug: str) -> None:
    with pytest.raises(Invalid, match="short name"):
        await projects.create(db, slug=slug, name="Name", owner_id=None)


async def test_a_short_name_is_taken_once(db: AsyncSession) -> None:
    await make_project(db, "taken")
    with pytest.raises(Conflict, match="already a project taken"):
        await projects.create(db, slug="taken", name="Name", owner_id=None)
    with pytest.raises(Invalid, match="needs a name"):
        await projects.create(db, slug="nameless", name=" ", owner_id=None)
