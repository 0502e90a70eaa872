"""A run that broke is left alone for a while before its next attempt, and for longer each time."""

from dataclasses import replace

from sqlalchemy import func, select, update

from app.db.tables import Run
from app.jobs import reaper
from app.services.loop.runs import runs
from tests.jobs.conftest import context, home, loop
from tests.jobs.loop import Loop

__all__ = ["context", "home", "loop"]


async def seconds_until_retry(loop: Loop, run: Run) -> float:
    """By the clock of the database."""
    left = select(func.extract("epoch", Run.retry_at - func.now())).where(Run.id == run.id)
    return float(await loop.do(lambda db: db.scalar(left)))


async def test_each_attempt_waits_twice_as_long_as_the_one_before_and_the_queue_moves_on(loop: Loop) -> None:
    loop.context = replace(loop.context, retry_seconds=10)
    project = await loop.make_project()
    run = await loop.queue_sft(project, crash_at=2)
    for attempt, pause_seconds in ((1, 10), (2, 20)):
        broken = await loop.execute(run)
        assert (broken.state, broken.attempt, broken.error) == ("queued", attempt, "RuntimeError: poisoned")
        assert pause_seconds - 5 < await seconds_until_retry(loop, run) <= pause_seconds
        await loop.forget_jobs()
        await reaper.look_around(loop.context)
        assert f"run:{run.id}" not in await loop.waiting_jobs()
        assert (await loop.execute(run)).attempt == attempt, "a job that comes too early does nothing"
        assert (await loop.execute(await loop.queue_sft(project))).state == "succeeded"
        past = func.now() - func.make_interval(0, 0, 0, 0, 0, 1)
        await loop.do(lambda db: db.execute(update(Run).where(Run.id == run.id).values(retry_at=past)))  # noqa: B023
        await loop.forget_jobs()
        await reaper.look_around(loop.context)
        assert f"run:{run.id}" in await loop.waiting_jobs()
    over = await loop.execute(run)
    assert (over.state, over.error) == ("failed", "Tried 3 times. The last time: RuntimeError: poisoned")


async def test_a_run_of_many_attempts_is_never_left_alone_for_days(loop: Loop) -> None:
    loop.context = replace(loop.context, retry_seconds=10)
    run = await loop.queue_sft(await loop.make_project(), crash_at=2)
    tried = update(Run).where(Run.id == run.id).values(attempt=20, max_attempts=30)
    await loop.do(lambda db: db.execute(tried))
    assert (await loop.execute(run)).state == "queued"
    assert 300 < await seconds_until_retry(loop, run) <= 320


async def test_whoever_retries_by_hand_waits_for_nothing(loop: Loop) -> None:
    loop.context = replace(loop.context, retry_seconds=1_000)
    run = await loop.queue_sft(await loop.make_project(), crash_once_at=2)
    assert (await loop.execute(run)).state == "queued"
    await loop.do(lambda db: runs.request_cancel(db, None, run))

    async def retry(db):  # type: ignore[no-untyped-def]
        return await runs.retry(db, None, await db.get_one(Run, run.id))

    await loop.do(retry)
    assert (await loop.execute(run)).state == "succeeded"
