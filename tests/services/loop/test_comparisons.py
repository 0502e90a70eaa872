"""Who is preferred over whom, counted from judgements of pairs and rankings."""

from datetime import UTC, datetime

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Assignment, Completion, Judgement, Project, Prompt, Task, TaskCompletion
from app.services.loop.comparisons.comparisons import Comparison, comparisons
from app.services.loop.comparisons.writers import Writer
from tests.factories import make_member, make_project, make_prompt
from tests.services.loop.test_selection import make_policy
from tests.services.loop.test_writers import make_served


async def judge(
    db: AsyncSession,
    project: Project,
    writers: list[Writer | None],
    *said: int | list[int | None],
    answer_type: str = "seven",
    prompt: Prompt | None = None,
) -> None:
    """A task with a response by each of `writers`, and a judgement for each of `said`: a preference, or ranks."""
    prompt = prompt or await make_prompt(db, project)
    task = Task(project_id=project.id, prompt_id=prompt.id, quota=9)
    completions = [Completion(prompt_id=prompt.id, text=str(n), **by(writer)) for n, writer in enumerate(writers)]
    db.add_all([task, *completions])
    await db.flush()
    db.add_all(
        TaskCompletion(task_id=task.id, position=position, completion_id=completion.id)
        for position, completion in enumerate(completions)
    )
    for number, answer in enumerate(said):
        annotator = await make_member(db, project)
        order = list(range(len(writers)))
        assignment = Assignment(
            project_id=project.id, task_id=task.id, annotator_id=annotator.user_id, state="submitted",
            shown_order=order, guidelines_version=1, lease_expires_at=datetime.now(UTC),
        )  # fmt: skip
        db.add(assignment)
        await db.flush()
        answered = {"ranks": answer} if isinstance(answer, list) else {"preference": answer, "choice": 4 - answer}
        db.add(
            Judgement(
                project_id=project.id, task_id=task.id, assignment_id=assignment.id, annotator_id=annotator.user_id,
                kind="human", answer_type=answer_type, guidelines_version=1, shown_order=order,
                idempotency_key=str(number), **answered,
            )
        )  # fmt: skip
    await db.flush()


def by(writer: Writer | None) -> dict[str, object]:
    if writer is None:
        return {"source": "person"}
    if writer.kind == "policy":
        return {"source": "policy", "model_version_id": writer.id}
    return {"source": "served", "served_model_id": writer.id, "made_with": {}}


def told(found: Comparison) -> tuple[str, str, int, int, float]:
    return found.first.name, found.second.name, found.judgements, found.tasks, found.share


async def test_a_share_counts_both_orders_and_a_tie_as_half_for_each(db: AsyncSession) -> None:
    project = await make_project(db)
    one, two = await make_served(db, project, "one"), await make_served(db, project, "two")
    await judge(db, project, [one, two], 3, 1)
    await judge(db, project, [two, one], -2, 0)
    await judge(db, project, [two, one], 1)
    (found,) = await comparisons(db, project)
    assert told(found) == ("one", "two", 5, 3, pytest.approx(3.5 / 5))
    assert 0 < found.low < 0.7 < found.high < 1


async def test_a_policy_is_compared_too_and_the_one_ahead_comes_first(db: AsyncSession) -> None:
    project = await make_project(db)
    policy = Writer("policy", (await make_policy(db, project)).id)
    served = await make_served(db, project, "served")
    await judge(db, project, [policy, served], -1)
    await judge(db, project, [served, policy], 3)
    (found,) = await comparisons(db, project)
    assert told(found) == ("served", "1", 2, 2, 1.0)
    assert (found.high, 0 < found.low < 0.5) == (1.0, True)


async def test_of_a_ranking_every_two_are_compared_and_what_is_unranked_is_not(db: AsyncSession) -> None:
    project = await make_project(db)
    one, two, three = [await make_served(db, project, name) for name in ("one", "two", "three")]
    await judge(db, project, [one, two, three], [1, 2, 2], [1, None, 2], answer_type="ranking")
    found = {frozenset((c.first.name, c.second.name)): told(c) for c in await comparisons(db, project)}
    assert found[frozenset(("one", "two"))][2:] == (1, 1, 1.0)
    assert found[frozenset(("one", "three"))][2:] == (2, 1, 1.0)
    assert found[frozenset(("two", "three"))][2:] == (1, 1, 0.5)


async def test_of_a_choice_of_the_best_only_the_best_is_better_than_others(db: AsyncSession) -> None:
    project = await make_project(db)
    one, two, three = [await make_served(db, project, name) for name in ("one", "two", "three")]
    await judge(db, project, [one, two, three], [None, 1, None], answer_type="best")
    assert [told(found) for found in await comparisons(db, project)] == [
        ("two", "one", 1, 1, 1.0),
        ("two", "three", 1, 1, 1.0),
    ]


async def test_only_two_writers_are_compared_of_which_one_is_served(db: AsyncSession) -> None:
    project, other = await make_project(db), await make_project(db)
    one = await make_served(db, project, "one")
    policy = Writer("policy", (await make_policy(db, project)).id)
    await judge(db, project, [one, one], 3)
    await judge(db, project, [one, None], 3)
    await judge(db, project, [policy, policy], 3)
    theirs = [await make_served(db, other, name) for name in ("x", "y")]
    await judge(db, other, [*theirs], 3)
    assert await comparisons(db, project) == []


async def test_judgements_that_agree_on_a_task_or_a_prompt_are_worth_less_than_as_many_prompts(
    db: AsyncSession,
) -> None:
    few, again, many = await make_project(db), await make_project(db), await make_project(db)
    for project, judgements, tasks in ((few, 5, 1), (again, 1, 5), (many, 1, 1)):
        one, two = await make_served(db, project, "one"), await make_served(db, project, "two")
        for number in range(40 // (judgements * tasks)):
            prompt = await make_prompt(db, project)
            said = [1 if number % 4 else -1] * judgements
            for _ in range(tasks):
                await judge(db, project, [one, two], *said, prompt=prompt)
    (by_few,), (by_again,), (by_many,) = [await comparisons(db, project) for project in (few, again, many)]
    assert by_few.share == by_again.share == by_many.share == 0.75
    assert (by_again.tasks, by_again.low, by_again.high) == (40, by_few.low, by_few.high)
    assert by_many.high - by_many.low < by_few.high - by_few.low
    assert (by_many.low, by_many.high) == (pytest.approx(0.598, abs=0.002), pytest.approx(0.858, abs=0.002))


async def test_only_the_newest_judgements_are_counted(db: AsyncSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.services.loop.comparisons.comparisons.MOST_JUDGEMENTS", 2)
    project = await make_project(db)
    one, two = await make_served(db, project, "one"), await make_served(db, project, "two")
    await judge(db, project, [one, two], 3, 3)
    await judge(db, project, [one, two], -3, -3)
    assert [told(found) for found in await comparisons(db, project)] == [("two", "one", 2, 1, 1.0)]
