"""Which pairs people get to see."""

import random
from collections import Counter

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Completion, ModelVersion, Project, Task, TaskCompletion
from app.services.loop.asking import selection
from app.services.loop.asking.selection import Candidate, UniformRandom
from app.services.loop.models import models
from tests.factories import make_project, make_prompt


async def make_policy(db: AsyncSession, project: Project) -> ModelVersion:
    policy = await models.register(
        db, project_id=project.id, kind="policy", run_id=None, folder="models/p", manifest_sha256="0", figures={}
    )
    await models.promote(db, None, policy)
    # Everything in a test happens in one transaction, at one time for the database.
    policy.promoted_at = await db.scalar(select(func.clock_timestamp()))
    await db.flush()
    return policy


async def write(db: AsyncSession, project: Project, policy: ModelVersion, *texts: str) -> None:
    """A new prompt with a completion for each of `texts` by `policy`."""
    prompt = await make_prompt(db, project)
    db.add_all(
        Completion(prompt_id=prompt.id, text=text, source="policy", model_version_id=policy.id) for text in texts
    )
    await db.flush()


async def make_tasks(db: AsyncSession, project: Project, count: int) -> selection.Selected:
    return await selection.make_tasks(db, project, count=count, rng=random.Random(0))


async def tasks_of(db: AsyncSession, project: Project) -> list[Task]:
    return list(await db.scalars(select(Task).where(Task.project_id == project.id).order_by(Task.id)))


async def texts_of(db: AsyncSession, task: Task) -> list[str]:
    return list(
        await db.scalars(
            select(Completion.text)
            .join(TaskCompletion, TaskCompletion.completion_id == Completion.id)
            .where(TaskCompletion.task_id == task.id)
            .order_by(TaskCompletion.position)
        )
    )


async def test_a_task_is_two_different_texts_by_one_policy_to_one_prompt(db: AsyncSession) -> None:
    project = await make_project(db, overlap=3)
    policy = await make_policy(db, project)
    await write(db, project, policy, "yes", "yes", "yes", "no")
    assert (await make_tasks(db, project, 5)).made == 1
    (task,) = await tasks_of(db, project)
    assert sorted(await texts_of(db, task)) == ["no", "yes"]
    assert (task.quota, task.state) == (3, "open")
    assert task.selection == {"rule": "uniform", "propensity": 1.0, "slice": "random"}


async def test_a_completion_is_in_one_task_at_most(db: AsyncSession) -> None:
    project = await make_project(db)
    policy = await make_policy(db, project)
    await write(db, project, policy, "a", "b", "c", "d", "e")
    assert (await make_tasks(db, project, 9)).made == 2
    assert (await make_tasks(db, project, 9)).made == 0
    shown = Counter([text for task in await tasks_of(db, project) for text in await texts_of(db, task)])
    assert set(shown.values()) == {1}


async def test_every_prompt_is_asked_once_before_any_is_asked_twice(db: AsyncSession) -> None:
    project = await make_project(db)
    policy = await make_policy(db, project)
    for _ in range(4):
        await write(db, project, policy, "a", "b", "c", "d")
    assert (await make_tasks(db, project, 4)).made == 4
    assert len({task.prompt_id for task in await tasks_of(db, project)}) == 4
    assert (await make_tasks(db, project, 2)).made == 2


async def test_the_policy_in_use_comes_first(db: AsyncSession) -> None:
    project = await make_project(db)
    old = await make_policy(db, project)
    await write(db, project, old, "a", "b")
    new = await make_policy(db, project)
    await write(db, project, new, "c", "d")
    assert (await make_tasks(db, project, 1)).model_version_ids == (new.id,)
    assert (await make_tasks(db, project, 1)).model_version_ids == (old.id,)


async def test_open_places_are_judgements_still_to_come(db: AsyncSession) -> None:
    project = await make_project(db, overlap=2)
    policy = await make_policy(db, project)
    for _ in range(3):
        await write(db, project, policy, "a", "b")
    await make_tasks(db, project, 3)
    first, second, _ = await tasks_of(db, project)
    first.taken = first.judged = 1
    second.taken = 1
    await db.flush()
    assert await selection.open_places(db, project.id) == 5


def test_uniform_random_takes_each_candidate_equally_often_and_says_so() -> None:
    candidates = [Candidate(number, (2 * number, 2 * number + 1), ()) for number in range(10)]
    rng = random.Random(1)
    taken: Counter[int] = Counter()
    for _ in range(2000):
        chosen = UniformRandom()(candidates, 3, rng)
        assert {selected.propensity for selected in chosen} == {0.3}
        taken.update(selected.candidate.prompt_id for selected in chosen)
    # 600 expected each, standard deviation 20.5: five of them are one failure in a million runs.
    assert all(abs(count - 600) < 103 for count in taken.values())
