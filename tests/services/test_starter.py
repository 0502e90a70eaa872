"""The starter project: complete at the first start, and made once."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app import starter as texts
from app.db.session import SessionFactory
from app.db.tables import Completion, Demonstration, Member, Project, Prompt, Run, Task, TaskCompletion, User
from app.errors import Invalid
from app.services import accounts
from app.services.data import datasets
from app.services.judging import assignments
from app.services.projects import projects, standing
from app.services.starter import COMPARISONS, STAGE_SETTINGS, ensure_starter
from app.settings import settings
from tests.factories import principal
from tests.services.loop.test_base_models import write_model


@pytest.fixture(autouse=True)
def _few_demonstrations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing all of them takes seconds."""
    monkeypatch.setattr("app.services.starter.DEMONSTRATIONS_PER_PROMPT", 1)


async def start(sessions: SessionFactory) -> None:
    async with sessions() as db, db.begin():
        await ensure_starter(db)


async def count(db: AsyncSession, table: type) -> int:
    return await db.scalar(select(func.count()).select_from(table)) or 0


async def test_a_first_start_makes_all_that_the_first_minute_needs(db: AsyncSession, sessions: SessionFactory) -> None:
    await start(sessions)
    project = (await db.scalars(select(Project))).one()
    overview = await standing.overview(db, project)
    assert sum(overview.prompts_by_split.values()) == len(texts.prompts())
    assert overview.prompts_by_split["held_out"] == sum(prompt.split == "held_out" for prompt in texts.prompts())
    assert 0.04 < overview.prompts_by_split["validation"] / overview.prompts_by_split["train"] < 0.2
    assert overview.demonstrations == overview.prompts_by_split["train"] + overview.prompts_by_split["validation"]
    assert overview.tasks_open == COMPARISONS
    run = (await db.scalars(select(Run))).one()
    assert (run.stage, run.state) == ("sft", "queued")
    members = await db.execute(select(User.name, User.is_admin, Member.role).join(Member))
    assert {tuple(row) for row in members} == {("Admin", True, "owner"), ("Annotator", False, "annotator")}


async def test_the_annotator_can_judge_a_starter_pair_at_once(db: AsyncSession, sessions: SessionFactory) -> None:
    await start(sessions)
    annotator = principal(await accounts.find_user(db, "Annotator"))
    project = await projects.get(db, annotator, "starter")
    lease = await assignments.lease_next(db, annotator, project)
    assert lease is not None
    view = await assignments.view(db, annotator, lease.id)
    (_, one), (_, other) = view.panes
    assert one != other
    assert view.messages[-1].content in {prompt.text for prompt in texts.prompts()}


async def test_what_is_held_out_is_neither_demonstrated_nor_asked_about(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    await start(sessions)
    demonstrated = await db.scalars(select(Prompt.split).join(Demonstration).distinct())
    assert set(demonstrated) == {"train", "validation"}
    asked = Counter(await db.scalars(select(Prompt.split).join(Task)))
    assert set(asked) == {"train", "validation"}


async def test_every_starter_task_has_two_responses_to_its_own_prompt(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    await start(sessions)
    rows = await db.execute(
        select(Task.id, TaskCompletion.position)
        .join(TaskCompletion)
        .join(Completion)
        .where(Completion.prompt_id == Task.prompt_id, Completion.source == "starter")
    )
    positions = Counter((task_id, position) for task_id, position in rows)
    assert len(positions) == 2 * COMPARISONS
    assert set(positions.values()) == {1}
    assert {position for _, position in positions} == {0, 1}


async def test_a_later_start_changes_nothing(db: AsyncSession, sessions: SessionFactory) -> None:
    await start(sessions)
    tables = (Project, User, Prompt, Demonstration, Completion, Task, Run)
    before = [await count(db, table) for table in tables]
    await start(sessions)
    assert [await count(db, table) for table in tables] == before


async def test_two_processes_that_start_at_once_make_one_starter(db: AsyncSession, sessions: SessionFactory) -> None:
    await asyncio.gather(start(sessions), start(sessions))
    assert [await count(db, table) for table in (Project, User, Run)] == [1, 2, 1]


async def test_a_start_that_is_interrupted_leaves_nothing_behind(
    db: AsyncSession, sessions: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr("app.services.loop.runs.starting.start", fail)
        with pytest.raises(ConnectionError):
            await start(sessions)
    assert [await count(db, table) for table in (Project, User, Prompt)] == [0, 0, 0]
    await start(sessions)
    assert await count(db, Project) == 1


async def test_the_seed_decides_the_texts_and_reaches_the_rounds(
    db: AsyncSession, sessions: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUMBLINE_STARTER_SEED", "7")
    settings.cache_clear()
    try:
        await start(sessions)
    finally:
        monkeypatch.undo()
        settings.cache_clear()
    assert (await db.scalars(select(Project.round_settings))).one() == {"seed": 7, **STAGE_SETTINGS}
    first = await db.scalar(select(Completion.text).order_by(Completion.id).limit(1))
    assert first == texts.comparisons(7, COMPARISONS)[0][1].text


async def test_a_model_that_is_brought_is_taken_as_it_is_and_nothing_is_trained(
    db: AsyncSession, sessions: SessionFactory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(write_model(tmp_path / "model").parent)
    monkeypatch.setenv("PLUMBLINE_STARTER_MODEL", "model")
    settings.cache_clear()
    try:
        await start(sessions)
    finally:
        monkeypatch.undo()
        settings.cache_clear()
    run = (await db.scalars(select(Run))).one()
    assert (run.stage, run.settings["model"]) == ("adopt", str(tmp_path / "model"))
    # SFT would start from it, if somebody asks for that.
    assert (await db.scalars(select(Project.policy_source))).one() == str(tmp_path / "model")


async def test_a_directory_that_is_no_model_is_refused_before_anything_is_made(
    db: AsyncSession, sessions: SessionFactory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PLUMBLINE_STARTER_MODEL", str(tmp_path))
    settings.cache_clear()
    try:
        with pytest.raises(Invalid, match=r"no config\.json"):
            await start(sessions)
    finally:
        monkeypatch.undo()
        settings.cache_clear()
    assert await count(db, Project) == 0


async def test_the_first_policy_learns_from_train_prompts_and_can_be_measured_on_others(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    await start(sessions)
    project = (await db.scalars(select(Project))).one()
    learnt = {record.prompt_id for record in await datasets.demonstrations(db, project.id, "train")}
    measured = {record.prompt_id for record in await datasets.demonstrations(db, project.id, "validation")}
    assert learnt
    assert measured, "its gate refuses what could not be measured"
    assert not learnt & measured
