"""Pairs of what several writers wrote: who is compared with whom."""

import random
from collections import Counter

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Completion, Project, Prompt, ServedModel, TaskCompletion
from app.errors import Invalid
from app.services.loop.asking import selection
from app.services.loop.comparisons import writers
from app.services.loop.comparisons.writers import Writer
from app.services.projects import question
from tests.factories import make_project, make_prompt
from tests.services.loop.test_selection import make_policy, tasks_of, texts_of


async def make_served(db: AsyncSession, project: Project, name: str) -> Writer:
    served = ServedModel(project_id=project.id, name=name, address="https://example.org/v1", model="m")
    db.add(served)
    await db.flush()
    return Writer("served", served.id)


async def write(db: AsyncSession, prompt: Prompt, writer: Writer, *texts: str) -> None:
    by = (
        {"source": "served", "served_model_id": writer.id, "made_with": {"model": "m"}}
        if writer.kind == "served"
        else {"source": "policy", "model_version_id": writer.id}
    )
    db.add_all(Completion(prompt_id=prompt.id, text=text, **by) for text in texts)
    await db.flush()


async def compare(db: AsyncSession, project: Project, *compared: Writer, count: int = 99) -> selection.Selected:
    return await selection.make_tasks(db, project, count=count, rng=random.Random(0), writers=compared)


async def test_a_pair_of_two_writers_has_one_response_of_each_and_no_text_twice(db: AsyncSession) -> None:
    project = await make_project(db)
    one, two = await make_served(db, project, "one"), await make_served(db, project, "two")
    both, same, alone = [await make_prompt(db, project) for _ in range(3)]
    await write(db, both, one, "a", "b", "c")
    await write(db, both, two, "x", "y")
    await write(db, same, one, "a")
    await write(db, same, two, "a")
    await write(db, alone, one, "a", "b")
    assert (await compare(db, project, one, two)).made == 2
    pairs = [sorted(await texts_of(db, task)) for task in await tasks_of(db, project)]
    assert {task.prompt_id for task in await tasks_of(db, project)} == {both.id}
    assert all(first in "abc" and second in "xy" for first, second in pairs)
    assert (await compare(db, project, one, two)).made == 0


async def test_responses_of_one_writer_are_compared_with_each_other(db: AsyncSession) -> None:
    project = await make_project(db)
    one, two = await make_served(db, project, "one"), await make_served(db, project, "two")
    prompt = await make_prompt(db, project)
    await write(db, prompt, one, "a", "b")
    await write(db, prompt, two, "x", "y")
    assert (await compare(db, project, one)).made == 1
    (task,) = await tasks_of(db, project)
    assert sorted(await texts_of(db, task)) == ["a", "b"]


async def test_in_larger_sets_the_writers_take_turns(db: AsyncSession) -> None:
    project = await make_project(db)
    project.question = question.checked({"answer_type": "ranking", "size": 4}).to_json()
    served = await make_served(db, project, "served")
    policy = Writer("policy", (await make_policy(db, project)).id)
    prompt = await make_prompt(db, project)
    await write(db, prompt, served, "a", "b", "c", "d", "e")
    await write(db, prompt, policy, "w", "x", "y", "z")
    made = await compare(db, project, served, policy)
    assert (made.made, made.model_version_ids) == (2, (policy.id,))
    for task in await tasks_of(db, project):
        sources = await db.scalars(
            select(Completion.source).join(TaskCompletion).where(TaskCompletion.task_id == task.id)
        )
        assert Counter(sources) == {"served": 2, "policy": 2}


async def test_of_three_writers_all_get_to_be_compared(db: AsyncSession) -> None:
    project = await make_project(db)
    three = [await make_served(db, project, name) for name in "abc"]
    for _ in range(4):
        prompt = await make_prompt(db, project)
        for writer in three:
            await write(db, prompt, writer, f"{writer} 1", f"{writer} 2")
    assert (await compare(db, project, *three)).made == 12
    texts = [await texts_of(db, task) for task in await tasks_of(db, project)]
    pairs = Counter(frozenset(text.partition(" ")[0] for text in pair) for pair in texts)
    assert len(pairs) == 3
    assert all(len(pair) == 2 for pair in pairs)


async def test_rounds_choose_among_what_policies_wrote_alone(db: AsyncSession) -> None:
    project = await make_project(db)
    await write(db, await make_prompt(db, project), await make_served(db, project, "served"), "a", "b")
    assert (await selection.make_tasks(db, project, count=9, rng=random.Random(0))).made == 0


async def test_who_can_be_compared_is_the_policy_in_use_and_whatever_served_model_there_is(db: AsyncSession) -> None:
    project, other = await make_project(db), await make_project(db)
    one = await make_served(db, project, "one")
    theirs = await make_served(db, other, "theirs")
    policy = await make_policy(db, project)
    found = await writers.writers_of(db, project)
    assert [(str(found.writer), found.name) for found in found] == [(str(one), "one"), (f"policy:{policy.id}", "1")]
    with pytest.raises(Invalid):
        await writers.require(db, project, [theirs])
    for text in ("served", "judge:1", "served:x", "served:-1", "served:" + "9" * 30):
        with pytest.raises(Invalid):
            Writer.parse(text)
