"""An installation whose models and dataset versions are in a storage: the loop turns, whatever becomes of it."""

import asyncio
import hashlib
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import StreamingResponse

from app.db.session import SessionFactory
from app.db.tables import DatasetVersion, ModelVersion, Project, Prompt, Run
from app.jobs import copies
from app.jobs.models_in_use import ModelsInUse
from app.services.data import datasets
from app.services.erasure.targets import Target
from app.services.loop.chores import erasing, project_files
from app.services.loop.models.artifacts import ArtifactBroken, require_in_place
from app.services.loop.runs import leases, runs
from app.services.loop.stages import model_card
from app.services.projects import packing
from app.services.published import shelf
from app.services.published.copies import FOLDER
from app.services.published.shelf import shelf_of
from app.services.published.thing import of_model
from app.settings import Settings, settings
from app.web.serving import archives
from tests.factories import make_user, principal
from tests.jobs.conftest import Command, InProcess, StartWorker, make_context
from tests.jobs.loop import Loop
from tests.jobs.test_project_files import exported
from tests.jobs.test_removal import ask
from tests.object_storage import Between, Stored, between

__all__ = ["between"]


@pytest.fixture
def loop(sessions: SessionFactory, home: Path) -> Loop:
    return worker_with(sessions, home)


@pytest.fixture
def other(sessions: SessionFactory, tmp_path: Path) -> Loop:
    """A worker on another host: the same database and storage, a home of its own."""
    return worker_with(sessions, tmp_path / "other")


def worker_with(sessions: SessionFactory, home: Path) -> Loop:
    return Loop(sessions, replace(make_context(sessions, home, home.name), executor=InProcess()))


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch, stored: Stored) -> Callable[[bool], None]:
    """Takes the storage away from this process, and gives it back."""

    def set_away(is_away: bool) -> None:
        monkeypatch.setenv("AWS_ENDPOINT", "http://127.0.0.1:9" if is_away else stored.server)
        shelf._bucket.cache_clear()

    return set_away


async def seconds_to_wait(db: AsyncSession) -> float:
    return float(await db.scalar(select(func.extract("epoch", Run.retry_at - func.now()))) or 0)


async def in_use(loop: Loop, project: Project) -> ModelVersion:
    (policy,) = await loop.versions(project)
    return policy


async def dataset_versions(db: AsyncSession) -> list[DatasetVersion]:
    return list(await db.scalars(select(DatasetVersion).order_by(DatasetVersion.id)))


async def test_a_round_turns_on_hosts_that_share_nothing_but_database_and_storage(
    stored: Stored, loop: Loop, other: Loop, tmp_path: Path
) -> None:
    project = await loop.make_project(label_target=4)
    run = await loop.execute(await loop.queue_sft(project))
    policy = await in_use(loop, project)
    assert (run.state, run.attempt, policy.state) == ("succeeded", 1, "promoted")
    assert f"{policy.folder}/manifest.json" in stored.names()
    await other.work_off()  # the first pairs are written by a policy that was made elsewhere
    await other.start_round(project)
    await other.work_off()
    await other.judge(project, 4)
    await loop.work_off()
    (rewarded,) = await loop.versions(project, "reward")
    third = tmp_path / "third"
    for version in await loop.do(dataset_versions):
        found = datasets.verify(version, third)
        assert hashlib.sha256(found.read_bytes()).hexdigest() == version.sha256
    await require_in_place(third, rewarded.folder, rewarded.manifest_sha256)
    assert (third / rewarded.folder / "weights.txt").is_file()
    packed = tmp_path / "packed.zip"
    await loop.do(lambda db: packing.pack(db, project.id, tmp_path / "fourth", packed, with_models=True))
    with ZipFile(packed) as archive:
        assert f"files/{policy.folder}/weights.txt" in archive.namelist()


async def test_a_project_taken_in_from_a_file_is_in_the_storage_and_so_on_every_host(
    stored: Stored, loop: Loop, other: Loop, tmp_path: Path, away: Callable[[bool], None]
) -> None:
    project = await loop.make_project()
    await loop.execute(await loop.queue_sft(project))
    content = await exported(loop, project, with_models=True)
    before = set(stored.names())
    made, run = await loop.do(lambda db: bring(db, loop.context.home, content))
    away(True)
    waiting = await loop.execute(run)
    assert (waiting.state, waiting.attempt) == ("queued", 0)
    assert str(waiting.error).startswith("The storage of models and datasets can't be used now: ")
    assert not list((loop.context.home / "models").glob(f"{made.slug}/*")), "the next attempt begins anew"
    away(False)
    await loop.do(lambda db: db.execute(update(Run).values(retry_at=None)))
    done = await loop.execute(run)
    assert (done.state, done.error) == ("succeeded", None)
    policy = await in_use(loop, made)
    assert {f"{policy.folder}/manifest.json"} < set(stored.names()) - before
    await require_in_place(other.context.home, policy.folder, policy.manifest_sha256)
    for version in await loop.do(dataset_versions):
        assert datasets.verify(version, other.context.home).is_file()


async def test_a_download_keeps_its_copy_however_long_it_takes(stored: Stored, loop: Loop, home: Path) -> None:
    project = await loop.make_project()
    await loop.execute(await loop.queue_sft(project))
    policy = await in_use(loop, project)
    archive = await loop.do(lambda db: model_card.archive_of(db, project, policy, home))
    answer = archives.answer(archive, {})
    assert isinstance(answer, StreamingResponse)
    pieces = aiter(answer.body_iterator)
    await anext(pieces)
    copy, watch = of_model(policy.folder, policy.manifest_sha256), shelf_of(home).copies
    assert not watch.drop(copy)
    assert [piece async for piece in pieces]
    assert watch.drop(copy)


async def bring(db: AsyncSession, home: Path, content: bytes) -> tuple[Project, Run]:
    """The file of a project sent in by an admin, and the run that is to take it in."""

    async def chunks() -> AsyncIterator[bytes]:
        yield content

    actor = principal(await make_user(db, is_admin=True))
    kept = await project_files.keep(home, "bread.zip", chunks(), most_bytes=1 << 30, reserve_bytes=0)
    file = await project_files.enter(db, actor, home, kept)
    return await project_files.make(db, actor, Settings(home=home), file)


async def test_a_storage_that_is_away_costs_no_attempt_and_is_asked_ever_more_rarely(
    stored: Stored, loop: Loop, home: Path, away: Callable[[bool], None]
) -> None:
    project = await loop.make_project()
    run = await loop.queue_sft(project)
    away(True)
    waits = []
    for _ in range(3):
        waiting = await loop.execute(run)
        assert (waiting.state, waiting.attempt) == ("queued", 0)
        assert waiting.error is not None
        assert waiting.error.startswith("The storage of models and datasets can't be used now: ")
        waits.append(await loop.do(seconds_to_wait))
        await loop.do(lambda db: db.execute(update(Run).values(retry_at=None)))
    assert waits[0] < waits[1] < waits[2]
    assert not await loop.versions(project), "what nobody else could read isn't registered"
    away(False)
    assert (await loop.execute(run)).state == "succeeded"
    assert (home / (await in_use(loop, project)).folder).is_dir()


async def test_what_is_here_is_worked_on_while_the_storage_is_away(
    stored: Stored, loop: Loop, away: Callable[[bool], None]
) -> None:
    project = await loop.make_project()
    await loop.execute(await loop.queue_sft(project))
    away(True)
    await loop.work_off()
    latest = (await loop.do(lambda db: runs.list_runs(db, project.id)))[0]
    assert (latest.stage, latest.state) == ("select", "succeeded")


@pytest.mark.slow
async def test_a_worker_that_is_killed_between_files_and_manifest_leaves_no_model_and_the_next_one_finishes(
    stored: Stored, between: Between, loop: Loop, start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT", between.url)
    project = await loop.make_project()
    between.stalls_at = ("PUT", "-run-1/manifest.json")
    run = await loop.queue_sft(project)
    between.stalls_at = ("PUT", f"-run-{run.id}/manifest.json")
    first = start_worker()
    assert await asyncio.to_thread(between.stalled.wait, 60)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert [name for name in stored.names() if "weights.txt" in name]
    assert not [name for name in stored.names() if name.endswith("manifest.json") and name.startswith("models/")]
    assert not await loop.versions(project)
    between.stalls_at = ("none", "")
    start_worker()
    done = await loop.until_over(run)
    assert (done.state, done.attempt) == ("succeeded", 2)
    assert between.count("PUT", "weights.txt") + between.count("POST", "weights.txt") > 0
    version = await in_use(loop, project)
    assert shelf_of(loop.context.home).held(of_model(version.folder, version.manifest_sha256)) is not None


async def test_a_flipped_byte_in_the_storage_is_seen_while_the_model_is_in_use_and_never_put_into_use(
    stored: Stored, between: Between, loop: Loop, other: Loop, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT", between.url)
    project = await loop.make_project()
    await loop.execute(await loop.queue_sft(project))
    policy = await in_use(loop, project)
    watch = ModelsInUse(loop.context)
    for one in (watch, ModelsInUse(loop.context)):
        await one.look()
    assert (await in_use(loop, project)).fault is None
    assert between.count("GET", "/weights.txt") == 1, "workers of one home read it once a day"
    (home / policy.folder / "weights.txt").write_text("changed here")
    await watch.look()
    assert (await in_use(loop, project)).fault is None, "a copy is made anew"
    assert (home / policy.folder / "weights.txt").read_text() != "changed here"
    stored.flip_a_byte("weights.txt")
    fresh = ModelsInUse(loop.context)  # or the old one, some minutes later
    await fresh.look()
    assert f"-run-{policy.run_id}/weights.txt doesn't match" in str((await in_use(loop, project)).fault)
    with pytest.raises(ArtifactBroken, match=r"weights\.txt doesn't match"):
        await require_in_place(other.context.home, policy.folder, policy.manifest_sha256)


async def test_what_is_erased_or_removed_goes_from_the_storage_and_from_copies_elsewhere(
    stored: Stored, loop: Loop, other: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = await loop.make_project()
    await loop.execute(await loop.queue_sft(project))
    (version,) = await loop.do(dataset_versions)
    copy = datasets.verify(version, other.context.home)
    prompt_id = await loop.do(lambda db: db.scalar(select(Prompt.id).where(Prompt.split == "train").limit(1)))
    await loop.work_off()
    run = await loop.do(lambda db: erasing.start(db, None, project, Target("prompt", prompt_id or 0), files=True))
    assert (await loop.execute(run)).error is None
    assert not [name for name in stored.names() if name.startswith("datasets/")]
    assert copy.exists()
    monkeypatch.setattr("app.services.published.shelf.SETTLED_SECONDS", -1.0)
    await copies.look(other.context)
    assert not copy.exists()
    await loop.do(lambda db: ask(db, project))
    await loop.work_off()
    assert not [name for name in stored.names() if project.slug in name]


async def test_an_installation_moves_into_a_storage_and_back_by_a_command(
    stored: Stored, loop: Loop, home: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PLUMBLINE_STORAGE_URL")
    settings.cache_clear()
    project = await loop.make_project()
    await loop.execute(await loop.queue_sft(project))
    policy = await in_use(loop, project)
    code, said = await command("storage", "move")
    assert code == 4
    assert "PLUMBLINE_STORAGE_URL" in said
    monkeypatch.setenv("PLUMBLINE_STORAGE_URL", stored.url)
    settings.cache_clear()
    code, said = await command("storage", "move")
    assert (code, said.split(",")[0]) == (0, f"2 moved to {stored.url}"), said
    assert (await command("storage", "move"))[1].startswith("0 moved")
    assert (await command("doctor", "--all-files"))[0] in (0, 1)
    (weights,) = (home / policy.folder).glob("weights.txt")
    shelf_of(home).copies.drop(of_model(policy.folder, policy.manifest_sha256))
    assert not weights.exists()
    code, said = await command("storage", "move", "--back")
    assert (code, said.split(",")[0]) == (0, f"2 moved to {home}"), said
    assert weights.exists()
    assert not [name for name in stored.names() if name.endswith("manifest.json")]
    assert not list((home / FOLDER).glob("*.json"))
    assert (await command("storage", "sweep"))[0] == 0


async def pairs_to_write(loop: Loop) -> Run:
    """A run on a policy that was made elsewhere."""
    project = await loop.make_project()
    await loop.execute(await loop.queue_sft(project))
    (waiting,) = await loop.do(leases.waiting)
    return waiting


async def test_a_disk_without_room_for_a_copy_makes_its_run_wait(
    stored: Stored, loop: Loop, other: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await pairs_to_write(loop)
    monkeypatch.setenv("PLUMBLINE_DISK_RESERVE_MEGABYTES", "999999999")
    settings.cache_clear()
    waiting = await other.execute(run)
    assert (waiting.state, waiting.attempt) == ("queued", 0)
    assert str(waiting.error).startswith("Waits for room on the disk")


async def test_a_worker_that_is_to_stop_leaves_a_copy_that_it_has_begun(
    stored: Stored, loop: Loop, other: Loop
) -> None:
    run = await pairs_to_write(loop)
    other.context.stopping.set()
    given_back = await other.execute(run)
    assert (given_back.state, given_back.attempt, given_back.error) == ("queued", 0, "The worker was stopped.")
    assert not (other.context.home / "models").exists()
    other.context.stopping.clear()
    assert (await other.execute(run)).state == "succeeded"
