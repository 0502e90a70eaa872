"""Errands: what a worker's resident process says grows in a row, and comes to an end whatever happens."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory, transaction
from app.db.tables import Completion, Errand, Prompt, Task, TaskCompletion
from app.errors import Conflict, Invalid
from app.jobs import errands as jobs
from app.jobs.context import WorkerContext
from app.jobs.resident import Resident
from app.services import prompts
from app.services.loop.asking import tasks_by_hand
from app.services.loop.chores import errands
from app.services.loop.chores.errands import Pair, Writing
from app.services.loop.comparisons.writers import Writer
from app.services.loop.models import models
from app.services.prompts import NewPrompt
from tests.browser.seed import Seeded
from tests.browser.seed.versions import write_models
from tests.jobs.conftest import make_context
from tests.seeded import seeded, seeded_template, seeded_url
from training.records import Message

__all__ = ["seeded", "seeded_template", "seeded_url"]

PROGRAM = (sys.executable, str(Path(__file__).with_name("fake_answering.py")))


@pytest.fixture
def database_url(seeded_url: str) -> str:
    return seeded_url


@pytest.fixture
def context(sessions: SessionFactory, home: Path) -> WorkerContext:
    write_models(home)
    return make_context(sessions, home)


@pytest.fixture
async def resident(home: Path) -> AsyncIterator[Resident]:
    made = Resident(PROGRAM, dict(os.environ), home / "logs")
    yield made
    over = asyncio.Event()
    over.set()
    await made.keep_watch(over)


async def ask(sessions: SessionFactory, seeded: Seeded, text: str, *, samples: int = 1, policies: int = 2) -> Errand:
    writers = [Writer("policy", version.id) for version in seeded.policies[:policies]]
    async with transaction(sessions) as db:
        return await errands.write(
            db, seeded.owner.id, seeded.project, Writing([Message("user", text)], writers, samples=samples)
        )


async def read(sessions: SessionFactory, errand: Errand) -> Errand:
    async with sessions() as db:
        return await db.get_one(Errand, errand.id)


async def begun(sessions: SessionFactory, errand: Errand) -> None:
    while True:
        if (await read(sessions, errand)).answers[0]["text"] == "and":
            return
        await asyncio.sleep(0.02)


async def test_every_writer_answers_and_the_reward_model_in_use_says_what_it_makes_of_it(
    sessions: SessionFactory, seeded: Seeded, context: WorkerContext, resident: Resident
) -> None:
    async with transaction(sessions) as db:
        reward = await models.newest(db, seeded.project.id, "reward")
        assert reward is not None
        number = reward.number
        await models.promote(db, None, reward, reason="It will do.")
    errand = await ask(sessions, seeded, "why is the sky blue", samples=2)
    await jobs.perform(context, resident, errand.id)
    done = await read(sessions, errand)
    assert (done.state, done.error) == ("succeeded", None)
    first, second = (f"policy-{version.number} says: why is the sky blue" for version in seeded.policies[:2])
    assert [answer["text"] for answer in done.answers] == [f"{first} 0", f"{first} 1", f"{second} 0", f"{second} 1"]
    assert [answer["reward"] for answer in done.answers] == [len(answer["text"]) / 10 for answer in done.answers]
    assert {answer["reward_by"] for answer in done.answers} == {number}
    assert {answer["state"] for answer in done.answers} == {"done"}


async def test_of_two_workers_one_does_it(
    sessions: SessionFactory, seeded: Seeded, context: WorkerContext, home: Path, resident: Resident
) -> None:
    errand = await ask(sessions, seeded, "why")
    async with transaction(sessions) as one, transaction(sessions) as other:
        taken = await errands.take(one, errand.id)
        waiting = asyncio.create_task(errands.take(other, errand.id))
        await one.commit()
        assert taken is not None
        assert await waiting is None


async def test_what_goes_wrong_with_one_writer_is_told_in_its_place(
    sessions: SessionFactory, seeded: Seeded, context: WorkerContext, resident: Resident, home: Path
) -> None:
    (home / "models" / f"policy-{seeded.policies[0].number}" / "manifest.json").write_text("{}")
    errand = await ask(sessions, seeded, "why")
    await jobs.perform(context, resident, errand.id)
    broken, fine = (await read(sessions, errand)).answers
    assert broken["state"] == "failed"
    assert "has no readable manifest" in broken["problem"]
    assert fine["state"] == "done"


async def test_a_process_that_ends_is_started_again_for_the_next_question(
    sessions: SessionFactory, seeded: Seeded, context: WorkerContext, resident: Resident
) -> None:
    errand = await ask(sessions, seeded, "die", policies=1)
    await jobs.perform(context, resident, errand.id)
    (answer,) = (await read(sessions, errand)).answers
    assert answer["problem"].startswith("The process that answers has ended")
    errand = await ask(sessions, seeded, "refuse", policies=1)
    await jobs.perform(context, resident, errand.id)
    (answer,) = (await read(sessions, errand)).answers
    assert answer["problem"] == "no prompt leaves room"


async def test_it_is_there_before_the_first_question(
    sessions: SessionFactory, seeded: Seeded, context: WorkerContext, resident: Resident
) -> None:
    await resident.wake()
    woken = (await resident.ask({"do": "wake"}))["pid"]
    await jobs.perform(context, resident, (await ask(sessions, seeded, "why")).id)
    assert (await resident.ask({"do": "wake"}))["pid"] == woken
    broken = Resident((sys.executable, "-c", "raise SystemExit(1)"), dict(os.environ), context.home / "logs")
    await broken.wake()


async def test_a_worker_that_stops_ends_what_it_is_at(
    sessions: SessionFactory, seeded: Seeded, context: WorkerContext, resident: Resident
) -> None:
    errand = await ask(sessions, seeded, "hang", policies=1)
    working = asyncio.create_task(jobs.perform(context, resident, errand.id))
    await begun(sessions, errand)
    context.stopping.set()
    async with asyncio.timeout(5):
        await working
    done = await read(sessions, errand)
    assert (done.state, done.error) == ("failed", errands.LOST)


async def test_responses_are_scored_in_their_order(
    sessions: SessionFactory, seeded: Seeded, context: WorkerContext, resident: Resident
) -> None:
    prompt = [Message("user", "why")]
    async with transaction(sessions) as db:
        reward = await models.newest(db, seeded.project.id, "reward")
        assert reward is not None
        errand = await errands.score(
            db, None, seeded.project, reward, [Pair(prompt, "long enough"), Pair(prompt, "so")]
        )
    await jobs.perform(context, resident, errand.id)
    done = await read(sessions, errand)
    assert done.answers == [{"raw": 11.0, "score": 1.1}, {"raw": 2.0, "score": 0.2}]


async def test_what_nobody_takes_or_ends_is_over_in_the_end_and_forgotten_a_day_later(
    sessions: SessionFactory, seeded: Seeded
) -> None:
    untaken, lost = await ask(sessions, seeded, "why"), await ask(sessions, seeded, "why")
    ago = func.now() - func.make_interval(0, 0, 0, 0, 1)
    async with transaction(sessions) as db:
        await errands.take(db, lost.id)
        await db.execute(update(Errand).where(Errand.id == untaken.id).values(created_at=ago))
        await db.execute(update(Errand).where(Errand.id == lost.id).values(expires_at=ago))
        await errands.tidy(db)
    assert (await read(sessions, untaken)).error == errands.NOBODY_CAME
    assert (await read(sessions, lost)).error == errands.LOST
    async with transaction(sessions) as db:
        await db.execute(update(Errand).values(ended_at=func.now() - func.make_interval(0, 0, 0, 1, 1)))
        await errands.tidy(db)
        assert await db.scalar(select(func.count()).select_from(Errand)) == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"messages": [Message("user", " ")]}, "A prompt ends with what a user says."),
        ({"messages": [Message("assistant", "x")]}, "A prompt ends with what a user says."),
        ({"messages": [Message("user", "x" * 20_001)]}, "A prompt has at most 20000 characters."),
        ({"writers": []}, "Choose 1 to 6 writers."),
        ({"writers": [Writer("policy", 99_999)]}, "A writer is a policy or a served model of this project."),
        ({"samples": 9}, "From 1 to 8 responses are written by each."),
        ({"max_new_tokens": 0}, "A response has 1 to 1024 tokens."),
        ({"temperature": 0.0}, "The temperature lies from 0.01 to 2."),
    ],
)
async def test_what_cannot_be_asked_is_refused_in_words(
    db: AsyncSession, seeded: Seeded, change: dict[str, object], said: str
) -> None:
    usual = Writing([Message("user", "why")], [Writer("policy", seeded.policies[0].id)])
    with pytest.raises(Invalid, match=said):
        await errands.write(db, None, seeded.project, replace(usual, **change))  # type: ignore[arg-type]


async def test_a_reward_model_writes_nothing(db: AsyncSession, seeded: Seeded) -> None:
    reward = await models.newest(db, seeded.project.id, "reward")
    assert reward is not None
    with pytest.raises(Invalid, match="A writer is a policy"):
        await errands.write(db, None, seeded.project, Writing([Message("user", "why")], [Writer("policy", reward.id)]))


async def test_a_task_is_made_of_two_responses_once(db: AsyncSession, seeded: Seeded) -> None:
    errand = await errands.get(db, seeded.project, seeded.errand.id)
    task = await tasks_by_hand.make(db, seeded.project, errand, [0, 1])
    assert await tasks_by_hand.make(db, seeded.project, errand, [0, 1]) is task
    held = select(Completion).join(TaskCompletion, TaskCompletion.completion_id == Completion.id)
    responses = list(await db.scalars(held.where(TaskCompletion.task_id == task.id).order_by(TaskCompletion.position)))
    assert [response.text for response in responses] == [answer["text"] for answer in errand.answers]
    assert [response.model_version_id for response in responses] == [version.id for version in seeded.policies[:2]]
    prompt = await db.get_one(Prompt, task.prompt_id)
    assert (prompt.messages, prompt.source) == (errand.asked["messages"], "playground")
    assert (task.state, task.purpose, task.quota) == ("open", "label", seeded.project.overlap)


async def test_no_task_is_made_of_what_nobody_could_compare(db: AsyncSession, seeded: Seeded) -> None:
    errand = await errands.get(db, seeded.project, seeded.errand.id)
    for places in ([0], [0, 0]):
        with pytest.raises(Invalid, match="compares 2 responses"):
            await tasks_by_hand.make(db, seeded.project, errand, places)
    with pytest.raises(Invalid, match="no such response"):
        await tasks_by_hand.make(db, seeded.project, errand, [0, 7])
    first, second = errand.answers
    for other, said in (
        ({"text": first["text"]}, "the same"),
        ({"text": " "}, "empty"),
        ({"state": "failed"}, "written to its end"),
    ):
        errand.answers = [first, {**second, **other}]
        await db.flush()
        with pytest.raises(Conflict, match=said):
            await tasks_by_hand.make(db, seeded.project, errand, [0, 1])
    errand.answers = [first, second]
    await db.flush()
    (turn,) = errand.asked["messages"]
    await prompts.put(
        db, seeded.project, [NewPrompt(((turn["role"], turn["content"]),), "elsewhere", split="held_out")]
    )
    before = await db.scalar(select(func.count()).select_from(Task))
    with pytest.raises(Conflict, match="held out"):
        await tasks_by_hand.make(db, seeded.project, errand, [0, 1])
    assert await db.scalar(select(func.count()).select_from(Task)) == before
