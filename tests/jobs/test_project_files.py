"""A whole project comes in through the browser's door: exported, sent in, looked at, and made again by a worker."""

import hashlib
import io
import json
import re
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import ApiToken, Demonstration, Member, Project, ProjectFile, Prompt, Run, User
from app.jobs import reaper
from app.security import Principal
from app.services import accounts
from app.services.data.storing.uploads import FILE
from app.services.loop.runs import starting
from app.services.projects import packed_file
from app.settings import Settings
from tests.browser.people import session_token
from tests.factories import make_user
from tests.jobs.loop import Loop
from tests.jobs.test_removal import turned
from tests.jobs.test_whole_project import check_files, named, read
from tests.sites import site_of
from tests.web.conftest import HOST, client_of

NEW = "/projects/new/file"
Entries = dict[str, bytes]


@pytest.fixture
async def app(database_url: str, home: Path) -> AsyncIterator[FastAPI]:
    settings = Settings(database_url=database_url, trusted_hosts=HOST, home=home, project_creation="everybody")
    app = site_of(settings)
    async with app.router.lifespan_context(app):
        yield app


async def person(loop: Loop, app: FastAPI, name: str, *, is_admin: bool = False) -> httpx.AsyncClient:
    """Somebody's browser, which is signed in, with a token for the API, too."""

    async def make(db: AsyncSession) -> tuple[str, str]:
        user = User(name=name, email=f"{name.lower()}@example.org", is_admin=is_admin)
        db.add(user)
        await db.flush()
        principal = Principal(user.id, name, is_admin=is_admin)
        token = await accounts.create_api_token(db, user.id, name="test")
        return await session_token(db, principal), token

    session, token = await loop.do(make)
    client = client_of(app)
    client.cookies.set("session", session, domain=HOST)
    client.headers["Authorization"] = f"Bearer {token}"
    return client


def sent(content: bytes, name: str = "bread.zip") -> dict[str, tuple[str, bytes, str]]:
    return {"file": (name, content, "application/zip")}


async def run_of(browser: httpx.AsyncClient, answer: httpx.Response) -> tuple[str, int]:
    """Slug and run of the page that a form has led to."""
    assert answer.status_code == 303, answer.text
    page = (await browser.get(answer.headers["location"])).text
    (found,) = re.findall(r'href="/projects/([^/"]+)/runs/(\d+)"', page)
    return found[0], int(found[1])


async def exported(loop: Loop, project: Project, *, with_models: bool = False) -> bytes:
    async def queue(db: AsyncSession) -> Run:
        found = await db.get_one(Project, project.id)
        return await starting.start(db, None, found, "pack", inputs={"with_models": with_models, "with_people": True})

    done = await loop.execute(await loop.do(queue))
    return (loop.context.home / str(done.folder) / f"{project.slug}.zip").read_bytes()


async def test_a_project_goes_out_by_one_page_and_comes_in_whole_by_another(
    loop: Loop, app: FastAPI, tmp_path: Path
) -> None:
    project = await turned(loop)
    ada = await person(loop, app, "Ada", is_admin=True)
    settings = f"/projects/{project.slug}/settings"
    await ada.post(f"{settings}/export", data={"with_models": "true"})
    await loop.work_off()
    (run,) = await loop.do(lambda db: runs(db, project, "pack"))
    before = await ada.get(f"{settings}/exports/{run.id}")
    assert f'href="{NEW}"' in (await ada.get("/projects/new")).text

    looked_at = await ada.post(NEW, files=sent(before.content))
    page = await ada.get(looked_at.headers["location"])
    assert page.status_code == 200
    assert f"bread.zip holds the project {project.name}." in page.text
    assert "The files of its models are in it." in page.text
    assert await loop.do(lambda db: db.scalar(select(Run.id).where(Run.stage == "unpack"))) is None
    made = {"name": "Again", "slug": "again"}
    here = looked_at.headers["location"]
    slug, run_id = await run_of(ada, await ada.post(here, data=made))
    assert (slug, await run_of(ada, await ada.post(here, data=made))) == ("again", ("again", run_id))
    assert "bread.zip is coming in." in (await ada.get(here)).text
    assert "waits for a worker" in (await ada.get(f"/projects/again/runs/{run_id}")).text
    await loop.work_off()
    watched = (await ada.get(f"/projects/again/runs/{run_id}")).text
    assert 'href="/projects/again">Go to the project' in watched
    assert 'href="/projects/again">Go to the project' in (await ada.get(f"{here}/state")).text
    assert (await ada.get(here)).headers["location"] == "/projects/again"
    again = await named(loop, "again")
    assert again.name == "Again"
    await loop.do(lambda db: check_files(db, loop.context.home, again))
    assert not list((loop.context.home / "imports").rglob(FILE)), "the file isn't needed any more"

    # What is exported from it is what came in, but for the run that took it in, which is counted among the others.
    first, second = tmp_path / "first.zip", tmp_path / "second.zip"
    first.write_bytes(before.content)
    second.write_bytes(await exported(loop, again, with_models=True))
    then, now = ({name: rows_of(content) for name, content in read(file).items()} for file in (first, second))
    for table in ("runs", "members", "metrics"):
        del then[f"tables/{table}.jsonl"], now[f"tables/{table}.jsonl"]
    assert (now["project"][0].pop("slug"), now["project"][0].pop("name")) == ("again", "Again")
    assert (then["project"][0].pop("slug"), then["project"][0].pop("name")) == (project.slug, project.name)
    assert len(then["tables/judgements.jsonl"]) == 4
    assert now == then
    await loop.start_round(again)
    await loop.work_off()
    await loop.judge(again, 4)


async def test_who_has_opened_somebodys_account_does_not_read_the_project_that_a_file_brings_them_into(
    loop: Loop, app: FastAPI
) -> None:
    project = await loop.make_project()
    root, bo = await person(loop, app, "Root", is_admin=True), await person(loop, app, "Bo")

    async def join(db: AsyncSession) -> None:
        found = (await db.scalars(select(User).where(User.name == "Bo"))).one()
        db.add(Member(project_id=project.id, user_id=found.id, role="annotator"))
        stranger = await make_user(db)
        await db.execute(update(ApiToken).where(ApiToken.user_id == found.id).values(vouched_by_id=stranger.id))

    await loop.do(join)
    assert (await bo.get(f"/api/v1/projects/{project.slug}")).status_code == 200
    looked_at = await root.post(NEW, files=sent(await exported(loop, project)))
    await root.post(looked_at.headers["location"], data={"name": "Again", "slug": "again"})
    await loop.work_off()
    assert (await root.get("/projects/again/people")).status_code == 200
    assert (await bo.get("/api/v1/projects/again")).status_code == 401


async def test_who_is_no_admin_takes_nobody_along_and_what_is_no_projects_file_makes_nothing(
    loop: Loop, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, other = await loop.make_project(), await loop.make_project()
    bo = await person(loop, app, "Bo")
    await person(loop, app, "Cy")

    async def join(db: AsyncSession) -> int:
        for name in ("Bo", "Cy"):
            user_id = await db.scalar(select(User.id).where(User.name == name))
            assert user_id is not None
            db.add(Member(project_id=project.id, user_id=user_id, role="owner"))
        found = await db.get_one(Project, project.id)
        found.policy_source = "/etc"
        stolen = await db.scalar(select(Prompt.id).where(Prompt.project_id == other.id))
        assert stolen is not None
        return stolen

    stolen = await loop.do(join)
    whole = await exported(loop, project)
    looked_at = await bo.post(NEW, files=sent(whole))
    page = (await bo.get(looked_at.headers["location"])).text
    assert "Apart from you, everybody in it becomes an account that nobody can sign in to." in page
    assert "Policies start from a model that is not here" in page
    other_browser = await person(loop, app, "Di")
    assert (await other_browser.get(looked_at.headers["location"])).status_code == 404
    slug, _ = await run_of(bo, await bo.post(looked_at.headers["location"], data={"name": "Mine"}))
    await loop.work_off()
    mine = await named(loop, slug)
    assert (mine.name, mine.policy_source) == ("Mine", None)
    members = await loop.do(lambda db: members_of(db, mine))
    assert [entry for entry in members if entry[2] is None] == [("Bo", "bo@example.org", None)]
    assert ("Cy", None) in {(name, email) for name, email, _ in members}

    async def refusal(change: Callable[[Entries], None]) -> str:
        """What the page says of a file that was changed so, or the run that was to take it in."""
        answer = await bo.post(NEW, files=sent(changed(whole, change)))
        if answer.status_code != 303:
            assert answer.status_code == 422
            return answer.text
        page = answer.headers["location"]
        slug, run_id = await run_of(bo, await bo.post(page, data={"name": "No", "slug": ""}))
        await loop.work_off()
        run = await loop.do(lambda db: db.get_one(Run, run_id))
        assert run.state == "failed"
        assert (await bo.get(f"/projects/{slug}")).status_code == 404
        await reaper.look_around(loop.context)
        await loop.work_off()
        for table, of in ((Project, Project.slug == slug), (Run, Run.id == run_id)):
            assert not await loop.do(lambda db, table=table, of=of: db.scalar(select(table.id).where(of)))  # type: ignore[misc]
        assert not (loop.context.home / "datasets" / slug).exists()
        assert not list((loop.context.home / "imports").rglob(FILE))
        assert (await bo.post(page, data={"name": "No"})).headers["location"] == page
        said = (await bo.get(page)).text
        assert "could not be taken in." in said
        assert "Nothing was made." in said
        refused = await bo.get(f"/api/v1/project-files/{page.rpartition('/')[2]}")
        assert (refused.status_code, refused.json()["detail"][:28]) == (422, "The file could not be taken ")
        return said

    def manifest(**said: Any) -> Callable[[Entries], None]:
        return lambda entries: entries.update({"manifest.json": json.dumps(said_in(entries) | said).encode()})

    def extra(name: str) -> Callable[[Entries], None]:
        return lambda entries: entries.update({name: b"x"})

    def row_of(table: str, **said: Any) -> Callable[[Entries], None]:
        def put(entries: Entries) -> None:
            name = f"tables/{table}.jsonl"
            first, *rest = entries[name].splitlines()
            entries[name] = b"\n".join([json.dumps(json.loads(first) | said).encode(), *rest, b""])

        return put

    damaged = "is not a project’s file, or is damaged".replace("’", "&#39;")
    assert damaged in (await bo.post(NEW, files=sent(b"no zip"))).text
    assert damaged in (await bo.post(NEW, files=sent(whole[:-40]))).text
    assert "its format is 7" in await refusal(manifest(format=7))
    assert "made by a newer version of Plumbline: it holds dreams" in await refusal(
        manifest(tables={"dreams": {"rows": 0, "ids": None}})
    )
    for outside in ("files/runs/1/../../x", f"files/runs/{10**12}/x", "files/models/other/x/y", "x", "../x"):
        assert "can&#39;t be one of a project" in await refusal(extra(outside)), outside
    assert "The file names what it doesn&#39;t hold: prompts" in await refusal(
        row_of("demonstrations", prompt_id=stolen)
    )
    assert "The file names what it doesn&#39;t hold: prompts" in await refusal(row_of("prompts", id=10**9))
    assert "can&#39;t be one of a project" in await refusal(row_of("prompts", split="dreamt"))
    assert "prompts.hats" in await refusal(row_of("prompts", hats=3))
    with monkeypatch.context() as patch:
        patch.setattr(packed_file, "MOST_VALUES", 5_000)
        assert damaged in await refusal(manifest(more=[{}] * 6_000))
        patch.setattr(packed_file, "SMALL_BYTES", 1_000_000)
        patch.setattr(packed_file, "MOST_UNPACKED_TIMES", 20)
        assert "unpacks to 50 MB" in await refusal(lambda entries: entries.update({"people.jsonl": b" " * 50_000_000}))
    app.state.settings = app.state.settings.model_copy(update={"upload_megabytes": 1})
    assert (await bo.post(NEW, files=sent(b"0" * 1_100_000))).status_code == 413
    app.state.settings = app.state.settings.model_copy(update={"project_creation": "admins"})
    assert (await bo.get(NEW)).status_code == (await bo.post(NEW, files=sent(whole))).status_code == 403
    unused = select(ProjectFile.id).where(ProjectFile.project_id.is_(None), ProjectFile.problem.is_(None))
    assert not await loop.do(lambda db: db.scalar(unused))


async def test_programs_send_look_make_and_discard(loop: Loop, app: FastAPI) -> None:
    project = await loop.make_project()
    whole = await exported(loop, project)
    bo = await person(loop, app, "Bo")
    api = "/api/v1/project-files"
    assert (await bo.post(api, content=b"no zip")).status_code == 422
    file = (await bo.post(f"{api}?name=bread.zip", content=whole)).json()
    assert (file["file_name"], file["slug"], file["rows"]["prompts"]) == ("bread.zip", project.slug, 8)
    assert (await bo.get(f"{api}/{file['id']}")).json() == file
    taken = await bo.post(f"{api}/{file['id']}/project", json={"slug": project.slug})
    assert taken.status_code == 409
    made = await bo.post(f"{api}/{file['id']}/project", json={"name": "Bread", "slug": "bread"})
    assert (made.status_code, made.json()["run"]["stage"]) == (202, "unpack")
    assert (await bo.post(f"{api}/{file['id']}/project", json={})).json()["project"]["slug"] == "bread"
    assert (await bo.delete(f"{api}/{file['id']}")).status_code == 409
    await loop.work_off()
    counts = (await bo.get("/api/v1/projects/bread")).json()["counts"]
    assert (counts["prompts_by_split"], counts["demonstrations"]) == ({"train": 6, "validation": 2, "held_out": 0}, 8)
    second = (await bo.post(api, content=whole)).json()
    stranger = await person(loop, app, "Cy")
    assert (await stranger.get(f"{api}/{second['id']}")).status_code == 404
    assert (await bo.delete(f"{api}/{second['id']}")).status_code == 204
    assert not list((loop.context.home / "imports").rglob(FILE))


async def test_a_project_is_emptied_of_what_was_taken_in_when_that_is_cancelled(
    loop: Loop, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = await loop.make_project()
    bo = await person(loop, app, "Bo")
    looked_at = await bo.post(NEW, files=sent(await exported(loop, project)))
    slug, run_id = await run_of(bo, await bo.post(looked_at.headers["location"], data={"name": "Bread"}))
    run = await loop.do(lambda db: db.get_one(Run, run_id))
    answer = await bo.post(f"/projects/{slug}/runs/{run_id}/cancel")
    assert answer.status_code == 303
    assert (await loop.execute(run)).state == "cancelled"
    await bo.post(f"/projects/{slug}/runs/{run_id}/retry")
    await loop.work_off()
    assert (await loop.read(run)).state == "succeeded"
    made = await named(loop, slug)
    demonstrations = select(Demonstration.id).join(Prompt).where(Prompt.project_id == made.id)
    assert len(await loop.do(lambda db: everything(db, demonstrations))) == 8


def rows_of(content: Any) -> Any:
    rows = content if isinstance(content, list) else [content]
    return [{name: value for name, value in row.items() if name != "run_id"} for row in rows]


async def everything(db: AsyncSession, statement: Any) -> list[Any]:
    return list(await db.scalars(statement))


async def runs(db: AsyncSession, project: Project, stage: str) -> list[Run]:
    return list(await db.scalars(select(Run).where(Run.project_id == project.id, Run.stage == stage)))


async def members_of(db: AsyncSession, project: Project) -> list[tuple[str, str | None, object]]:
    people = await db.scalars(
        select(User).join(Member, Member.user_id == User.id).where(Member.project_id == project.id)
    )
    return [(user.name, user.email, user.disabled_at) for user in people]


def said_in(entries: Entries) -> Any:
    return json.loads(entries["manifest.json"])


def changed(whole: bytes, change: Callable[[Entries], None]) -> bytes:
    """The file with other entries, whose digests its manifest says."""
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    digests = {
        name: hashlib.sha256(content).hexdigest() for name, content in entries.items() if name != "manifest.json"
    }
    entries["manifest.json"] = json.dumps(said_in(entries) | {"sha256": digests}).encode()
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return written.getvalue()
