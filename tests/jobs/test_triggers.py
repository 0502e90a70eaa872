"""Rounds that a worker starts by itself: by what people have said meanwhile, as the head that it fits finds."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from app.db.tables import DatasetJudgement, Judgement, Project
from app.jobs import reaper
from app.jobs.context import WorkerContext
from app.services.loop import round_rows
from app.services.reports import reports
from app.services.reports.loop import LOOP
from app.settings import settings
from tests.browser.seed.read import make_read
from tests.browser.seed.runs import make_run
from tests.browser.seed.versions import make_dataset, make_version, promote
from tests.factories import make_project, make_user
from tests.jobs.conftest import make_context
from tests.jobs.loop import Loop

KNOWN = 160
"""Judgements that the reward model in use has learnt from."""


@pytest.fixture
def loop(sessions: SessionFactory, context: WorkerContext) -> Loop:
    return Loop(sessions, context)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of this process, too, in which the report looks for what models have read."""
    monkeypatch.setenv("PLUMBLINE_HOME", str(tmp_path / "home"))
    settings.cache_clear()
    return tmp_path / "home"


async def taught(db: AsyncSession, home: Path, *, turned: bool, **triggers: object) -> Project:
    """A project whose reward model has learnt from some judgements, of which those after them say the opposite."""
    project = await make_project(db)
    project.round_settings = {"triggers": {"at_once": False, **triggers}}
    owner = await make_user(db)
    first = await make_version(db, await make_run(db, project, "sft", hours=9, minutes=1), "policy", 1, {})
    run = await make_run(db, project, "ppo", hours=8, minutes=1)
    second = await make_version(db, run, "policy", 2, {}, reference_id=first.id)
    await promote(db, second, None, hours=7, actor=None, reason="")
    after = KNOWN if turned else None
    await make_read(db, project, [owner], home, [first, second], labels=220, random_share=0.5, turned_after=after)
    snapshot = await make_run(db, project, "snapshot", hours=7, minutes=1)
    dataset = await make_dataset(db, project, "preferences", 1, KNOWN, {}, snapshot)
    said = await db.scalars(select(Judgement.id).where(Judgement.project_id == project.id).order_by(Judgement.id))
    db.add_all(DatasetJudgement(dataset_version_id=dataset.id, judgement_id=key) for key in said.all()[:KNOWN])
    run = await make_run(db, project, "reward", hours=6, minutes=1)
    reward = await make_version(db, run, "reward", 1, {}, dataset_version_id=dataset.id)
    await promote(db, reward, None, hours=6, actor=None, reason="")
    return project


async def looked(loop: Loop, project: Project) -> tuple[str | None, float | None]:
    """What started a round after a worker has looked, written what it asked for, and looked again."""
    await reaper.look_around(loop.context)
    await loop.do(lambda db: reports.write(db, project.id, LOOP.name))
    await reaper.look_around(loop.context)
    round_ = await loop.do(lambda db: round_rows.latest(db, project.id))
    return (None, None) if round_ is None else (round_.trigger, round_.trigger_figure)


async def test_people_who_say_the_opposite_from_one_day_on_start_a_round(loop: Loop, home: Path) -> None:
    project = await loop.do(lambda db: taught(db, home, turned=True, on_drift=True))
    trigger, drift = await looked(loop, project)
    assert trigger == "drift"
    assert drift is not None
    assert drift > 5


async def test_people_who_go_on_as_before_start_none(loop: Loop, home: Path) -> None:
    project = await loop.do(lambda db: taught(db, home, turned=False, on_drift=True, on_outlying=True))
    assert await looked(loop, project) == (None, None)


async def test_two_workers_that_look_at_once_start_one_round(loop: Loop, sessions: SessionFactory, home: Path) -> None:
    project = await loop.do(lambda db: taught(db, home, turned=True, on_drift=True, on_labels=True, labels=10, days=1))
    workers = [make_context(sessions, home, owner=name) for name in ("one", "another")]
    await asyncio.gather(*(reaper.look_around(worker) for worker in workers for _ in range(2)))
    found = await loop.do(lambda db: round_rows.list_rounds(db, project.id))
    assert [round_.trigger for round_ in found] == ["labels"]
