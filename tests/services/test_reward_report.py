"""The report on reward models: from scores of single pairs to what they say of whom, and to a reviewer."""

import math

import numpy as np
import pytest
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import (
    Completion,
    Group,
    GroupGrant,
    GroupMember,
    Judgement,
    ModelVersion,
    Project,
    ScoredPair,
    Task,
    TaskCompletion,
    User,
)
from app.errors import Conflict, NotFound
from app.security import Principal
from app.services.judging import assignments, judgements, reviews
from app.services.judging.answers import Answer
from app.services.judging.judgements import Submission
from app.services.loop.comparisons import scored_pairs
from app.services.loop.comparisons.resampling import mean_interval, share_interval
from app.services.reports import reports, reward_models
from app.services.reports.ceiling import ceiling
from app.services.reports.reward_models import REWARD_MODELS, RewardModels
from tests.factories import make_member, make_project, make_prompt, make_task
from training.records import ScoredPairRecord

PAIRS = 24


async def make_version(
    db: AsyncSession, project: Project, number: int = 1, kind: str = "reward", figures: Json | None = None
) -> ModelVersion:
    version = ModelVersion(
        project_id=project.id, kind=kind, number=number, folder="f", manifest_sha256="0" * 64, figures=figures or {}
    )
    db.add(version)
    await db.flush()
    return version


async def judged_pairs(db: AsyncSession, *, ties: int = 0) -> tuple[Project, Principal, list[Task]]:
    """A project in which somebody prefers the first response of every task, which is the longer one in every second;
    every third was drawn by chance, and every third is what a rule left over, of which chance drew some."""
    project = await make_project(db)
    policy = await make_version(db, project, 1, "policy")
    annotator = await make_member(db, project)
    tasks = []
    for number in range(PAIRS):
        texts = ("Gently, in a pan.", "In a shoe.") if number % 2 else ("In a pan.", "In a shoe, for half an hour.")
        prompt = await make_prompt(db, project, split="validation")
        prompt.topic = "eggs" if number < PAIRS // 2 else "soup"
        tasks.append(await make_task(db, project, *texts, prompt=prompt))
        if number % 3 == 0:
            tasks[-1].selection = {"slice": "random", "rule": "uniform", "propensity": 0.1}
        elif number % 3 == 1:
            tasks[-1].selection = {"slice": "chosen", "rule": "uniform", "propensity": None}
        of_task = select(TaskCompletion.completion_id).where(TaskCompletion.task_id == tasks[-1].id)
        written = {"source": "policy", "model_version_id": policy.id}
        await db.execute(update(Completion).where(Completion.id.in_(of_task)).values(written))
    await db.flush()
    number = 0
    while (lease := await assignments.lease_next(db, annotator, project)) is not None:
        first = lease.shown_order[0] == 0
        choice = 4 if number < ties else 2 if first else 6
        await judgements.submit(db, annotator, lease.id, Submission(Answer(choice), f"key-{number}"))
        number += 1
    return project, annotator, tasks


async def score(
    db: AsyncSession, version: ModelVersion, tasks: list[Task], ahead: list[float], before: float | None = None
) -> None:
    """What a training process leaves of the judgement of each task."""
    said = {row.task_id: row for row in await db.scalars(select(Judgement).order_by(Judgement.id))}
    await scored_pairs.store(
        db,
        version,
        [
            ScoredPairRecord(f"human:{said[task.id].id}", 0, difference, before)
            for task, difference in zip(tasks, ahead, strict=True)
        ],
    )


async def report(db: AsyncSession, project: Project) -> RewardModels:
    """As a worker writes it and a page reads it."""
    await db.commit()
    await reports.current(db, project, REWARD_MODELS)
    await db.commit()
    await reports.write(db, project.id, "reward-models")
    await db.commit()
    found = (await reports.current(db, project, REWARD_MODELS)).content
    assert found is not None
    return found


async def test_a_model_is_told_by_topic_length_side_group_and_policy(db: AsyncSession) -> None:
    project, annotator, tasks = await judged_pairs(db)
    group = Group(name="Night shift")
    db.add(group)
    await db.flush()
    db.add_all(
        [
            GroupMember(group_id=group.id, user_id=annotator.user_id),
            GroupGrant(group_id=group.id, project_id=project.id, role="annotator"),
        ]
    )
    version = await make_version(db, project, figures={"calibration_temperature": 2.0})
    # Right of eggs, wrong of the last six pairs of soup.
    await score(db, version, tasks, [1.0] * (PAIRS - 6) + [-1.0 - number for number in range(6)])
    found = await report(db, project)
    rows = {(row.kind, row.name): row for row in found.accuracy}
    assert (rows["all", ""].pairs, rows["all", ""].accuracy) == (PAIRS, 0.75)
    low, high = rows["all", ""].low, rows["all", ""].high
    assert low is not None
    assert high is not None
    assert 0.5 < low < 0.75 < high < 1
    assert (rows["topic", "eggs"].accuracy, rows["topic", "soup"].accuracy) == (1.0, 0.5)
    assert rows["topic", "eggs"].low == pytest.approx(0.757, abs=0.01), "twelve of twelve leave doubt"
    assert rows["slice", "drawn_by_chance"].pairs == 8
    assert rows["group", "Night shift"].pairs == rows["policy", "1"].pairs == PAIRS
    assert rows["preferred_side", "shown_first"].pairs + rows["preferred_side", "shown_second"].pairs == PAIRS
    assert {name for kind, name in rows if kind == "preferred_length"} <= {
        "shortest_third", "middle_third", "longest_third",
    }  # fmt: skip
    loss = (18 * math.log1p(math.exp(-1)) + sum(math.log1p(math.exp(1 + number)) for number in range(6))) / 24
    assert rows["all", ""].loss == pytest.approx(loss)
    # What it holds least likely comes first, by the calibrated chance.
    assert [row.task_id for row in found.disputed] == [task.id for task in reversed(tasks[-6:])]
    assert found.disputed[0].chance == pytest.approx(1 / (1 + math.exp(6 / 2)))
    assert (found.disputed[0].preferred, found.disputed[0].other) == (0, 1)


async def test_the_model_before_it_is_compared_on_the_same_pairs_and_on_the_random_ones(db: AsyncSession) -> None:
    project, _, tasks = await judged_pairs(db)
    version = await make_version(db, project)
    await score(db, version, tasks, [1.0] * PAIRS, before=-1.0)
    figures = await scored_pairs.standing(db, version.id)
    assert figures["drawn_pairs"] == 8
    assert figures["drawn_accuracy_difference"] == 1.0
    assert figures["nll_difference"] == pytest.approx(-1.0)
    assert figures["drawn_nll_difference_high"] == pytest.approx(-1.0)
    (whole, drawn) = (await report(db, project)).changes
    assert (whole.name, whole.pairs, whole.accuracy) == ("all", PAIRS, 1.0)
    assert (drawn.name, drawn.pairs) == ("drawn_by_chance", 8)


async def test_what_was_examined_is_told_beside_it(db: AsyncSession) -> None:
    project = await make_project(db)
    curve = [
        {"n": n, "kl": nats, "score": 0.5 * nats, "reading": reading, "reading_low": 0.0, "reading_high": 1.0}
        for n, nats, reading in ((1, 0.0, 0.0), (2, 0.19, 0.3), (4, 0.64, 0.2))
    ]
    figures = {
        "probes": {"padding": 0.9, "refusal": 1.0},
        "probed_responses": 40,
        "best_of": curve,
        "calibration_pairs": 50,
        "calibration_nll": 0.6,
        "calibration_nll_scaled": 0.5,
        "calibration_error": 0.1,
        "calibration_brier": 0.2,
    }
    await make_version(db, project, figures=figures)
    found = await report(db, project)
    assert [(row.edit, row.share, row.responses) for row in found.probes] == [
        ("padding", 0.9, 40),
        ("refusal", 1.0, 40),
    ]
    assert [row.highest for row in found.best_of] == [0.0, 0.3, 0.3]
    assert [(row.measure, row.before, row.after) for row in found.certainty] == [
        ("nll", 0.6, 0.5), ("brier", 0.2, None), ("ece", 0.1, None),
    ]  # fmt: skip
    assert (found.accuracy, found.disputed) == ((), ())


async def test_all_ties_no_pair_and_one_prompt_are_states_and_no_errors(db: AsyncSession) -> None:
    project, _, tasks = await judged_pairs(db, ties=PAIRS)
    version = await make_version(db, project)
    assert await scored_pairs.standing(db, version.id) == {"drawn_pairs": 0}
    await score(db, version, tasks, [1.0] * PAIRS, before=0.0)
    assert await scored_pairs.standing(db, version.id) == {"drawn_pairs": 0}
    found = await report(db, project)
    assert (found.accuracy, found.changes, found.disputed) == ((), (), ())
    project, _, tasks = await judged_pairs(db)
    await score(db, await make_version(db, project), tasks, [1.0] * PAIRS, before=0.0)
    await db.execute(update(Task).where(Task.project_id == project.id).values(prompt_id=tasks[0].prompt_id))
    found = await report(db, project)
    whole = found.whole(1)
    assert whole is not None
    assert (whole.pairs, whole.accuracy) == (PAIRS, 1.0)
    assert found.changes == (), "one prompt tells no spread"


async def test_a_source_that_names_no_judgement_of_the_project_is_left_out(db: AsyncSession) -> None:
    project, _, _ = await judged_pairs(db)
    version = await make_version(db, project)
    odd = [ScoredPairRecord(source, 0, 1.0, None) for source in ("human:999999", "toy", "human:")]
    await scored_pairs.store(db, version, odd)
    said = await db.scalar(select(func.min(Judgement.id)))
    await scored_pairs.store(db, version, [ScoredPairRecord(f"human:{said}", 7, 1.0, None)])
    assert await db.scalar(select(func.count()).select_from(ScoredPair)) == 0


async def test_the_pairs_of_a_ranking_come_to_their_positions(db: AsyncSession) -> None:
    project = await make_project(db)
    task = await make_task(db, project, "One.", "Two.", "Three.")
    judgement = Judgement(
        project_id=project.id, task_id=task.id, kind="imported", answer_type="ranking", shown_order=[0, 1, 2],
        ranks=[2, None, 1], guidelines_version=1,
    )  # fmt: skip
    db.add(judgement)
    await db.flush()
    version = await make_version(db, project)
    await scored_pairs.store(db, version, [ScoredPairRecord(f"imported:{judgement.id}", 0, -1.0, None)])
    (stored,) = list(await db.scalars(select(ScoredPair)))
    assert (stored.position_a, stored.position_b) == (0, 2), "nothing was said of the second"
    found = await reward_models.compute(db, project)
    whole = found.whole(1)
    assert whole is not None
    assert (whole.pairs, whole.accuracy) == (1, None), "of one pair no share is told"
    assert whole.loss == pytest.approx(math.log1p(math.exp(-1)))


async def test_a_task_that_nobody_disagrees_on_is_sent_to_review_once_and_comes_first(db: AsyncSession) -> None:
    project, _, tasks = await judged_pairs(db)
    waiting = await make_task(db, project)
    reviewer = await make_member(db, project, "reviewer")
    await say_as_a_machine(db, waiting)
    await db.commit()
    assert await reviews.claim(db, reviewer, project) is None
    assert await reviews.send(db, project, tasks[5].id) is True
    assert await reviews.send(db, project, tasks[5].id) is False
    assert (await reviews.waiting(db, reviewer, project)).tasks == 1
    with pytest.raises(Conflict, match="Nobody has judged"):
        await reviews.send(db, project, waiting.id)
    for missing in (999_999, (await make_task(db, await make_project(db))).id):
        with pytest.raises(NotFound):
            await reviews.send(db, project, missing)
    claimed = await reviews.claim(db, reviewer, project)
    assert claimed is not None
    assert (await reviews.waiting(db, await make_member(db, project, "reviewer"), project)).tasks == 0
    verdict = (await judgements.submit(db, reviewer, claimed, Submission(Answer(1), "verdict"))).judgement
    assert (verdict.task_id, verdict.is_verdict) == (tasks[5].id, True)
    assert await reviews.claim(db, reviewer, project) is None


async def say_as_a_machine(db: AsyncSession, task: Task) -> None:
    """What a judge that is a model says is nobody's judgement."""
    machine = User(name="Vicuña", is_machine=True)
    db.add(machine)
    await db.flush()
    said = {"kind": "machine", "answer_type": "ranking", "ranks": [1, 2], "shown_order": [0, 1]}
    db.add(
        Judgement(project_id=task.project_id, task_id=task.id, annotator_id=machine.id, guidelines_version=1, **said)
    )
    await db.flush()


def test_intervals_are_those_of_prompts_and_not_of_pairs() -> None:
    rng = np.random.default_rng(0)
    value = np.repeat(rng.normal(size=40), 10)
    clusters = np.repeat(np.arange(40), 10)
    by_prompt, by_pair = mean_interval(value, clusters), mean_interval(value, np.arange(400))
    assert by_prompt is not None
    assert by_pair is not None
    assert (by_prompt.high - by_prompt.low) > 2 * (by_pair.high - by_pair.low)
    assert mean_interval(value[:10], clusters[:10]) is None
    assert share_interval(value[:0], clusters[:0]) is None
    halves, pairs_of_two = np.tile([0.0, 1.0], 20), np.repeat(np.arange(20), 2)
    for right, prompt in ((halves, pairs_of_two), (halves, np.zeros(40, dtype=np.int64))):
        doubtful = share_interval(right, prompt)
        assert doubtful is not None
        assert doubtful.low < 0.4 < doubtful.mean < 0.6 < doubtful.high, "prompts that are all half right"


def test_no_model_agrees_with_people_more_than_they_let_it() -> None:
    assert ceiling(0.73) == pytest.approx(0.839, abs=0.001)
    assert ceiling(1.0) == 1.0
    assert ceiling(0.5) is None
