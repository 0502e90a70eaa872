"""Projects as a whole by programs: made, changed, copied, archived and taken out, deleted."""

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project, Run
from app.services.projects.question import question_of
from tests.api.conftest import As, Client
from tests.browser.seed import Seeded

API = "/api/v1/projects"


@pytest.fixture
def owner(site: FastAPI, calling: As) -> Client:
    """Owns the seeded project and may make others."""
    site.state.settings = site.state.settings.model_copy(update={"project_creation": "everybody"})
    return calling("owner")


async def test_a_project_is_made_from_a_template_and_changed(owner: Client, db: AsyncSession) -> None:
    made = await owner.post(API, json={"name": "Kurze Texte", "template": "summaries"})
    assert made.status_code == 201
    assert made.json()["slug"] == "kurze-texte"
    assert (made.json()["role"], made.json()["setup_step"]) == ("owner", None)
    change = {"name": "Short", "overlap": 4, "question": {"answer_type": "best", "size": 3, "criteria": ["crisp"]}}
    changed = await owner.patch(f"{API}/kurze-texte", json=change)
    assert (changed.status_code, changed.json()["name"]) == (200, "Short")
    assert changed.json()["guidelines"] == made.json()["guidelines"]
    project = await db.scalar(select(Project).where(Project.slug == "kurze-texte"))
    assert project is not None
    assert (project.overlap, question_of(project).answer_type, question_of(project).criteria) == (4, "best", ("crisp",))
    for wrong, said in (
        ({"question": {"size": 1}}, "size"),
        ({"question": {"colour": "blue"}}, "colour"),
        ({"name": ""}, "name"),
        ({"slug": "other"}, "slug"),
    ):
        refused = await owner.patch(f"{API}/kurze-texte", json=wrong)
        assert (refused.status_code, said in refused.text) == (422, True)
    assert (await owner.post(API, json={"name": "X", "slug": "kurze-texte"})).status_code == 409
    assert (await owner.post(API, json={"name": "X", "template": "essay"})).status_code == 422


async def test_a_project_is_copied_with_its_prompts_by_a_run(owner: Client, db: AsyncSession, seeded: Seeded) -> None:
    copied = await owner.post(f"{API}/{seeded.project.slug}/copy", json={"name": "Again", "with_prompts": True})
    assert (copied.status_code, copied.json()["slug"]) == (201, "again")
    assert copied.json()["guidelines"] == seeded.project.guidelines
    listed = (await owner.get(f"{API}/again/runs")).json()["items"]
    assert [(run["stage"], run["state"]) for run in listed] == [("copy", "queued")]


async def test_a_project_rests_in_the_archive_and_comes_back(owner: Client, calling: As) -> None:
    await owner.post(API, json={"name": "Idle"})
    assert (await owner.post(f"{API}/idle/archive")).json()["archived_at"]
    assert (await owner.get(f"{API}/idle")).status_code == 404
    assert [found["slug"] for found in (await owner.get(f"{API}?archived=true")).json()["items"]] == ["idle"]
    assert (await calling("annotator").get(f"{API}?archived=true")).json()["items"] == []
    assert (await owner.post(f"{API}/idle/unarchive")).json()["archived_at"] is None
    assert (await owner.get(f"{API}/idle")).status_code == 200


async def test_a_project_at_work_is_not_archived_and_is_deleted_by_its_name(
    owner: Client, db: AsyncSession, seeded: Seeded
) -> None:
    place = f"{API}/{seeded.project.slug}"
    assert (await owner.post(f"{place}/archive")).status_code == 409
    assert (await owner.delete(place)).status_code == 422
    assert (await owner.delete(place, params={"name": "everyday-help"})).status_code == 422
    assert (await owner.delete(place, params={"name": "Everyday help"})).status_code == 202
    assert (await owner.get(place)).status_code == 404
    assert (await owner.get(API)).json()["items"] == []
    assert (await db.get_one(Run, seeded.ppo.id, populate_existing=True)).cancel_requested_at is not None


async def test_a_project_is_exported_by_a_run_and_downloaded_once_that_is_done(
    owner: Client, calling: As, db: AsyncSession, seeded: Seeded, site: FastAPI
) -> None:
    place = f"{API}/{seeded.project.slug}/exports"
    queued = await owner.post(place, json={"with_people": False})
    assert (queued.status_code, queued.json()["stage"], queued.json()["state"]) == (202, "pack", "queued")
    run = await db.get_one(Run, queued.json()["id"])
    assert (run.settings["with_models"], run.settings["with_people"]) == (False, False)
    assert (await owner.get(f"{place}/{run.id}")).status_code == 404
    run.state, run.finished_at = "succeeded", func.now()
    await db.commit()
    assert (await owner.get(f"{place}/{run.id}")).status_code == 404, "its file was removed"
    file = site.state.settings.home / str(run.folder) / f"{seeded.project.slug}.zip"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"whole")
    downloaded = await owner.get(f"{place}/{run.id}")
    assert (downloaded.content, downloaded.headers["content-type"]) == (b"whole", "application/zip")
    assert (await calling("reviewer").get(f"{place}/{run.id}")).status_code == 403
    assert (await owner.get(f"{place}/{seeded.sft.id}")).status_code == 404
