"""What was to go and couldn't is shown to its owner, who lets it be tried again."""

from html import unescape
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Member, Project, Prompt, Run, User
from app.services.erasure.targets import Target
from app.services.loop.chores import erasing, lifecycle
from app.services.loop.runs import runs
from app.services.projects import contents
from tests.jobs.loop import Loop
from tests.jobs.test_project_files import app, person

__all__ = ["app"]


async def own(db: AsyncSession, project: Project, name: str) -> None:
    user_id = (await db.scalars(select(User.id).where(User.name == name))).one()
    db.add(Member(project_id=project.id, user_id=user_id, role="owner"))


async def test_a_removal_that_was_given_up_is_shown_to_the_owner_who_lets_it_be_tried_again(
    loop: Loop, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = await loop.make_project()
    ada, bo = await person(loop, app, "Ada"), await person(loop, app, "Bo")
    await loop.do(lambda db: own(db, project, "Ada"))

    async def ask(db: AsyncSession) -> None:
        found = await db.get_one(Project, project.id)
        await lifecycle.ask_removal(db, found, name=found.name)

    async def broken(_db: AsyncSession, _project_id: int) -> Any:
        raise OSError("Permission denied: models")

    await loop.do(ask)
    said = "Deleted, but not all of it is gone"
    assert said not in (await ada.get("/projects")).text
    with monkeypatch.context() as patch:
        patch.setattr(contents, "remove", broken)
        await loop.work_off()
    seen = (await ada.get("/projects")).text
    assert said in seen
    assert f"<bdi>{project.name}</bdi>" in seen
    assert "Permission denied: models" in seen
    assert said not in (await bo.get("/projects")).text
    again = f"/projects/{project.slug}/removal/retry"
    assert (await bo.post(again)).status_code == 404
    assert (await ada.post(again)).status_code == 303
    assert said not in (await ada.get("/projects")).text
    await loop.work_off()
    assert await loop.do(lambda db: db.get(Project, project.id)) is None


async def test_an_erasure_that_was_given_up_is_shown_where_it_was_asked_for(loop: Loop, app: FastAPI) -> None:
    project = await loop.make_project()
    ada = await person(loop, app, "Ada")
    await loop.do(lambda db: own(db, project, "Ada"))

    async def ask(db: AsyncSession) -> tuple[int, Run, Run]:
        prompt_id = (await db.scalars(select(Prompt.id).where(Prompt.project_id == project.id).limit(1))).one()
        busy = await runs.queue_run(db, project_id=project.id, stage="evaluate", settings={})
        return prompt_id, busy, await erasing.start(db, None, project, Target("prompt", prompt_id), files=True)

    prompt_id, busy, erasure = await loop.do(ask)
    page = f"/projects/{project.slug}/erase/prompt/{prompt_id}"
    assert "nothing was erased" not in (await ada.get(page)).text
    assert (await loop.execute(erasure)).state == "failed"
    seen = unescape((await ada.get(page)).text)
    assert "nothing was erased" in seen
    assert "A run of this project that may have read it is under way" in seen

    async def settle(db: AsyncSession) -> None:
        await runs.request_cancel(db, None, await db.get_one(Run, busy.id))
        await runs.retry(db, None, await db.get_one(Run, erasure.id))

    await loop.do(settle)
    await loop.work_off()
    assert (await loop.read(erasure)).state == "succeeded"
    assert "nothing was erased" not in (await ada.get(page)).text
