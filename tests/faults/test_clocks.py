"""Clocks that jump (R15): what is reserved, leased or put off goes by the database's clock, never by that of a process.

The clock of the machine that has the database is not moved here.
"""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory, transaction
from app.db.tables import Assignment, Judgement, Run
from app.jobs import reaper
from app.services.judging import assignments, judgements
from app.services.judging.answers import Answer
from app.services.judging.judgements import Submission
from app.services.loop.runs import leases
from tests.factories import make_scene
from tests.jobs.conftest import context, home, loop
from tests.jobs.loop import LEASE_SECONDS, Loop
from tests.jobs.test_workers import assert_as_uninterrupted

__all__ = ["context", "home", "loop"]

ROOT = Path(__file__).parents[2]
JUMPS = [timedelta(hours=1), timedelta(hours=-1), timedelta(days=40), timedelta(days=-40)]
# Where a process's own clock is asked: what a file of a project says of runs that are over, how long another server
# asks to be left alone, how long ago something was, a preview that nobody keeps, the name of a backup, what a
# receiver holds its own clock against, and the doctor,
# who holds both clocks side by side.
ASKED = {
    "app/cli/database_findings.py",
    "app/jobs/hooks.py",
    "app/services/backups/manifest.py",
    "app/services/data/storing/uploads.py",
    "app/services/projects/unpacking.py",
    "app/services/published/bucket.py",
    "app/services/published/copies.py",
    "app/services/served/client.py",
    "app/web/rendering/render.py",
    "app/web/pages/preview.py",
}


def ids(jump: timedelta) -> str:
    return f"{jump.total_seconds() / 3600:+.0f} h"


@pytest.mark.parametrize("jump", JUMPS, ids=ids)
async def test_a_run_whose_workers_clock_jumps_is_kept_and_ends_as_if_nothing_had_happened(
    loop: Loop, home: Path, jump: timedelta
) -> None:
    run = await loop.queue_sft(await loop.make_project(), steps=12, step_seconds=0.05)
    at_work = asyncio.create_task(loop.execute(run))
    await loop.until_at_work(run)
    with time_machine.travel(datetime.now(UTC) + jump, tick=True):
        await reaper.look_around(loop.context)
        assert await loop.do(lambda db: leases.expired(db, lease_seconds=LEASE_SECONDS)) == []
        assert await loop.do(lambda db: leases.claim(db, run.id, owner="b", lease_seconds=LEASE_SECONDS)) is None
        async with asyncio.timeout(60):
            done = await at_work
    assert (done.state, done.attempt, done.lease_token) == ("succeeded", 1, 1)
    assert done.queued_at <= (done.started_at or done.queued_at) <= (done.finished_at or done.queued_at)
    assert abs(done.queued_at - datetime.now(UTC)) < timedelta(minutes=10)
    await assert_as_uninterrupted(loop, done, home)


@pytest.mark.parametrize("jump", JUMPS, ids=ids)
async def test_a_reservation_lasts_as_long_as_it_lasts_whatever_the_sites_clock_says(
    db: AsyncSession, sessions: SessionFactory, jump: timedelta
) -> None:
    project, _task, annotator = await make_scene(db)
    await db.commit()
    async with transaction(sessions) as own:
        leased = await assignments.lease_next(own, annotator, project)
    assert leased is not None
    with time_machine.travel(datetime.now(UTC) + jump, tick=True):
        async with transaction(sessions) as own:
            await assignments.reclaim_expired(own)
            again = await assignments.lease_next(own, annotator, project)
        assert again is not None
        assert again.id == leased.id
        async with transaction(sessions) as own:
            await judgements.submit(own, annotator, leased.id, Submission(Answer(1), "key"))
    judgement = (await db.scalars(select(Judgement))).one()
    assignment = (await db.scalars(select(Assignment))).one()
    assert abs(judgement.submitted_at - datetime.now(UTC)) < timedelta(minutes=10)
    assert assignment.state == "submitted"
    assert (await db.scalars(select(Run))).all() == []


def test_no_other_file_asks_a_processs_own_clock_what_day_it_is() -> None:
    asking = re.compile(r"datetime\.now|utcnow|time\.time\(|date\.today")
    found = {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "app").rglob("*.py") if asking.search(path.read_text())
    }
    assert found == ASKED
