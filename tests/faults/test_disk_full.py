"""The disk fills up (R9): training and imports stop before it is gone and go on by themselves, and people are told."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Import, Prompt, Run
from app.jobs import execution, reaper, room
from app.services import disk
from app.services.loop.runs import leases
from app.settings import Settings
from tests.browser.people import session_token
from tests.factories import make_member, make_project, make_user, principal
from tests.faults.room import FULL, no_room_beyond
from tests.jobs.conftest import StartWorker, context, loop, start_worker
from tests.jobs.loop import Loop
from tests.jobs.test_imports import Site, pairs
from tests.jobs.test_imports import site as imports_site
from tests.jobs.test_workers import assert_as_uninterrupted

__all__ = ["context", "imports_site", "loop", "start_worker"]


@dataclass
class Disk:
    """What is free, as it is told to whoever asks."""

    free_bytes: int


@pytest.fixture
def a_disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    found = Disk(10_000)

    def usage(_path: Path) -> shutil._ntuple_diskusage:
        return shutil._ntuple_diskusage(20_000, 20_000 - found.free_bytes, found.free_bytes)

    monkeypatch.setattr(disk.shutil, "disk_usage", usage)
    return found


@pytest.fixture
def short_loop(loop: Loop) -> Loop:
    """Of a worker that keeps 1,000 bytes free."""
    loop.context = replace(loop.context, reserve_bytes=1_000, cancel_grace_seconds=5)
    return loop


async def let_it_wait_no_longer(loop: Loop, run: Run) -> None:
    past = func.now() - func.make_interval(0, 0, 0, 0, 0, 1)
    await loop.do(lambda db: db.execute(update(Run).where(Run.id == run.id).values(retry_at=past)))


async def test_a_stage_that_meets_a_full_disk_waits_and_uses_up_no_attempt(loop: Loop, home: Path) -> None:
    project = await loop.make_project()
    run = await loop.queue_sft(project, steps=12)
    part = home / f"runs/{run.id}/checkpoints/state.part"
    part.parent.mkdir(parents=True)
    part.symlink_to(FULL)
    for _ in range(run.max_attempts + 2):
        waiting = await loop.execute(run)
        assert (waiting.state, waiting.attempt) == ("queued", 0), waiting.error
        assert (waiting.error or "").startswith("No room on the disk: ")
        assert waiting.retry_at is not None
        assert await loop.do(lambda db: leases.claim(db, run.id, owner="eager", lease_seconds=9)) is None
        await loop.forget_jobs()
        await reaper.look_around(loop.context)
        assert await loop.waiting_jobs() == set(), "nobody looks at it again at once"
        await let_it_wait_no_longer(loop, run)
        await reaper.look_around(loop.context)
        assert await loop.waiting_jobs() == {f"run:{run.id}"}
    other = await loop.queue_sft(await loop.make_project())
    assert (await loop.execute(other)).state == "succeeded", "the queue keeps moving"
    part.unlink()
    done = await loop.execute(run)
    assert (done.state, done.attempt, done.error) == ("succeeded", 1, None)
    await assert_as_uninterrupted(loop, done, home)


async def test_a_worker_that_has_no_room_itself_lets_the_run_wait(loop: Loop, home: Path) -> None:
    project = await loop.make_project()

    async def write_much(db: AsyncSession) -> None:
        await db.execute(update(Prompt).where(Prompt.project_id == project.id).values(messages=long_message()))

    await loop.do(write_much)
    run = await loop.queue_sft(project)
    with no_room_beyond(1_000_000):
        waiting = await loop.execute(run)
    assert (waiting.state, waiting.attempt, waiting.error) == ("queued", 0, room.WAITING)
    assert not list((home / f"runs/{run.id}").rglob("*.part"))
    await let_it_wait_no_longer(loop, run)
    assert (await loop.execute(run)).state == "succeeded"


def long_message() -> list[dict[str, str]]:
    return [{"role": "user", "content": "egg " * 300_000}]


async def test_training_is_stopped_at_a_checkpoint_while_there_is_room_for_one_and_goes_on_by_itself(
    short_loop: Loop, a_disk: Disk, home: Path
) -> None:
    loop = short_loop
    run = await loop.queue_sft(await loop.make_project(), steps=12, step_seconds=0.15)
    at_work = asyncio.create_task(loop.execute(run))
    await loop.until_at_work(run)
    a_disk.free_bytes = 999
    room.look(loop.context)
    async with asyncio.timeout(20):
        waiting = await at_work
    assert (waiting.state, waiting.attempt, waiting.error) == ("queued", 0, room.WAITING)
    assert (home / f"runs/{run.id}/stopped").exists(), "it wrote a checkpoint and ended by itself"
    await let_it_wait_no_longer(loop, run)
    asked = await loop.execute(run)
    assert (asked.state, asked.attempt, asked.error) == ("queued", 0, room.WAITING), "nothing is begun meanwhile"
    assert asked.lease_token == waiting.lease_token
    a_disk.free_bytes = 1_050
    room.look(loop.context)
    assert loop.context.short_of_room.is_set(), "a little more is not enough to begin with"
    a_disk.free_bytes = 1_200
    room.look(loop.context)
    await let_it_wait_no_longer(loop, run)
    done = await loop.execute(run)
    assert (done.state, done.attempt, done.error) == ("succeeded", 1, None)
    await assert_as_uninterrupted(loop, done, home)


async def test_what_needs_no_room_goes_on_while_training_waits(short_loop: Loop, a_disk: Disk) -> None:
    loop = short_loop
    project = await loop.make_project(prompts=2, samples_per_prompt=2)
    await loop.execute(await loop.queue_sft(project))
    while not (pairs_ := [run for run in await loop.do(leases.waiting) if run.stage == "select"]):
        for run in await loop.do(leases.waiting):
            await loop.execute(run)
    a_disk.free_bytes = 0
    room.look(loop.context)
    assert (await loop.execute(pairs_[0])).state == "succeeded"
    assert (await loop.execute(await loop.queue_sft(project))).state == "queued"


async def test_an_import_is_taken_back_and_done_in_full_once_there_is_room(
    imports_site: Site, a_disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = imports_site
    site.loop.context = replace(site.loop.context, reserve_bytes=1_000)
    a_disk.free_bytes = 10**12
    page = await site.upload(*pairs(6))
    await site.loop.work_off()
    await site.browser.post(f"{page}/load", data={})
    run = await site.run()
    a_disk.free_bytes = 0
    perform = execution._do_in_view

    async def fill_up_meanwhile(*given: object) -> object:
        room.look(site.loop.context)
        return await perform(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(execution, "_do_in_view", fill_up_meanwhile)
    waiting = await site.loop.execute(run)
    assert (waiting.state, waiting.attempt, waiting.error) == ("queued", 0, room.WAITING)
    assert await site.count(Prompt) == 0, "nothing is half in"
    a_disk.free_bytes = 10_000
    room.look(site.loop.context)
    await let_it_wait_no_longer(site.loop, run)
    assert (await site.loop.execute(run)).state == "succeeded"
    assert await site.count(Prompt) == 6


async def test_a_worker_of_its_own_waits_and_says_why_once(
    loop: Loop, start_worker: StartWorker, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_RESERVE_MEGABYTES", str(10**12))
    worker = start_worker()
    run = await loop.queue_sft(await loop.make_project())
    async with asyncio.timeout(60):
        waiting = await loop.until(run, lambda found: found.error is not None)
    assert (waiting.state, waiting.attempt, waiting.error) == ("queued", 0, room.WAITING)
    assert worker.poll() is None
    assert (home / "worker-0.log").read_text().count("disk_short") == 1
    assert not (home / f"runs/{run.id}").exists()


@pytest.fixture
async def browsers(site: FastAPI, db: AsyncSession) -> AsyncIterator[dict[str, httpx.AsyncClient]]:
    project = await make_project(db, "eggs")
    people = {
        "admin": principal(await make_user(db, is_admin=True)),
        "owner": await make_member(db, project, "owner"),
        "annotator": await make_member(db, project, "annotator"),
    }
    transport = httpx.ASGITransport(site, raise_app_exceptions=False)
    clients = {}
    for role, person in people.items():
        cookies = {"session": await session_token(db, person)}
        clients[role] = httpx.AsyncClient(transport=transport, base_url="http://test", cookies=cookies)
    await db.commit()
    yield clients
    for client in clients.values():
        await client.aclose()


@contextmanager
def settings_with(site: FastAPI, **given: object) -> Iterator[None]:
    before: Settings = site.state.settings
    site.state.settings = before.model_copy(update=given)
    try:
        yield
    finally:
        site.state.settings = before


async def test_admins_are_told_on_every_page_and_probes_by_name_and_both_by_themselves_no_more(
    site: FastAPI, browsers: dict[str, httpx.AsyncClient], a_disk: Disk
) -> None:
    told = "The disk is nearly full: training and imports wait until there is room."
    a_disk.free_bytes = 10**12
    assert (await browsers["admin"].get("/readyz")).status_code == 200
    assert told not in (await browsers["admin"].get("/projects")).text
    a_disk.free_bytes = 500_000_000
    assert told in (await browsers["admin"].get("/projects")).text
    assert told not in (await browsers["owner"].get("/projects")).text
    assert told not in (await browsers["annotator"].get("/projects/eggs/annotate")).text
    site.state.readiness._fresh_until = 0
    red = await browsers["annotator"].get("/readyz")
    assert (red.status_code, red.json()["failing"], red.json()["checks"]["disk"]) == (503, ["disk"], "failing")
    assert (await browsers["annotator"].get("/readyz?exclude=disk")).status_code == 200
    page = (await browsers["admin"].get("/health")).text
    assert "0.5 GB are free, less than the 1.0 GB that are kept: training and imports wait." in page
    a_disk.free_bytes = 999_999_900
    site.state.readiness._fresh_until = 0
    assert "0.9999999 GB are free, less than the 1.0 GB that are kept" in (await browsers["admin"].get("/health")).text
    assert (await browsers["owner"].get("/health")).status_code == 403
    a_disk.free_bytes = 10**12
    site.state.readiness._fresh_until = 0
    assert (await browsers["annotator"].get("/readyz")).status_code == 200
    assert told not in (await browsers["admin"].get("/projects")).text


async def test_nothing_large_is_taken_in_and_nothing_of_it_is_left(
    site: FastAPI, browsers: dict[str, httpx.AsyncClient], a_disk: Disk, home: Path, db: AsyncSession
) -> None:
    a_disk.free_bytes = 500_000_000
    files = {"file": ("tea.jsonl", b'{"prompt": "Tea?", "responses": ["A", "B"]}\n')}
    refused = await browsers["owner"].post("/projects/eggs/imports", files=files)
    assert (refused.status_code, "The disk of this site is nearly full" in refused.text) == (507, True)
    a_disk.free_bytes = 10**12
    large = {"file": ("tea.jsonl", b'{"prompt": "Tea?", "responses": ["A", "B"]}\n' * 100_000)}
    with no_room_beyond(1_000_000), settings_with(site, disk_reserve_megabytes=0):
        full = await browsers["owner"].post("/projects/eggs/imports", files=large)
    assert (full.status_code, "retry-after" in full.headers) == (507, True)
    assert "No room left" in full.text
    assert not list((home / "imports").glob("*"))
    assert await db.scalar(select(func.count()).select_from(Import)) == 0
    assert (await browsers["owner"].post("/projects/eggs/imports", files=files)).status_code == 303
