"""A new project through the forms of its pages, one by one, left and taken up again, and by whom."""

import re
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Invitation, Project, Run
from app.security import Principal
from app.services.loop.models import models
from app.services.projects.question import question_of
from app.services.projects.templates import TEMPLATES
from tests.factories import make_member, make_project, make_prompt, make_task, make_user, principal
from tests.services.loop.test_base_models import write_model
from tests.web.conftest import SignIn


@pytest.fixture
async def admin(db: AsyncSession) -> Principal:
    return principal(await make_user(db, "Ada", is_admin=True))


@pytest.fixture
async def browser(sign_in: SignIn, admin: Principal) -> httpx.AsyncClient:
    return await sign_in(admin)


async def test_the_whole_way_with_every_default_ends_with_a_question_and_people(
    browser: httpx.AsyncClient, db: AsyncSession
) -> None:
    assert 'href="/projects/new"' in (await browser.get("/projects")).text
    place = await send(browser, "/projects/new", name="Crème brûlée", template="summaries")
    assert place == "/projects/creme-brulee/setup/compare"
    for _ in range(2):
        place = await send(browser, place)
    assert place == "/projects/creme-brulee/setup/question"
    form = fields_of((await browser.get(place)).text)
    assert form["criteria"] == "accurate\ncomplete\nconcise"
    place = await send(browser, place, **form)
    assert place == "/projects/creme-brulee/setup/people"
    done = await browser.post(place, data={"people": "Bo\r\nbo2@example.org\r\nCleo <cleo@example.org>"})
    assert done.status_code == 200
    links = re.findall(r">http[^<]+(/invitations/[^<]+)<", done.text)
    assert len(links) == 3
    project = await named(db, "creme-brulee")
    assert (project.name, project.setup_step) == ("Crème brûlée", None)
    assert question_of(project).criteria == ("accurate", "complete", "concise")
    assert project.guidelines.startswith("Choose the summary")
    assert (await browser.get(links[1])).status_code == 200
    invited = await db.execute(select(Invitation.name, Invitation.email, Invitation.role).order_by(Invitation.id))
    assert [tuple(row) for row in invited] == [
        ("Bo", None, "annotator"),
        ("", "bo2@example.org", "annotator"),
        ("Cleo", "cleo@example.org", "annotator"),
    ]


async def test_a_project_that_was_left_is_taken_up_where_it_was(browser: httpx.AsyncClient, db: AsyncSession) -> None:
    place = await send(browser, "/projects/new", name="Later")
    await send(browser, place)
    listed = (await browser.get("/projects")).text
    assert "Continue setting up" in listed
    assert 'href="/projects/later/setup"' in listed
    assert (await browser.get("/projects/later/setup")).headers["location"] == "/projects/later/setup/writers"
    # Going back to an earlier step takes nothing back.
    await send(browser, "/projects/later/setup/compare")
    assert (await named(db, "later")).setup_step == "writers"
    for step in ("writers", "question", "people"):
        await send(browser, f"/projects/later/setup/{step}", people="", **question_fields())
    assert (await browser.get("/projects/later/setup")).headers["location"] == "/projects/later/setup/done"
    assert "Continue setting up" not in (await browser.get("/projects")).text


async def test_every_template_makes_a_question_that_can_be_shown_and_saved(
    browser: httpx.AsyncClient, db: AsyncSession
) -> None:
    for template in TEMPLATES.values():
        place = await send(browser, "/projects/new", name=f"For {template.name}", template=template.name)
        page = place.replace("compare", "question")
        shown = await browser.get(page)
        assert shown.status_code == 200
        before = question_of(await named(db, f"for-{template.name}"))
        await send(browser, page, **fields_of(shown.text))
        db.expire_all()
        assert question_of(await named(db, f"for-{template.name}")) == before
    assert before.criteria
    assert question_of(await named(db, "for-safety")).asks_harm
    assert question_of(await named(db, "for-ranking")).size == 4


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Møøse & Łódź straße", "moose-lodz-strasse"),
        ("日本語", "project"),
        ("Ответы 7", "7"),
        ("new", "new-2"),
        ("a" * 199, "a" * 60),
    ],
)
async def test_an_address_comes_from_a_name_in_any_script(browser: httpx.AsyncClient, name: str, slug: str) -> None:
    assert await send(browser, "/projects/new", name=name) == f"/projects/{slug}/setup/compare"
    again = re.sub(r"-2$", "", slug)
    assert (await send(browser, "/projects/new", name=name)).startswith(f"/projects/{again}-")


async def test_what_can_not_be_a_project_is_said_and_what_was_typed_is_kept(
    browser: httpx.AsyncClient, db: AsyncSession
) -> None:
    await make_project(db, "taken")
    await db.commit()
    for wrong, status, said in (
        ({"name": "  "}, 422, "A project needs a name."),
        ({"name": "x" * 201}, 422, "at most 200"),
        ({"slug": "No Good"}, 422, "small letters"),
        ({"slug": "taken"}, 409, "already a project taken"),
        ({"slug": "new"}, 409, "No project can be called new"),
        ({"template": "essay"}, 422, "no template essay"),
    ):
        answer = await browser.post("/projects/new", data={"name": "Fine", "description": "Kept words", **wrong})
        assert (answer.status_code, said in answer.text, "Kept words" in answer.text) == (status, True, True), wrong
    assert await db.scalar(select(func.count()).select_from(Project)) == 1


async def test_who_may_make_projects_is_a_setting(sign_in: SignIn, app: FastAPI, db: AsyncSession) -> None:
    stranger = await sign_in(principal(await make_user(db)))
    assert "/projects/new" not in (await stranger.get("/projects")).text
    assert (await stranger.get("/projects/new")).status_code == 403
    assert (await stranger.post("/projects/new", data={"name": "Mine"})).status_code == 403
    app.state.settings = app.state.settings.model_copy(update={"project_creation": "everybody"})
    assert "/projects/new" in (await stranger.get("/projects")).text
    assert await send(stranger, "/projects/new", name="Mine") == "/projects/mine/setup/compare"


async def test_only_owners_set_a_project_up(sign_in: SignIn, db: AsyncSession) -> None:
    project = await make_project(db, "theirs")
    project.setup_step = "compare"
    reviewer = await sign_in(await make_member(db, project, "reviewer"))
    annotator = await sign_in(await make_member(db, project))
    outsider = await sign_in(await make_member(db, await make_project(db), "owner"))
    for person, status in ((reviewer, 403), (annotator, 403), (outsider, 404)):
        for step in ("", "/compare", "/writers", "/question", "/people", "/done"):
            assert (await person.get(f"/projects/theirs/setup{step}")).status_code == status
        for step in ("compare", "writers", "question", "people"):
            assert (await person.post(f"/projects/theirs/setup/{step}")).status_code == status
        assert (await person.post("/projects/theirs/question/preview")).status_code == status
    assert (await named(db, "theirs")).setup_step == "compare"
    listed = (await reviewer.get("/projects")).text
    assert "Continue setting up" not in listed


async def test_a_list_of_people_that_is_sent_twice_invites_nobody_twice(
    browser: httpx.AsyncClient, db: AsyncSession
) -> None:
    place = (await send(browser, "/projects/new", name="Twice")).replace("compare", "people")
    (key,) = re.findall(r'name="key" value="([^"]+)"', (await browser.get(place)).text)
    form = {"key": key, "people": "Bo\ngrace@example.org"}
    first, second = await browser.post(place, data=form), await browser.post(place, data=form)
    assert re.findall("/invitations/[^<]+", first.text) == re.findall("/invitations/[^<]+", second.text) != []
    assert await db.scalar(select(func.count()).select_from(Invitation)) == 2
    refused = await browser.post(place, data={"people": "Dora\nnot an@address@"})
    assert refused.status_code == 422
    assert "Dora" in refused.text


async def test_the_last_page_leads_to_what_the_project_can_do(browser: httpx.AsyncClient, db: AsyncSession) -> None:
    await send(browser, "/projects/new", name="Ready")
    assert "waits for something to compare" in (await browser.get("/projects/ready/setup/done")).text
    assert "Waits for prompts" not in (await browser.get("/projects")).text  # it isn't set up yet
    project = await named(db, "ready")
    await make_task(db, project)
    project.setup_step = None
    await db.commit()
    page = (await browser.get("/projects/ready/setup/done")).text
    assert "One task waits to be judged." in page
    assert 'href="/projects/ready/annotate"' in page
    assert "One task waits to be judged." in (await browser.get("/projects")).text
    assert 'id="pair"' in (await browser.get("/projects/ready/annotate")).text


async def test_the_preview_shows_the_projects_first_texts_and_follows_the_form(
    browser: httpx.AsyncClient, db: AsyncSession
) -> None:
    await send(browser, "/projects/new", name="Shown")
    preview = "/projects/shown/question/preview"
    made_up = (await browser.post(preview, data=question_fields())).text
    assert "With made-up texts" in made_up
    assert 'id="pane-b"' in made_up
    assert 'id="pane-c"' not in made_up
    await make_task(db, await named(db, "shown"), "Gently, gently.", "In a shoe!")
    await db.commit()
    asked = {
        **question_fields(),
        "answer_type": "ranking",
        "size": "3",
        "flags": "Smells odd",
        "guidelines": "Be *kind*.",
    }
    own = (await browser.post(preview, data=asked)).text
    assert "With the first texts" in own
    assert "Gently, gently." in own
    assert 'id="pane-c"' in own
    assert "Smells odd" in own
    assert "Be <em>kind</em>." in own
    assert "inert" in own
    refused = await browser.post(preview, data={**asked, "size": "2"})
    assert refused.status_code == 200
    assert "three to nine" in refused.text
    assert (await named(db, "shown")).question == {}


async def test_without_script_a_button_shows_the_preview_and_saves_nothing(
    browser: httpx.AsyncClient, db: AsyncSession
) -> None:
    await send(browser, "/projects/new", name="Plain")
    asked = {**question_fields(), "answer_type": "best", "size": "3", "guidelines": "Typed.", "preview": "true"}
    for page in ("/projects/plain/question", "/projects/plain/setup/question"):
        shown = await browser.post(page, data=asked)
        assert shown.status_code == 200
        assert 'id="pane-c"' in shown.text
        assert "Typed." in shown.text
    project = await named(db, "plain")
    assert (project.question, project.guidelines_version) == ({}, 1)


async def test_a_model_is_checked_on_the_spot_and_taken_only_where_it_can_be_used(
    browser: httpx.AsyncClient, db: AsyncSession, tmp_path: Path
) -> None:
    page = (await send(browser, "/projects/new", name="Own model")).replace("compare", "writers")
    model = str(write_model(tmp_path / "model"))
    checked = await browser.post(page, data={"writer": "none", "model": model, "check": "true"})
    assert checked.status_code == 200
    for said in ("llama", "264", "apache-2.0", "512 tokens", "fits"):
        assert said in checked.text
    assert (await named(db, "own-model")).policy_source is None
    refused = await browser.post(page, data={"writer": "model", "model": str(tmp_path / "nowhere")})
    assert (refused.status_code, "There is no model at" in refused.text) == (422, True)
    assert await send(browser, page, writer="none", model=model) == "/projects/own-model/setup/question"
    project = await named(db, "own-model")
    assert project.policy_source == model
    assert f'value="{model}"' in (await browser.get(page)).text
    await make_prompt(db, project)
    await db.commit()
    assert "Let the model write" in (await browser.get("/projects/own-model/setup/done")).text
    settings = "/projects/own-model/settings/model"
    await send(browser, "/projects/own-model/runs", stage="adopt")
    busy = await browser.post(settings, data={"model": ""})
    assert (busy.status_code, "A run works on the model" in busy.text) == (409, True)
    await db.execute(delete(Run))
    await db.commit()
    assert await send(browser, settings, model="") == "/projects/own-model/settings?saved=true"
    assert (await named(db, "own-model")).policy_source is None


async def test_an_owner_brings_a_model_which_waits_where_a_policy_is_in_use(
    browser: httpx.AsyncClient, db: AsyncSession, tmp_path: Path
) -> None:
    model = str(write_model(tmp_path / "model"))
    project = await make_project(db, "bringing")
    await db.commit()
    page = f"/projects/{project.slug}/models"
    looked_at = await browser.post(page, data={"location": model, "check": "true"})
    assert looked_at.status_code == 200
    for said in ("llama", "264", "apache-2.0", "512 tokens", "fits"):
        assert said in looked_at.text
    assert await db.scalar(select(func.count(Run.id))) == 0
    refused = await browser.post(page, data={"location": str(tmp_path / "nowhere")})
    assert (refused.status_code, "There is no model at" in refused.text) == (422, True)
    assert "writes the first responses" in (await browser.get(page)).text
    taken = await browser.post(page, data={"location": model})
    run = (await db.scalars(select(Run))).one()
    assert taken.headers["location"] == f"/projects/{project.slug}/runs/{run.id}"
    assert (run.stage, run.settings["model"]) == ("adopt", model)
    await db.refresh(project)
    assert project.policy_source == model
    first = await models.register(
        db, project_id=project.id, kind="policy", run_id=run.id, folder="x", manifest_sha256="0" * 64, figures={}
    )
    await models.promote(db, None, first)
    await db.commit()
    assert "waits to be promoted" in (await browser.get(page)).text
    second = str(write_model(tmp_path / "second"))
    assert (await browser.post(page, data={"location": second})).status_code == 303
    await db.refresh(project)
    assert project.policy_source == model, "what policies start from is changed in the settings"
    newest = (await db.scalars(select(Run).order_by(Run.id.desc()).limit(1))).one()
    assert (newest.stage, newest.settings["model"]) == ("adopt", second)


async def test_an_owner_names_models_of_allowed_folders_alone(
    sign_in: SignIn, app: FastAPI, db: AsyncSession, tmp_path: Path
) -> None:
    model = str(write_model(tmp_path / "shared" / "model"))
    project = await make_project(db, "theirs")
    owner = await sign_in(await make_member(db, project, "owner"))
    refused = await owner.post("/projects/theirs/setup/writers", data={"writer": "model", "model": model})
    assert (refused.status_code, "take models from there" in refused.text) == (422, True)
    app.state.settings = app.state.settings.model_copy(update={"model_folders": str(tmp_path / "shared")})
    await send(owner, "/projects/theirs/setup/writers", writer="model", model=model)
    assert (await named(db, "theirs")).policy_source == model


async def send(browser: httpx.AsyncClient, page: str, **form: str) -> str:
    """Where the form leads."""
    answer = await browser.post(page, data=form)
    assert answer.status_code == 303, (page, answer.status_code, answer.text[:2000])
    return answer.headers["location"]


async def named(db: AsyncSession, slug: str) -> Project:
    project = await db.scalar(select(Project).where(Project.slug == slug).execution_options(populate_existing=True))
    assert project is not None
    return project


def question_fields() -> dict[str, str]:
    return {"answer_type": "seven", "guidelines": "", "overlap": "1"}


def fields_of(html: str) -> dict[str, str]:
    """What a browser would send of the question's form as it is shown."""
    (form,) = re.findall(r'<form method="post" action="[^"]+/question".*?</form>', html, flags=re.DOTALL)
    fields = dict(re.findall(r'<textarea [^>]*name="([^"]+)"[^>]*>(.*?)</textarea>', form, flags=re.DOTALL))
    for tag in re.findall(r"<input [^>]+>", form):
        kind, name, value = (attribute(tag, part) for part in ("type", "name", "value"))
        if kind == "number" or " checked" in tag:
            fields[name] = value
    for name, options in re.findall(r'<select [^>]*name="([^"]+)"[^>]*>(.*?)</select>', form, flags=re.DOTALL):
        fields[name] = re.findall(r'value="([^"]+)" selected', options)[0]
    return {name: value.replace("&#39;", "'") for name, value in fields.items()}


def attribute(tag: str, name: str) -> str:
    found = re.search(rf' {name}="([^"]*)"', tag)
    return found[1] if found else ""
