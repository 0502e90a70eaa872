"""A home that is moved goes on as if nothing had happened: nothing that lasts says where it lay."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
from psycopg import sql
from sqlalchemy.ext.asyncio import AsyncSession

from app.db import embedded
from app.db.session import SessionFactory
from app.db.tables import Project, Run
from app.services.loop.runs import starting
from app.settings import Settings
from tests.faults.backups.conftest import EMAIL, PASSWORD, files_in
from tests.jobs.conftest import make_context
from tests.jobs.loop import Loop
from tests.sites import site_of
from tests.web.conftest import HOST, client_of


def moved(home: Path) -> Path:
    target = home.parent.parent / "elsewhere" / "deeper" / "home"
    target.parent.mkdir(parents=True)
    home.rename(target)
    shutil.rmtree(home.parent)
    return target


def naming(home: Path) -> list[str]:
    """The files that hold the path of this home, but for logs, which tell what was."""
    path = str(home.parent).encode()
    files = [file for file in files_in(home) if file.suffix not in (".txt", ".log")]
    return [file.relative_to(home).as_posix() for file in files if path in file.read_bytes()]


def rows_naming(url: str, home: Path) -> Iterator[str]:
    with psycopg.connect(url) as connection:
        tables = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
        for (table,) in connection.execute(tables).fetchall():
            found = sql.SQL("SELECT row_to_json(t)::text FROM {} t WHERE row_to_json(t)::text LIKE %s")
            for (row,) in connection.execute(found.format(sql.Identifier(table)), [f"%{home.parent}%"]):
                yield f"{table}: {row}"


async def test_a_run_that_was_under_way_goes_on_in_a_home_that_was_moved(
    loop: Loop, sessions: SessionFactory, home: Path, database_url: str
) -> None:
    project = await loop.make_project()
    await loop.execute(await loop.queue_sft(project))
    await loop.work_off()
    await loop.judge(project, 6)
    run = await queue_reward(loop, project, crash_once_at=2)
    run = await loop.execute(run)
    assert run.state == "queued", "it crashed once, and goes on from its checkpoint"
    await loop.start_round(project, label_target=0)
    assert naming(home) == []
    assert list(rows_naming(database_url, home)) == []

    elsewhere = moved(home)
    there = Loop(sessions, make_context(sessions, elsewhere))
    run = await there.execute(run)
    assert (run.state, run.error) == ("succeeded", None)
    await there.work_off()
    again = await there.execute(await queue_reward(there, project))
    assert (again.state, again.error) == ("succeeded", None)
    assert not files_in(home)


async def queue_reward(loop: Loop, project: Project, **config: object) -> Run:
    async def queue(db: AsyncSession) -> Run:
        found = await db.get_one(Project, project.id)
        found.round_settings = {**found.round_settings, "reward": config}
        return await starting.start(db, None, found, "reward")

    return await loop.do(queue)


async def test_pages_show_what_lies_in_a_home_that_was_moved(
    loop: Loop, project: Project, home: Path, database_url: str
) -> None:
    elsewhere = moved(home)
    app = site_of(Settings(database_url=database_url, home=elsewhere, trusted_hosts=HOST))
    async with app.router.lifespan_context(app), client_of(app) as browser:
        form = {"email": EMAIL, "password": PASSWORD}
        assert (await browser.post("/sign-in", data=form)).status_code == httpx.codes.SEE_OTHER
        (version,) = await loop.versions(project)
        for page in ("", "/models", "/runs", f"/runs/{version.run_id}", "/datasets"):
            shown = await browser.get(f"/projects/{project.slug}{page}", follow_redirects=True)
            assert shown.is_success, page
        log = await browser.get(f"/projects/{project.slug}/runs/{version.run_id}/log")
        assert "sft runs as" in log.text


def test_the_embedded_database_of_a_home_that_was_moved_has_what_it_had(home: Path) -> None:
    with embedded.running(home) as url, psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS number")
    with embedded.running(moved(home)) as url, psycopg.connect(url) as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (1,)
