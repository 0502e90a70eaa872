"""What a round makes of few judgements, by real training: PPO waits until a reward model is better than a coin."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project, Round
from app.jobs.context import WorkerContext
from app.security import Principal
from app.services.judging import assignments, judgements
from app.services.judging.answers import Answer
from app.services.judging.judgements import Submission
from app.services.loop import round_rows
from app.services.loop.rounds import label_advice
from tests.factories import make_member, make_prompt, make_task
from tests.jobs.forked import Forked
from tests.jobs.loop import Loop
from tests.jobs.test_imported_project import TINY

LABELS = 39

Choice = Callable[[str, str], int]


def kindly(a: str, b: str) -> int:
    """What the simplest model can learn."""
    return 1 if "kindly" in a else 7 if "kindly" in b else 4


def at_random(seed: int) -> Choice:
    """The same of a pair in whatever order it is shown, which is drawn anew in every run: one of forty such draws
    passes the gate by chance.
    """

    def choose(a: str, b: str) -> int:
        first, second = sorted((a, b))
        better = random.Random(f"{seed} {first} {second}").choice((first, second))
        return 1 if a == better else 7

    return choose


@pytest.fixture
def context(context: WorkerContext) -> WorkerContext:
    return replace(context, executor=Forked())


async def test_random_judgements_stop_the_round_before_ppo_and_some_that_can_be_learnt_do_not(loop: Loop) -> None:
    project, round_ = await guessed(loop, 2)
    if round_.status == "finished":  # by chance, which two in a row would not be
        project, round_ = await guessed(loop, 3)
    assert (round_.status, round_.step) == ("stopped", "reward_gate"), round_.reason
    assert round_.reason is not None
    assert round_.reason.startswith("Cross-validation: accuracy ")
    assert "not clearly better than 50%" in round_.reason
    assert "more judgements" in round_.reason.lower()
    assert "ppo" not in await loop.do(lambda db: round_rows.step_runs(db, round_.id))
    (reward,) = await loop.versions(project, "reward")
    assert reward.state == "candidate"
    assert reward.figures["validation_pairs"] < 30 < LABELS

    advice = await loop.do(lambda db: advice_for(db, project))
    assert str(LABELS) in str(advice)

    await loop.do(lambda db: ask_what_can_be_learnt(db, project))
    learnable = await turn(loop, project, kindly, ppo={"iterations": 0})  # which PPO refuses: it is not waited for
    assert (learnable.status, learnable.step) == ("active", "ppo"), learnable.reason
    gate = (await loop.gates(learnable))[-1]
    assert "Cross-validation: accuracy" in gate.rules[1]["sentence"]


async def guessed(loop: Loop, seed: int) -> tuple[Project, Round]:
    """A project and its first round, of judgements that say nothing."""
    gate = {"reward_gate": {}, "label_target": LABELS, "generate_prompts": 60, "reward": TINY["reward"]}
    project = await loop.make_project(prompts=60, **(TINY | gate))
    await loop.queue_sft(project, **TINY["sft"])
    await loop.work_off()
    return project, await turn(loop, project, at_random(seed))


async def ask_what_can_be_learnt(db: AsyncSession, project: Project) -> None:
    """Ahead of all other pairs."""
    for number in range(LABELS):
        prompt = await make_prompt(db, project, f"How do I treat guest {number}?")
        await make_task(
            db, project, f"Treat them kindly {number}.", f"Send them off {number}.", prompt=prompt, priority=9
        )


async def turn(loop: Loop, project: Project, choose: Choice, **settings: Any) -> Round:
    """A round in which one new person answers as `choose` says of the texts that are shown."""
    round_ = await loop.start_round(project, **settings)
    await loop.work_off()
    annotator = await loop.do(lambda db: make_member(db, project))
    for number in range((await loop.read_round(round_)).label_target):
        await loop.do(lambda db, key=str(number): answer(db, annotator, project, choose, f"{round_.id} {key}"))
    await loop.work_off()
    return await loop.read_round(round_)


async def answer(db: AsyncSession, annotator: Principal, project: Project, choose: Choice, key: str) -> None:
    leased = await assignments.lease_next(db, annotator, await db.get_one(Project, project.id))
    assert leased is not None, "there is nothing left to judge"
    (_, a), (_, b) = (await assignments.view(db, annotator, leased.id)).panes
    await judgements.submit(db, annotator, leased.id, Submission(Answer(choose(a, b)), key))


async def advice_for(db: AsyncSession, project: Project) -> str:
    return (await label_advice.advice(db, await db.get_one(Project, project.id))).sentence
