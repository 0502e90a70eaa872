"""A run that broke is left alone for a while before its next attempt, and for longer each time."""

from dataclasses import replace
from pathlib import Path

from sqlalchemy import func, select, update

from app.db.tables import Run
from app.jobs import reaper
from app.services.health import Finding, Place, examine
from app.services.loop.runs import leases, runs
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


async def test_a_run_that_was_worked_on_and_is_handed_back_waits_from_then_on(loop: Loop, home: Path) -> None:
    run = await loop.queue_sft(await loop.make_project())
    hours_ago = func.now() - func.make_interval(0, 0, 0, 0, 3)
    await loop.do(lambda db: db.execute(update(Run).where(Run.id == run.id).values(queued_at=hours_ago)))

    async def looked_at() -> Finding:
        found = await examine(Place(loop.sessions, home, reserve_bytes=0))
        return next(finding for finding in found if finding.name == "queue")

    assert (await looked_at()).state == "failing", "nobody has taken it for hours, and there is no worker"
    token = await loop.do(lambda db: leases.claim(db, run.id, owner="one", lease_seconds=60))
    assert token is not None
    assert await loop.do(lambda db: leases.give_back(db, run.id, token, counts=False))
    assert (await looked_at()).state == "ok", "whoever comes next has had no time yet"
    assert await loop.do(lambda db: leases.claim(db, run.id, owner="two", lease_seconds=60)) is not None
