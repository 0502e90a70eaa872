"""A project as a whole through its page of settings: renamed, copied, archived and taken out, deleted, and by whom."""

import re
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Member, Project, Run
from app.services.loop.rounds import rounds
from app.services.projects.question import Question
from tests.factories import make_member, make_project, make_prompt, make_scene, make_task
from tests.web.conftest import SignIn

PAGE = "/projects/bread/settings"


@pytest.fixture
async def bread(db: AsyncSession) -> Project:
    project = await make_project(db, "bread", overlap=3)
    project.name = "Bread"
    project.question = Question(answer_type="six", criteria=("crisp",)).to_json()
    project.guidelines = "Crust first."
    project.round_settings = {"label_target": 7}
    await make_prompt(db, project)
    return project


@pytest.fixture
async def owner(sign_in: SignIn, db: AsyncSession, bread: Project) -> httpx.AsyncClient:
    return await sign_in(await make_member(db, bread, "owner"))


async def test_a_project_is_renamed_and_described_and_keeps_its_address(
    owner: httpx.AsyncClient, db: AsyncSession, bread: Project
) -> None:
    answer = await owner.post(PAGE, data={"name": " Sourdough ", "description": "Line one\r\nline two"})
    assert answer.headers["location"] == f"{PAGE}?saved=true"
    assert "Sourdough" in (await owner.get(PAGE)).text
    await db.refresh(bread)
    assert (bread.name, bread.description, bread.slug) == ("Sourdough", "Line one\nline two", "bread")
    refused = await owner.post(PAGE, data={"name": " ", "description": "Kept words"})
    assert (refused.status_code, "Kept words" in refused.text) == (422, True)


async def test_a_copy_has_the_settings_and_none_of_the_people(
    owner: httpx.AsyncClient, app: FastAPI, db: AsyncSession, bread: Project
) -> None:
    assert f'action="{PAGE}/copy"' not in (await owner.get(PAGE)).text
    assert (await owner.post(f"{PAGE}/copy")).status_code == 403
    app.state.settings = app.state.settings.model_copy(update={"project_creation": "everybody"})
    await make_member(db, bread)
    await db.commit()
    answer = await owner.post(f"{PAGE}/copy", data={"with_prompts": "true"})
    assert answer.headers["location"] == "/projects/copy-of-bread/settings"
    copied = await db.scalar(select(Project).where(Project.slug == "copy-of-bread"))
    assert copied is not None
    for name in ("overlap", "lease_seconds", "question", "guidelines", "round_settings", "checks", "policy_source"):
        assert getattr(copied, name) == getattr(bread, name), name
    assert list(await db.scalars(select(Member.role).where(Member.project_id == copied.id))) == ["owner"]
    run = await db.scalar(select(Run).where(Run.project_id == copied.id))
    assert run is not None
    assert (run.stage, run.settings["source_id"]) == ("copy", bread.id)


async def test_an_archived_project_is_gone_for_all_but_its_owners_who_take_it_out(
    owner: httpx.AsyncClient, sign_in: SignIn, db: AsyncSession, bread: Project
) -> None:
    await make_task(db, bread)
    reviewer = await sign_in(await make_member(db, bread, "reviewer"))
    annotator = await sign_in(await make_member(db, bread))
    assert (await owner.post(f"{PAGE}/archive")).headers["location"] == "/projects"
    for person in (reviewer, annotator, owner):
        for page in ("", "/annotate", "/people"):
            assert (await person.get(f"/projects/bread{page}")).status_code == 404
    for person in (reviewer, annotator):
        assert (await person.get(PAGE)).status_code == 404
        assert (await person.post(f"{PAGE}/unarchive")).status_code == 404
        assert "Bread" not in (await person.get("/projects")).text
    listed = (await owner.get("/projects")).text
    assert "One project is in the archive" in listed
    assert f'href="{PAGE}"' in listed
    assert "This project is in the archive" in (await owner.get(PAGE)).text
    assert (await owner.post(f"{PAGE}/unarchive")).headers["location"] == "/projects/bread"
    assert (await annotator.get("/projects/bread/annotate")).status_code == 200


async def test_a_project_at_work_is_not_archived(owner: httpx.AsyncClient, db: AsyncSession, bread: Project) -> None:
    await rounds.start(db, None, bread)
    await db.commit()
    refused = await owner.post(f"{PAGE}/archive")
    assert (refused.status_code, "cancel it first" in refused.text) == (409, True)
    assert (await owner.get("/projects/bread")).status_code == 200


async def test_a_project_is_deleted_by_its_name_alone(
    owner: httpx.AsyncClient, sign_in: SignIn, db: AsyncSession, bread: Project
) -> None:
    page = (await owner.get(PAGE)).text
    said = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page))
    assert "1 prompt, 0 responses, 0 demonstrations" in said
    assert "The account of its one member stays" in said
    refused = await owner.post(f"{PAGE}/delete", data={"name": "bread"})
    assert (refused.status_code, "Type the name of the project, Bread" in refused.text) == (422, True)
    assert (await owner.get("/projects/bread")).status_code == 200
    await rounds.start(db, None, bread)
    await db.commit()
    assert (await owner.post(f"{PAGE}/delete", data={"name": "Bread"})).headers["location"] == "/projects"
    admin = await sign_in(await make_member(db, await make_project(db), "owner"))
    for person in (owner, admin):
        assert (await person.get("/projects/bread")).status_code == 404
        assert (await person.get(PAGE)).status_code == 404
        assert "Bread" not in (await person.get("/projects")).text
    runs = await db.execute(select(Run.stage, Run.state).where(Run.project_id == bread.id))
    assert [tuple(run) for run in runs] == [("remove", "queued")]


async def test_who_is_no_owner_changes_nothing(sign_in: SignIn, db: AsyncSession, bread: Project) -> None:
    reviewer = await sign_in(await make_member(db, bread, "reviewer"))
    annotator = await sign_in(await make_member(db, bread))
    outsider = await sign_in((await make_scene(db))[2])
    assert 'method="post" action="/projects/bread' not in (await reviewer.get(PAGE)).text
    for person, status in ((reviewer, 403), (annotator, 403), (outsider, 404)):
        for action in ("", "/copy", "/archive", "/unarchive", "/delete"):
            assert (await person.post(f"{PAGE}{action}", data={"name": "Bread"})).status_code == status, action
    assert (await annotator.get(PAGE)).status_code == 403
    await db.refresh(bread)
    assert (bread.name, bread.archived_at, bread.removal_asked_at) == ("Bread", None, None)


async def test_an_export_is_queued_watched_and_downloaded_by_owners(
    owner: httpx.AsyncClient, sign_in: SignIn, app: FastAPI, db: AsyncSession, bread: Project, tmp_path: Path
) -> None:
    app.state.settings = app.state.settings.model_copy(update={"home": tmp_path})
    assert (await owner.post(f"{PAGE}/export", data={"pseudonyms": "true"})).status_code == 303
    run = await db.scalar(select(Run).where(Run.stage == "pack"))
    assert run is not None
    assert run.settings["with_people"] is False
    assert f'href="/projects/bread/runs/{run.id}"' in (await owner.get(PAGE)).text
    run.state, run.finished_at, run.result = "succeeded", func.now(), {"size_bytes": 1_400_000, "rows_packed": 3}
    await db.commit()
    page = (await owner.get(PAGE)).text
    assert f'href="{PAGE}/exports/{run.id}"' in page
    assert "1.4 MB" in page
    file = tmp_path / str(run.folder) / "bread.zip"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"whole")
    assert (await owner.get(f"{PAGE}/exports/{run.id}")).content == b"whole"
    reviewer = await sign_in(await make_member(db, bread, "reviewer"))
    assert (await reviewer.get(f"{PAGE}/exports/{run.id}")).status_code == 403
    assert (await reviewer.post(f"{PAGE}/export")).status_code == 403
