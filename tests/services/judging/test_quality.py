"""How each annotator does, against a plain count over everything that they said."""

import random
from itertools import product
from statistics import median

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Assignment, GoldAnswer, Judgement, Project, Task
from app.errors import NotFound
from app.security import Principal
from app.services.judging import check_tasks, gold, judgements, quality
from app.services.judging.answers import Answer
from app.services.judging.gold import Known
from app.services.judging.judgements import Submission
from app.services.projects import checks
from tests.factories import make_member, make_project, make_task


async def answer(db: AsyncSession, actor: Principal, task: Task, order: list[int], said: Answer, **how: object) -> None:
    """What somebody said of a task that they were given, as it was shown to them in `order`."""
    assignment = Assignment(
        project_id=task.project_id,
        task_id=task.id,
        annotator_id=actor.user_id,
        state="leased",
        shown_order=order,
        guidelines_version=1,
        lease_expires_at=func.now(),
        served_at=func.now(),
    )
    task.taken += 1
    db.add(assignment)
    await db.flush()
    submission = Submission(said, f"key-{assignment.id}", **how)  # type: ignore[arg-type]
    await judgements.submit(db, actor, assignment.id, submission)
    await db.refresh(task)


async def test_the_figures_of_each_annotator_are_those_of_a_plain_count(db: AsyncSession) -> None:
    chance = random.Random(5)
    project = await make_project(db, overlap=3)
    project.checks = checks.checked({"qualification_size": 1, "gold_percent": 10, "repeat_percent": 10}).to_json()
    owner = await make_member(db, project, "owner")
    people = [await make_member(db, project) for _ in range(3)]
    labels = [await make_task(db, project) for _ in range(12)]
    known = {}
    for purpose, better in product(("qualification", "gold"), (0, 1, None)):
        said = Known(purpose, better, "")  # type: ignore[arg-type]
        made = await gold.write(db, owner, project, f"{purpose} {better}?", ["Gently.", "In a shoe."], said)
        known[made] = better
    checked = [await db.get_one(Task, task_id) for task_id in known]
    for person in people:
        repeats = []
        for task in chance.sample(labels, 8):
            copy_id, _ = await check_tasks.copy(db, task, "repeat", quota=1)
            repeats.append(await db.get_one(Task, copy_id))
            await answer(db, person, task, *drawn(chance), **how(chance))
        for task in (*chance.sample(checked, 5), *repeats[:5]):
            await answer(db, person, task, *drawn(chance), **how(chance))
    tasks = {task.id: task for task in await db.scalars(select(Task).where(Task.project_id == project.id))}
    conducts = {one.user.id: one for one in await quality.of_project(db, project)}
    assert set(conducts) == {person.user_id for person in people}, "the owner judged nothing"
    for person in people:
        mine = list(await db.scalars(select(Judgement).where(Judgement.annotator_id == person.user_id)))
        by_task = {judgement.task_id: judgement for judgement in mine}
        of = {
            purpose: [judgement for judgement in mine if tasks[judgement.task_id].purpose == purpose]
            for purpose in ("label", "qualification", "gold", "repeat")
        }
        found = conducts[person.user_id]
        assert (found.judgements, found.practised, found.checked) == (8, len(of["qualification"]), len(of["gold"]))
        assert found.practice_right == sum(is_right(said, known[said.task_id]) for said in of["qualification"])
        assert found.right == sum(is_right(said, known[said.task_id]) for said in of["gold"])
        same = [
            sign(said.preference) == sign(by_task[tasks[said.task_id].copy_of or 0].preference) for said in of["repeat"]
        ]
        assert (found.repeated, found.same) == (5, sum(same))
        assert found.sided == sum(said.choice != 4 for said in mine)
        assert found.first == sum((said.choice or 9) < 4 for said in mine)
        assert found.hurried == sum(said.hurried for said in mine)
        assert found.active_ms == median(said.active_ms for said in mine if said.active_ms is not None)
    assert sum(found.same for found in conducts.values()) not in (0, 15)
    assert sum(found.right + found.practice_right for found in conducts.values()) not in (0, 15)


async def test_a_ranking_is_the_same_again_where_most_of_its_pairs_are(db: AsyncSession) -> None:
    project = await make_project(db)
    ada = await make_member(db, project)
    before = Answer(answer_type="ranking", ranks=(1, 2, 3))
    again = [before, Answer(answer_type="ranking", ranks=(1, 3, 2)), Answer(answer_type="ranking", ranks=(3, 2, 1))]
    for said in again:
        task = await make_task(db, project, "Gently.", "In a pan.", "In a shoe.")
        await answer(db, ada, task, [0, 1, 2], before)
        copy_id, _ = await check_tasks.copy(db, task, "repeat", quota=1)
        await answer(db, ada, await db.get_one(Task, copy_id), [0, 1, 2], said)
    (conduct,) = await quality.of_project(db, project)
    assert (conduct.repeated, conduct.same) == (3, 2)


@pytest.mark.parametrize(
    ("answer_type", "better", "right", "wrong"),
    [
        ("seven", 0, (1, 2, 3), (4, 5, 6, 7)),
        ("seven", 1, (5, 6, 7), (1, 2, 3, 4)),
        ("seven", None, (4,), (1, 2, 3, 5, 6, 7)),
        ("six", None, (3, 4), (1, 2, 5, 6)),
        ("eight", None, (4, 5), (1, 2, 3, 6, 7, 8)),
        ("eight", 0, (1, 2, 3, 4), (5, 6, 7, 8)),
    ],
)
async def test_on_every_scale_the_side_is_what_is_right_and_without_one_the_weakest_choice(
    db: AsyncSession, answer_type: str, better: int | None, right: tuple[int, ...], wrong: tuple[int, ...]
) -> None:
    project = await make_project(db)
    project.question = {"answer_type": answer_type}
    owner = await make_member(db, project, "owner")
    task_id = await gold.write(db, owner, project, "Eggs?", ["Gently.", "In a shoe."], Known("gold", better, ""))
    task = await db.get_one(Task, task_id)
    for choice, order in product((*right, *wrong), ([0, 1], [1, 0])):
        pressed = choice if order == [0, 1] else len(right) + len(wrong) + 1 - choice
        await answer(db, await make_member(db, project), task, order, Answer(pressed, answer_type))  # type: ignore[arg-type]
    found = select(Judgement.preference, check_tasks.is_right()).join(
        GoldAnswer, GoldAnswer.task_id == Judgement.task_id
    )
    verdicts = [verdict for _, verdict in await db.execute(found.order_by(Judgement.id))]
    assert verdicts == [True] * 2 * len(right) + [False] * 2 * len(wrong)


async def test_nobody_who_is_not_there_is_let_in(db: AsyncSession) -> None:
    project: Project = await make_project(db)
    stranger = await make_member(db, await make_project(db))
    with pytest.raises(NotFound):
        await quality.let_in(db, project, stranger.user_id)
    assert await quality.of_project(db, project) == []


def drawn(chance: random.Random) -> tuple[list[int], Answer]:
    return chance.choice(([0, 1], [1, 0])), Answer(chance.randint(1, 7))


def how(chance: random.Random) -> dict[str, object]:
    return {"active_ms": chance.choice((None, chance.randint(500, 60_000))), "hurried": chance.random() < 0.3}


def is_right(said: Judgement, better: int | None) -> bool:
    """The first response is better, the second, or neither is."""
    return sign(said.preference) == {0: 1, 1: -1, None: 0}[better]


def sign(preference: int | None) -> int:
    assert preference is not None
    return (preference > 0) - (preference < 0)
