"""What every place where stages run has to keep: the same tests for each of them."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from app.db.session import SessionFactory
from app.db.tables import Run
from app.jobs import orphans, ray
from app.jobs.context import WorkerContext
from app.jobs.launch import Executor, Launch, LocalProcess
from app.jobs.ray import RayJobs
from app.services.loop.runs import leases, runs
from tests.faults.room import FULL
from tests.jobs import fake_ray
from tests.jobs.conftest import StartWorker, make_context
from tests.jobs.fake_ray import FakeRay
from tests.jobs.loop import LEASE_SECONDS, LOOK_SECONDS, Loop, uninterrupted
from tests.jobs.test_runs_on_one_worker import retry
from tests.jobs.test_workers import assert_as_uninterrupted, child_of, is_alive, until_gone
from tests.jobs.worker_program import FAKE_TRAINING

# Those of the helper that asks whether a run ended as one that nothing happened to.
STEPS = 12
WAITS = {"steps": STEPS, "waits_at": 3}


@dataclass(frozen=True)
class Place:
    """A place, and the cluster's head where it is one."""

    executor: Executor
    head: FakeRay | None


@pytest.fixture(params=["local", "ray"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    here = LocalProcess((sys.executable, str(FAKE_TRAINING)))
    if request.param == "local":
        yield Place(here, None)
        return
    monkeypatch.setattr(ray, "POLL_SECONDS", 0.05)
    token_file = tmp_path / "token"
    token_file.write_text(f"{fake_ray.TOKEN}\n")
    token_file.chmod(0o600)
    with fake_ray.running() as head:
        monkeypatch.setenv("TEST_RAY_URL", head.url)
        monkeypatch.setenv("TEST_RAY_TOKEN_FILE", str(token_file))
        yield Place(RayJobs(head.url, token_file, here, stop_seconds=5), head)


@pytest.fixture
def context(place: Place, sessions: SessionFactory, home: Path) -> WorkerContext:
    return placed(make_context(sessions, home), place)


def placed(context: WorkerContext, place: Place) -> WorkerContext:
    return replace(context, elsewhere={"sft": place.executor}) if place.head else context


@pytest.fixture
def another(place: Place, sessions: SessionFactory, home: Path) -> Loop:
    """Another worker of the same site."""
    return Loop(sessions, placed(make_context(sessions, home, "another"), place))


def let_go(home: Path, run: Run) -> None:
    (home / f"runs/{run.id}/go").touch()


def processes_of(home: Path, run: Run) -> int:
    """How many the run has had."""
    return (home / f"runs/{run.id}/log.txt").read_text().count("runs as")


async def at_work(loop: Loop, run: Run) -> "asyncio.Task[Run]":
    executing = asyncio.create_task(loop.execute(run))
    await loop.until_at_work(run, step=2)
    return executing


async def test_a_stage_tells_its_progress_and_its_model_is_published(loop: Loop, place: Place, home: Path) -> None:
    run = await loop.execute(await loop.queue_sft(await loop.make_project(), steps=STEPS))
    assert (run.state, run.attempt, run.step, run.launch) == ("succeeded", 1, STEPS, 1)
    await assert_as_uninterrupted(loop, run, home)
    assert f"-run-{run.id}-0" in (home / f"runs/{run.id}/exit.json").read_text()


async def test_bad_input_fails_in_the_words_of_the_stage(loop: Loop, place: Place) -> None:
    run = await loop.execute(await loop.queue_sft(await loop.make_project(), refuse=True))
    assert (run.state, run.error, run.attempt) == ("failed", "the config says no", 1)


@pytest.mark.parametrize("unwritten", ["checkpoints/state.part", ".exit.json.part"])
async def test_a_folder_that_is_full_lets_the_run_wait_even_if_the_stage_can_not_say_so(
    loop: Loop, place: Place, home: Path, unwritten: str
) -> None:
    run = await loop.queue_sft(await loop.make_project(), steps=STEPS)
    folder = home / f"runs/{run.id}"
    for name in ("checkpoints/state.part", unwritten):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(FULL)
    waiting = await loop.execute(run)
    assert (waiting.state, waiting.attempt) == ("queued", 0), waiting.error
    assert (waiting.error or "").startswith("No room on the disk")


async def test_a_worker_that_is_stopped_spends_no_attempt_and_the_next_one_brings_the_run_to_its_end(
    loop: Loop, another: Loop, place: Place, home: Path
) -> None:
    run = await loop.queue_sft(await loop.make_project(), **WAITS)
    executing = await at_work(loop, run)
    loop.context.stopping.set()
    left = await executing
    assert (left.state, left.attempt, left.launch) == ("queued", 0, 0 if place.head else 1)
    assert is_alive(child_of(home, run.id)) == place.executor.outlives_worker
    let_go(home, run)
    done = await another.execute(run)
    assert (done.state, done.attempt) == ("succeeded", 1)
    await assert_as_uninterrupted(loop, done, home)
    assert processes_of(home, run) == (1 if place.head else 2)


async def test_of_two_starts_at_once_one_process_is_left_and_it_ends_well(place: Place, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "config.json").write_text('{"seed": 0, "steps": 4, "step_seconds": 0.3}')
    launches = [Launch("sft", tmp_path / "config.json", out, token, out / "log.txt", "run-1-0") for token in (1, 2)]
    children = await asyncio.gather(*(place.executor.start(launch) for launch in launches))
    codes = await asyncio.gather(*(child.wait() for child in children))
    assert codes[1] == 0
    assert codes[0] == 0 if place.head else codes[0] != 0
    assert (out / "artifact" / "weights.txt").read_text() == uninterrupted(0, steps=4)
    if place.head:
        assert len(place.head.submitted) == 1


async def test_a_cancelled_run_leaves_a_checkpoint_and_goes_on_to_equal_weights(
    loop: Loop, place: Place, home: Path
) -> None:
    run = await loop.queue_sft(await loop.make_project(), **WAITS)
    executing = await at_work(loop, run)
    await loop.do(lambda db: runs.request_cancel(db, None, run))
    cancelled = await executing
    assert (cancelled.state, cancelled.launch) == ("cancelled", 1)
    assert cancelled.step < STEPS
    assert (home / f"runs/{run.id}/stopped").exists(), "it ended by itself"
    await loop.do(lambda db: retry(db, run.id))
    done = await loop.execute(run)
    assert done.state == "succeeded"
    await assert_as_uninterrupted(loop, done, home)


async def test_a_run_outlives_a_worker_that_is_killed(
    loop: Loop, place: Place, start_worker: StartWorker, home: Path
) -> None:
    run = await loop.queue_sft(await loop.make_project(), **WAITS)
    first = start_worker()
    await loop.until_at_work(run, step=2)
    child = child_of(home, run.id)
    first.kill()
    if not place.executor.outlives_worker:
        await until_gone(child)
    let_go(home, run)
    start_worker()
    done = await loop.until_over(run)
    assert (done.state, done.attempt) == ("succeeded", 2)
    await assert_as_uninterrupted(loop, done, home)
    assert processes_of(home, run) == (1 if place.head else 2)


async def test_a_stage_that_is_killed_goes_on_from_its_checkpoint(loop: Loop, place: Place, home: Path) -> None:
    run = await loop.queue_sft(await loop.make_project(), **WAITS)
    executing = await at_work(loop, run)
    os.kill(child_of(home, run.id), signal.SIGKILL)
    killed = await executing
    assert (killed.state, killed.attempt, killed.launch) == ("queued", 1, 1)
    assert killed.error == "The training process was killed (signal 9), by hand or because memory ran out."
    let_go(home, run)
    done = await loop.execute(run)
    assert (done.state, done.attempt, done.launch) == ("succeeded", 2, 2)
    await assert_as_uninterrupted(loop, done, home)


async def test_a_stage_that_hangs_is_ended_says_why_and_goes_on_from_its_checkpoint(
    loop: Loop, another: Loop, place: Place, home: Path
) -> None:
    deaf = place.head is None
    loop.context = replace(loop.context, hang_seconds=1.2, cancel_grace_seconds=0.2)
    run = await loop.queue_sft(await loop.make_project(), **WAITS, deaf=deaf)
    hung = await loop.execute(run)
    assert (hung.state, hung.attempt, hung.launch) == ("queued", 1, 1)
    assert hung.error == "The training process told no step for 0.02 min and was ended (PLUMBLINE_RUN_HANG_MINUTES)."
    let_go(home, run)
    done = await another.execute(run)
    assert (done.state, done.attempt) == ("succeeded", 2)
    await assert_as_uninterrupted(loop, done, home)


async def test_a_worker_that_lost_its_run_publishes_nothing_and_takes_nothing_from_who_has_it(
    loop: Loop, another: Loop, place: Place, home: Path
) -> None:
    run = await loop.queue_sft(await loop.make_project(), **WAITS)
    executing = await at_work(loop, run)
    await loop.let_lease_expire(run)
    await loop.do(lambda db: leases.claim(db, run.id, owner="third", lease_seconds=LEASE_SECONDS))
    left = await executing
    assert (left.state, left.lease_owner, left.lease_token, left.launch) == ("running", "third", 2, 0)
    assert is_alive(child_of(home, run.id)) == place.executor.outlives_worker
    await loop.let_lease_expire(run)
    let_go(home, run)
    done = await another.execute(run)
    assert (done.state, done.lease_token) == ("succeeded", 3)
    await assert_as_uninterrupted(loop, done, home)


async def test_what_no_run_waits_for_is_swept_and_what_is_somebody_elses_is_not(
    loop: Loop, place: Place, home: Path
) -> None:
    project = await loop.make_project()
    run, kept = await loop.queue_sft(project, **WAITS), await loop.queue_sft(project, **WAITS)
    executing = [await at_work(loop, each) for each in (run, kept)]
    loop.context.stopping.set()
    await asyncio.gather(*executing)
    await loop.do(lambda db: runs.request_cancel(db, None, run))
    await orphans.look(loop.context)
    await until_gone(child_of(home, run.id))
    assert is_alive(child_of(home, kept.id)) == place.executor.outlives_worker
    if place.head is None:
        return
    strangers = {"entrypoint": "sleep 60", "submission_id": "plumbline-other-run-1-0", "runtime_env": {"env_vars": {}}}
    place.head.jobs["plumbline-other-run-1-0"] = fake_ray.Job(strangers)
    while len(place.head.jobs) > 2:  # of one that is over nothing is kept
        await orphans.look(loop.context)
        await asyncio.sleep(LOOK_SECONDS)
    assert {job.told()["status"] for job in place.head.jobs.values()} == {"RUNNING"}
    loop.context.stopping.clear()
    let_go(home, kept)
    assert (await loop.execute(kept)).state == "succeeded"
