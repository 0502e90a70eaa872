"""The pool that pairs are chosen from: what is in it, what never is, and what a task of it remembers."""

import random
from collections.abc import Sequence

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Completion, Project, Task
from app.services.loop.asking import selection
from app.services.loop.asking.selection import Candidate, Selection
from app.services.loop.models import models
from app.services.projects import question
from tests.factories import make_project, make_prompt, make_task
from tests.services.loop.test_selection import make_policy, tasks_of, texts_of, write


class OldestFirst:
    """A rule of somebody's own: the oldest prompts, each with a chance of one half."""

    name = "oldest"

    def __call__(self, candidates: Sequence[Candidate], count: int, rng: random.Random) -> Sequence[Selection]:
        return [Selection(one, 0.5) for one in sorted(candidates, key=lambda one: one.prompt_id)[:count]]


async def test_only_what_policies_in_use_wrote_for_prompts_that_are_not_held_out_is_in_the_pool(
    db: AsyncSession,
) -> None:
    project, other = await make_project(db), await make_project(db)
    policy, theirs = await make_policy(db, project), await make_policy(db, other)
    candidate = await models.register(
        db, project_id=project.id, kind="policy", run_id=None, folder="models/c", manifest_sha256="0", figures={}
    )
    for split, version_id, source in (
        ("held_out", policy.id, "policy"),
        ("train", candidate.id, "policy"),
        ("train", None, "person"),
        ("train", None, "imported"),
        ("validation", policy.id, "policy"),
    ):
        prompt = await make_prompt(db, project, split=split)  # type: ignore[arg-type]
        db.add_all(
            Completion(prompt_id=prompt.id, text=f"{split} {source} {text}", source=source, model_version_id=version_id)
            for text in "ab"
        )
    await write(db, other, theirs, "a", "b")
    await db.flush()
    made = await selection.make_tasks(db, project, count=9, rng=random.Random(0))
    assert (made.wanted, made.made, made.model_version_ids) == (9, 1, (policy.id,))
    (task,) = await tasks_of(db, project)
    assert sorted(await texts_of(db, task)) == ["validation policy a", "validation policy b"]


async def test_a_project_that_compares_several_gets_whole_sets_of_different_texts(db: AsyncSession) -> None:
    project = await make_project(db, overlap=2)
    project.question = question.checked({"answer_type": "ranking", "size": 3}).to_json()
    policy = await make_policy(db, project)
    await write(db, project, policy, "a", "b", "c", "c", "d", "e", "f", "g")
    await write(db, project, policy, "a", "b", "a", "b")
    assert (await selection.make_tasks(db, project, count=9, rng=random.Random(0))).made == 2
    shown = [text for task in await tasks_of(db, project) for text in await texts_of(db, task)]
    assert len(shown) == len(set(shown)) == 6
    assert {task.quota for task in await tasks_of(db, project)} == {2}


async def test_a_task_remembers_its_rule_its_chance_and_its_round_and_comes_in_random_order_after_others(
    db: AsyncSession,
) -> None:
    project = await make_project(db)
    policy = await make_policy(db, project)
    for _ in range(8):
        await write(db, project, policy, "a", "b")
    await selection.make_tasks(db, project, count=6, rng=random.Random(3), priority=7.0)
    tasks = await tasks_of(db, project)
    assert all(7 <= task.priority < 8 for task in tasks)
    assert len({task.priority for task in tasks}) == 6
    assert [task.id for task in tasks] != [task.id for task in sorted(tasks, key=lambda task: -task.priority)]
    assert {(task.selection["rule"], task.selection["propensity"]) for task in tasks} == {("uniform", 6 / 8)}
    made = await selection.make_tasks(db, project, count=1, rng=random.Random(3), rule=OldestFirst())
    assert made.made == 1
    newest = (await tasks_of(db, project))[-1]
    assert newest.selection == {"rule": "oldest", "propensity": 0.5}
    left = {task.prompt_id for task in await tasks_of(db, project)}
    assert len(left) == 7, "a prompt of its own: the first six are in tasks already"


async def test_the_same_seed_chooses_the_same_pairs(db: AsyncSession) -> None:
    chosen = []
    for seed in (5, 5, 6):
        project = await make_project(db)
        policy = await make_policy(db, project)
        for _ in range(12):
            await write(db, project, policy, "a", "b")
        first = min(await db.scalars(select(Completion.prompt_id).where(Completion.model_version_id == policy.id)))
        await selection.make_tasks(db, project, count=5, rng=random.Random(seed))
        chosen.append([task.prompt_id - first for task in await tasks_of(db, project)])
    assert chosen[0] == chosen[1] != chosen[2]


@pytest.mark.parametrize("count", [0, 3])
async def test_nothing_is_made_of_nothing_and_of_no_wish(db: AsyncSession, count: int) -> None:
    project = await make_project(db)
    await make_policy(db, project)
    assert (await selection.make_tasks(db, project, count=count, rng=random.Random(0))).made == 0
    assert await tasks_of(db, project) == []
    assert await selection.open_places(db, project.id) == 0


async def test_places_are_open_where_a_label_can_still_be_given(db: AsyncSession) -> None:
    project: Project = await make_project(db, overlap=3)
    states = [("label", "open", 1, 1), ("label", "retired", 0, 0), ("label", "closed", 3, 0), ("gold", "open", 0, 0)]
    for purpose, state, judged, skipped in states:
        task: Task = await make_task(db, project)
        task.purpose, task.state = purpose, state
        task.judged, task.skipped, task.taken = judged, skipped, judged + skipped
    await make_task(db, await make_project(db))
    await db.flush()
    assert await selection.open_places(db, project.id) == 1
