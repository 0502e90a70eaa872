"""Several workers, and what may happen to them: every one is a process of its own that is paused, killed or stopped."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from app.db.tables import Project, Run
from app.jobs import reaper
from app.services.loop.runs import leases, runs
from app.services.loop.stages.stage import seed_of
from app.services.reports import reports
from app.services.reports.dashboard import DASHBOARD
from tests.jobs.conftest import StartWorker
from tests.jobs.loop import LEASE_SECONDS, LOOK_SECONDS, Loop, uninterrupted

# Long enough to be caught at work, short enough to wait for.
STEPS = 12
SLOW = {"steps": STEPS, "step_seconds": 0.1}


async def test_a_queued_run_is_worked_off_by_a_worker(loop: Loop, start_worker: StartWorker) -> None:
    start_worker()
    run = await loop.queue_sft(await loop.make_project())
    assert (await loop.until_over(run)).state == "succeeded"


async def test_a_report_that_a_page_asked_for_is_computed_by_a_worker(loop: Loop, start_worker: StartWorker) -> None:
    project = await loop.make_project()
    assert (await loop.do(lambda db: reports.current(db, project, DASHBOARD))).content is None
    start_worker()
    while (latest := await loop.do(lambda db: reports.current(db, project, DASHBOARD))).content is None:
        assert latest.problem is None
        await asyncio.sleep(LOOK_SECONDS)
    assert [split.prompts for split in latest.content.splits] == [6, 2]
    assert latest.written_at is not None


async def test_a_paused_worker_that_wakes_up_publishes_nothing(
    loop: Loop, start_worker: StartWorker, home: Path
) -> None:
    run = await loop.queue_sft(await loop.make_project(), **SLOW)
    zombie = start_worker()
    first_try = await loop.until_at_work(run)
    zombies_child = child_of(home, run.id)
    os.kill(zombie.pid, signal.SIGSTOP)
    start_worker()
    second_try = await loop.until(run, lambda found: found.lease_token > first_try.lease_token and found.step > 0)
    await until_gone(zombies_child)
    os.kill(zombie.pid, signal.SIGCONT)
    done = await loop.until_over(run)
    assert (done.state, done.lease_token, done.attempt) == ("succeeded", second_try.lease_token, 2)
    await assert_as_uninterrupted(loop, done, home)
    # It found out, and is as good as any other worker again.
    assert zombie.poll() is None


async def test_a_killed_training_process_is_started_again_at_once(
    loop: Loop, start_worker: StartWorker, home: Path
) -> None:
    start_worker()
    run = await loop.queue_sft(await loop.make_project(), **SLOW)
    await loop.until_at_work(run, step=2)
    os.kill(child_of(home, run.id), signal.SIGKILL)
    done = await loop.until_over(run)
    assert (done.state, done.attempt) == ("succeeded", 2)
    await assert_as_uninterrupted(loop, done, home)


async def test_a_stopped_worker_hands_its_run_back_without_spending_an_attempt(
    loop: Loop, start_worker: StartWorker, home: Path
) -> None:
    worker = start_worker()
    run = await loop.queue_sft(await loop.make_project(), **SLOW)
    await loop.until_at_work(run, step=2)
    worker.terminate()
    assert worker.wait() == 0
    waiting = await loop.read(run)
    assert (waiting.state, waiting.attempt, waiting.error) == ("queued", 0, "The worker was stopped.")
    assert waiting.step < STEPS
    start_worker()
    done = await loop.until_over(run)
    assert (done.state, done.attempt) == ("succeeded", 1)
    await assert_as_uninterrupted(loop, done, home)


@pytest.mark.parametrize("deaf", [False, True])
async def test_a_running_run_can_be_cancelled(loop: Loop, start_worker: StartWorker, home: Path, deaf: bool) -> None:
    start_worker()
    run = await loop.queue_sft(await loop.make_project(), steps=1000, step_seconds=0.05, deaf=deaf)
    child = child_of(home, (await loop.until_at_work(run)).id)
    await loop.do(lambda db: runs.request_cancel(db, None, run))
    assert (await loop.until_over(run)).state == "cancelled"
    await until_gone(child)


async def test_a_worker_that_lost_a_run_for_good_leaves_it_failed_and_says_so(loop: Loop) -> None:
    run = await loop.queue_sft(await loop.make_project())
    for _ in range(3):
        assert await loop.do(lambda db: leases.claim(db, run.id, owner="gone", lease_seconds=LEASE_SECONDS))
        await loop.let_lease_expire(run)
        await reaper.look_around(loop.context)
    lost = await loop.read(run)
    assert (lost.state, lost.error) == ("failed", "The worker was lost 3 times during this run.")


@pytest.mark.parametrize("what", ["no database", "another revision"])
async def test_a_worker_that_cannot_work_says_why_in_one_line_and_fails(what: str, empty_database_url: str) -> None:
    url = empty_database_url if what == "another revision" else "postgresql://nobody@127.0.0.1:1/nothing"
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app.jobs.worker", env=os.environ | {"DATABASE_URL": url}, stderr=asyncio.subprocess.PIPE
    )
    _, said = await worker.communicate()
    assert worker.returncode == 1
    assert len(said.decode().splitlines()) == 1


async def assert_as_uninterrupted(loop: Loop, run: Run, home: Path) -> None:
    """One version, whose weights and metrics are those of a run that nothing happened to."""
    project = await loop.do(lambda db: db.get_one(Project, run.project_id))
    (version,) = await loop.versions(project)
    assert (home / version.folder / "weights.txt").read_text() == uninterrupted(seed_of(run), steps=STEPS)
    assert await loop.steps_of(run) == list(range(1, STEPS + 1))


def child_of(home: Path, run_id: int) -> int:
    """Process id of the newest training process of a run, as it told its log."""
    log = (home / f"runs/{run_id}/log.txt").read_text()
    return int(log.rsplit("runs as ", 1)[1].split()[0])


async def until_gone(process_id: int) -> None:
    while is_alive(process_id):  # noqa: ASYNC110 - nobody here can be told
        await asyncio.sleep(LOOK_SECONDS)


def is_alive(process_id: int) -> bool:
    """Whether it is more than the memory that its paused parent has of it."""
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
