"""Backups that a worker makes by itself, and what an admin sees of them."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi import FastAPI
from sqlalchemy import Update, func, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import transaction
from app.db.tables import Backup, Project
from app.jobs import backups
from app.services.backups import standing
from app.settings import Settings
from tests.factories import make_user, principal
from tests.faults.backups.conftest import Command, files_in
from tests.jobs.loop import Loop
from tests.sites import site_of
from tests.web.conftest import HOST, SignIn, sign_in

__all__ = ["sign_in"]


@pytest.fixture
def settings(database_url: str, home: Path, tmp_path: Path) -> Settings:
    return Settings(
        database_url=database_url, home=home, backup_to=str(tmp_path / "kept"), backups_kept=2, trusted_hosts=HOST
    )


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[FastAPI]:
    app = site_of(settings)
    async with app.router.lifespan_context(app):
        yield app


def aged(**by: int) -> Update:
    """Every try as if it had been so long ago."""
    then = func.now() - timedelta(**by)
    return update(Backup).values(began_at=then, ended_at=then)


async def until_tried(loop: Loop, settings: Settings, count: int) -> list[Backup]:
    """Let a worker keep watch until so many tries have ended, and what is too old by then is gone."""
    assert settings.database_url is not None
    kept = Path(str(settings.backup_to)) / "backups"
    watch = asyncio.create_task(backups.keep_backing_up(loop.context, settings, settings.database_url))
    while True:
        tries = await loop.do(lambda db: standing.latest(db, limit=10))
        have_ended = len([one for one in tries if one.ended_at is not None]) >= count
        if have_ended and len(files_in(kept)) <= settings.backups_kept:
            break
        await asyncio.sleep(0.05)
    loop.context.stopping.set()
    await watch
    loop.context.stopping.clear()
    return tries


async def test_a_worker_makes_one_when_it_is_due_and_keeps_as_many_as_are_wanted(
    loop: Loop, project: Project, settings: Settings, there: Command, tmp_path: Path
) -> None:
    for count in (1, 2, 3):
        tries = await until_tried(loop, settings, count)
        assert [one.problem for one in tries] == [None] * count
        assert tries[0].place == "kept/"
        assert not await loop.do(lambda db: standing.is_due(db, settings, "kept/"))
        await loop.do(lambda db: db.execute(aged(hours=25)))
        assert await loop.do(lambda db: standing.is_due(db, settings, "kept/"))
    assert tries[0].new_bytes is not None
    assert tries[-1].new_bytes is not None
    assert tries[0].new_bytes < tries[-1].new_bytes
    listed = (await there("restore", tmp_path / "kept", "--list")).out.split()
    assert listed == [tries[1].name, tries[0].name]
    assert (await there("restore", tmp_path / "kept")).code == 0


async def test_one_that_fails_says_why_and_is_tried_again_within_the_hour(
    loop: Loop, project: Project, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "kept").write_text("a file where the folder should be")
    (failed,) = await until_tried(loop, settings, 1)
    assert failed.problem is not None
    assert "kept" in failed.problem
    assert not await loop.do(lambda db: standing.is_due(db, settings, "kept/"))
    await loop.do(lambda db: db.execute(aged(minutes=61)))
    assert await loop.do(lambda db: standing.is_due(db, settings, "kept/"))


async def test_a_worker_that_is_stopped_leaves_no_backup_half_made(
    loop: Loop, project: Project, settings: Settings, tmp_path: Path
) -> None:
    assert settings.database_url is not None
    watch = asyncio.create_task(backups.keep_backing_up(loop.context, settings, settings.database_url))
    while not await loop.do(lambda db: standing.latest(db, limit=1)):  # noqa: ASYNC110 - it happens in another process
        await asyncio.sleep(0.01)
    loop.context.stopping.set()
    await watch
    (one,) = await loop.do(lambda db: standing.latest(db, limit=1))
    assert (one.name is None) != (tmp_path / "kept" / "backups").exists()


async def test_an_admin_sees_how_old_the_last_one_is_and_why_others_failed(
    app: FastAPI, sign_in: SignIn, db: AsyncSession
) -> None:
    admin = await sign_in(principal(await make_user(db, is_admin=True)))
    nobody = await sign_in(principal(await make_user(db)))
    assert (await nobody.get("/backups")).status_code == 403
    assert "There is no backup yet." in (await admin.get("/backups")).text
    now = datetime.now(UTC)
    db.add_all(
        [
            Backup(
                place="kept/", began_at=now - timedelta(days=3), ended_at=now, name="x", size_bytes=5_000_000,
                new_bytes=2_000, lacking=1,
            ),
            Backup(place="kept/", began_at=now, ended_at=now, problem="No room is <left>."),
            Backup(place="kept/", began_at=now),
        ]
    )  # fmt: skip
    await db.commit()
    page = (await admin.get("/backups")).text
    for words in (
        "The last backup was made 3 days ago.",
        "That is too long ago",
        "A worker makes one every 24 hours, to kept/.",
        "1 file was missing or damaged already.",
        "No room is &lt;left&gt;.",
        "under way",
        "5 MB",
    ):
        assert words in page, words


async def test_without_the_setting_nobody_makes_any_and_the_page_says_so(
    loop: Loop, settings: Settings, db: AsyncSession, sign_in: SignIn, app: FastAPI
) -> None:
    unset = settings.model_copy(update={"backup_to": None})
    app.state.settings = unset
    admin = await sign_in(principal(await make_user(db, is_admin=True)))
    assert "Nobody makes backups here." in (await admin.get("/backups")).text
    loop.context.stopping.set()
    assert unset.database_url is not None
    await backups.keep_backing_up(loop.context, unset, unset.database_url)
    async with transaction(loop.sessions) as own:
        assert await standing.latest(own, limit=1) == []
