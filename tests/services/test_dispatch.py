"""The way into the queue, and prompts on their way into a project: once each, whoever comes at the same time."""

import asyncio
from hashlib import sha256

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from app.db.tables import Prompt
from app.services import dispatch, prompts
from app.services.loop.stages.registry import queue_of
from app.services.prompts import NewPrompt
from tests.factories import make_project
from tests.waiting import somebody_waits_for_a_lock

JOBS = text("SELECT queue_name, task_name, queueing_lock, args FROM procrastinate_jobs ORDER BY id")


async def test_a_job_says_where_to_look_and_goes_where_its_stage_is_done(db: AsyncSession) -> None:
    for number, stage in enumerate(("sft", "generate", "select", "gate"), 1):
        await dispatch.defer_run(db, number, queue=queue_of(stage))
    await dispatch.defer_round(db, 7)
    await dispatch.defer_report(db, 3, "figures")
    assert [tuple(row) for row in await db.execute(JOBS)] == [
        ("training", "plumbline.run", "run:1", {"run_id": 1}),
        ("training", "plumbline.run", "run:2", {"run_id": 2}),
        ("steps", "plumbline.run", "run:3", {"run_id": 3}),
        ("steps", "plumbline.run", "run:4", {"run_id": 4}),
        ("steps", "plumbline.round", "round:7", {"round_id": 7}),
        ("steps", "plumbline.report", "report:3:figures", {"project_id": 3, "name": "figures"}),
    ]
    assert await dispatch.waiting_jobs(db) == {"run:1", "run:2", "run:3", "run:4", "round:7", "report:3:figures"}


async def test_a_job_that_waits_already_is_not_put_in_again_and_the_transaction_goes_on(db: AsyncSession) -> None:
    for _ in range(3):
        await dispatch.defer_run(db, 1, queue=queue_of("sft"))
        await dispatch.defer_round(db, 1)
    assert len((await db.execute(JOBS)).all()) == 2
    await db.execute(text("UPDATE procrastinate_jobs SET status = 'doing' WHERE queueing_lock = 'run:1'"))
    assert await dispatch.waiting_jobs(db) == {"round:1"}
    await dispatch.defer_run(db, 1, queue=queue_of("sft"))
    assert await dispatch.waiting_jobs(db) == {"run:1", "round:1"}, "one that is worked on may have looked too early"


async def test_of_two_requests_for_one_run_at_once_one_job_is_left(db: AsyncSession, sessions: SessionFactory) -> None:
    async def request() -> str:
        async with sessions() as own, own.begin():
            await dispatch.defer_run(own, 5, queue=queue_of("sft"))
            return str(await own.scalar(text("SELECT 'went on'")))

    async with sessions() as first, first.begin():
        await dispatch.defer_run(first, 5, queue=queue_of("sft"))
        late = asyncio.create_task(request())
        await somebody_waits_for_a_lock(db)
    assert await late == "went on"
    assert len((await db.execute(JOBS)).all()) == 1


def asked(*said: str, **more: str) -> NewPrompt:
    roles = ("user", "assistant") * len(said)
    return NewPrompt(tuple(zip(roles, said, strict=False)), source="test", **more)  # type: ignore[arg-type]


def test_a_prompt_is_known_by_who_said_what_and_by_nothing_else() -> None:
    assert asked("Hi").digest == sha256(b'[{"content":"Hi","role":"user"}]').digest()
    assert asked("Hi").digest == asked("Hi", topic="home", split="held_out").digest
    others = [asked("Hi "), asked("hi"), asked("Hi", "Hello", "Bye"), asked("Hi", "Hello, Bye"), asked("")]
    assert len({prompt.digest for prompt in [asked("Hi"), *others]}) == 6


@pytest.mark.parametrize(
    ("head", "split"),
    [(0, "validation"), (int(0.0999 * 2**64), "validation"), (int(0.1001 * 2**64), "train"), (2**64 - 1, "train")],
)
def test_a_tenth_of_the_digests_is_for_validation(head: int, split: str) -> None:
    assert prompts.split_of(head.to_bytes(8, "big") + bytes(24)) == split


async def test_a_prompt_that_is_there_keeps_its_split_and_one_that_comes_twice_comes_once(db: AsyncSession) -> None:
    project, other = await make_project(db), await make_project(db)
    first = await prompts.put(db, project, [asked("Hi", split="held_out", topic="home")])
    again = await prompts.put(db, project, [asked("Hi", split="train"), asked("Ho"), asked("Ho")])
    assert again[asked("Hi").digest] == first[asked("Hi").digest]
    assert len(again) == 2
    rows = list(await db.scalars(select(Prompt).where(Prompt.project_id == project.id).order_by(Prompt.id)))
    assert [(row.messages[0]["content"], row.topic) for row in rows] == [("Hi", "home"), ("Ho", None)]
    assert (rows[0].split, rows[1].split) == ("held_out", prompts.split_of(asked("Ho").digest))
    assert (await prompts.put(db, other, [asked("Hi")])).values() != first.values()
    assert await prompts.put(db, project, []) == {}


async def test_two_who_bring_the_same_prompt_at_once_get_the_same_one(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project = await make_project(db)
    await db.commit()

    async def bring() -> dict[bytes, int]:
        async with sessions() as own, own.begin():
            return await prompts.put(own, project, [asked("Hi")])

    async with sessions() as first, first.begin():
        mine = await prompts.put(first, project, [asked("Hi")])
        late = asyncio.create_task(bring())
        await somebody_waits_for_a_lock(db)
    assert await late == mine
