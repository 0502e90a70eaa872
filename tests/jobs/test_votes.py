"""Rounds in which people vote on the new policy: certified, refused, gone on from, and by two people at once."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import transaction
from app.db.tables import Assignment, Completion, Project, Promotion, Round, Task, TaskCompletion
from app.errors import Conflict, Invalid
from app.jobs.context import WorkerContext
from app.security import Principal
from app.services import conditions
from app.services.judging import assignments, judgements
from app.services.judging.answers import Answer
from app.services.judging.judgements import Submission
from app.services.judging.labels import labels_at_hand
from app.services.loop import round_rows
from app.services.loop.rounds import rounds
from tests.factories import make_member
from tests.jobs.conftest import InProcess
from tests.jobs.loop import Loop, result_of

ASKING = {"asks_people": True, "votes": 12, "companions": 2}
SMALL = {"label_target": 4, "samples_per_prompt": 4, "generate_prompts": 8, "vote_gate": ASKING}


@pytest.fixture
def context(context: WorkerContext) -> WorkerContext:
    return replace(context, executor=InProcess())


async def voting_round(loop: Loop, **settings: Any) -> tuple[Project, Round]:
    """A round whose new policy has passed its gate and waits for people's votes."""
    project = await loop.make_project(**SMALL)
    await loop.queue_sft(project)
    await loop.work_off()
    round_ = await loop.start_round(project, **settings)
    await loop.work_off()
    await loop.judge(project, 4)
    await loop.work_off()
    return project, await loop.read_round(round_)


async def vote(loop: Loop, project: Project, annotator: Principal, *, for_new: bool, hold: bool = False) -> bool:
    """One vote by what was written, as the pages show it; False where there is nothing to vote on."""
    async with transaction(loop.sessions) as db:
        leased = await assignments.lease_next(db, annotator, await db.get_one(Project, project.id))
        if leased is None:
            return False
        shown = await db.get_one(Assignment, leased.id)
        first = (
            select(Completion.text)
            .join(TaskCompletion, TaskCompletion.completion_id == Completion.id)
            .where(TaskCompletion.task_id == shown.task_id, TaskCompletion.position == shown.shown_order[0])
        )
        is_new_first = ((await db.scalar(first)) or "").startswith("New")
        if not hold:
            said = Answer(1 if is_new_first == for_new else 7)
            await judgements.submit(db, annotator, leased.id, Submission(said, f"{annotator.user_id}-{leased.id}"))
    return True


async def member(loop: Loop, project: Project) -> Principal:
    return await loop.do(lambda db: make_member(db, project))


async def of_round(loop: Loop, round_: Round, *those: Any) -> list[Task]:
    async def read(db: AsyncSession) -> list[Task]:
        return list(await db.scalars(select(Task).where(Task.round_id == round_.id, *those).order_by(Task.id)))

    return await loop.do(read)


async def test_a_policy_that_people_prefer_is_promoted_as_soon_as_their_votes_say_so(loop: Loop) -> None:
    project, round_ = await voting_round(loop)
    assert (round_.status, round_.step) == ("active", "vote")
    asked = await of_round(loop, round_, Task.selection["rule"].astext == "duel")
    assert [(task.purpose, task.quota, task.state) for task in asked] == [("label", 1, "open")] * 12
    assert all(-0.25 <= task.selection["companion"] <= 0.25 for task in asked)
    annotator = await member(loop, project)
    given = 0
    while (await loop.read_round(round_)).step == "vote":
        assert await vote(loop, project, annotator, for_new=True)
        given += 1
        await loop.work_off()
    round_ = await loop.read_round(round_)
    assert (round_.status, round_.reason) == ("finished", None)
    assert 5 < given < 12, "the rest of the votes was saved"
    _, _, gate = await loop.gates(round_)
    assert (gate.passed, gate.model_version_id) == (True, round_.policy_id)
    evidence, share = gate.rules
    assert evidence["figure"] >= evidence["bound"] == 20
    assert (share["figure"], share["bound"]) == (1.0, 0.5)
    assert evidence["sentence"].startswith(f"In {given} of at most 12 votes the new policy has 100.0%")
    assert [task.state for task in await of_round(loop, round_, conditions.is_duel())].count("retired") == 12 - given
    assert (await loop.versions(project))[-1].state == "promoted"


async def test_a_policy_that_people_like_no_better_is_refused_and_an_owner_may_go_on_with_a_reason(loop: Loop) -> None:
    project, round_ = await voting_round(loop)
    annotator = await member(loop, project)
    for number in range(12):
        assert await vote(loop, project, annotator, for_new=number % 2 == 0)
    await loop.work_off()
    round_ = await loop.read_round(round_)
    assert (round_.status, round_.step) == ("stopped", "vote_gate")
    assert round_.reason is not None
    assert "The evidence that people prefer it is" in round_.reason
    owner = await loop.do(lambda db: make_member(db, project, "owner"))
    with pytest.raises(Invalid, match="Say why"):
        await override(loop, owner, round_, " ")
    await override(loop, owner, round_, "It says please now.")
    with pytest.raises(Conflict, match="No gate has refused"):
        await override(loop, owner, round_, "Again.")
    await loop.work_off()
    round_ = await loop.read_round(round_)
    assert (round_.status, round_.overridden_step, round_.overridden_by_id) == ("finished", "vote_gate", owner.user_id)
    promotion = await loop.do(lambda db: db.scalar(select(Promotion).order_by(Promotion.id.desc()).limit(1)))
    gates = await loop.gates(round_)
    assert promotion is not None
    assert (promotion.reason, promotion.actor_id) == ("It says please now.", owner.user_id)
    assert promotion.overrides_gate_id == gates[-1].id
    assert not gates[-1].passed, "what the gate saw stays as it was"


async def test_an_owner_may_have_the_votes_counted_that_are_there(loop: Loop) -> None:
    project, round_ = await voting_round(loop)
    assert await vote(loop, project, await member(loop, project), for_new=True)

    async def count_now(db: AsyncSession) -> None:
        await rounds.continue_now(db, None, await db.get_one(Round, round_.id))

    await loop.do(count_now)
    await loop.work_off()
    round_ = await loop.read_round(round_)
    assert (round_.status, round_.step) == ("stopped", "vote_gate")
    assert round_.reason is not None
    assert round_.reason.startswith("In 1 of at most 12 votes the new policy has 100.0%")


async def test_an_owner_may_go_on_from_a_reward_model_that_was_refused(loop: Loop) -> None:
    project, round_ = await voting_round(
        loop, reward={"figures": {"accuracy_low": 0.45}}, vote_gate={"asks_people": False}
    )
    assert (round_.status, round_.step) == ("stopped", "reward_gate")
    owner = await loop.do(lambda db: make_member(db, project, "owner"))
    await override(loop, owner, round_, "We have no more people.")
    await loop.work_off()
    assert (await loop.read_round(round_)).status == "finished"
    (reward,) = await loop.versions(project, "reward")
    assert reward.state == "promoted"


async def test_of_two_owners_who_go_on_at_once_one_does_and_a_new_round_keeps_the_old_one_stopped(loop: Loop) -> None:
    project, round_ = await voting_round(loop, evaluate={"figures": {"kl": 30.0}})
    assert (round_.status, round_.step) == ("stopped", "policy_gate")
    owner = await loop.do(lambda db: make_member(db, project, "owner"))
    both = await asyncio.gather(
        *(override(loop, owner, round_, why) for why in ("One.", "Other.")), return_exceptions=True
    )
    assert sorted(type(outcome) for outcome in both if outcome) == [Conflict]
    assert (await loop.read_round(round_)).step == "duel", "people still vote"
    await loop.do(lambda db: cancel(db, round_.id))
    _, second = await voting_round_of(loop, project, evaluate={"figures": {"kl": 30.0}})
    await loop.start_round(project)
    with pytest.raises(Conflict, match="Another round"):
        await override(loop, owner, second, "Too late.")


async def test_two_people_vote_on_duels_and_nobody_is_given_one_that_is_over(loop: Loop) -> None:
    project, round_ = await voting_round(loop)
    one, other = await member(loop, project), await member(loop, project)
    assert await vote(loop, project, other, for_new=True, hold=True)
    for _ in range(11):
        assert await vote(loop, project, one, for_new=True)
    await loop.work_off()
    assert (await loop.read_round(round_)).status == "finished"
    assert await of_round(loop, round_, conditions.is_duel(), Task.state == "open") == []
    (held,) = await of_round(loop, round_, Task.taken > Task.judged)
    assert await vote(loop, project, other, for_new=True)
    assert held.id in [task.id for task in await of_round(loop, round_, Task.judged == 1)], "who has one may finish it"


async def test_votes_are_labels_of_the_next_version_but_no_round_counts_them_as_its_labels(loop: Loop) -> None:
    project, _ = await voting_round(loop)
    before = await loop.do(lambda db: labels_at_hand(db, project.id))
    annotator = await member(loop, project)
    for number in range(12):
        assert await vote(loop, project, annotator, for_new=number % 2 == 0)
    assert await loop.do(lambda db: labels_at_hand(db, project.id)) == before
    await loop.work_off()
    _, second = await voting_round_of(loop, project)
    step_runs = await loop.do(lambda db: round_rows.step_runs(db, second.id))
    assert result_of(step_runs["snapshot"])["rows"] == 4 + 12 + 4


async def test_where_both_policies_say_the_same_nobody_is_asked_and_the_gate_says_why(loop: Loop) -> None:
    _, round_ = await voting_round(loop, evaluate={"level": True})
    assert (round_.status, round_.step) == ("stopped", "vote_gate")
    assert round_.reason == "Nobody has voted on the new policy."


async def test_a_round_that_is_cancelled_takes_its_open_duels_with_it(loop: Loop) -> None:
    _, round_ = await voting_round(loop)
    await loop.do(lambda db: cancel(db, round_.id))
    states = {task.state for task in await of_round(loop, round_, conditions.is_duel())}
    assert states == {"retired"}


async def test_duels_of_rankings_have_both_policies_in_each_and_count_by_opponents(loop: Loop) -> None:
    project = await loop.make_project(**SMALL)

    async def rank(db: AsyncSession) -> None:
        (await db.get_one(Project, project.id)).question = {"answer_type": "ranking", "size": 3}

    await loop.do(rank)
    await loop.queue_sft(project)
    await loop.work_off()
    round_ = await loop.start_round(project, label_target=2)
    await loop.work_off()
    await loop.judge(project, 2, answer=Answer(answer_type="ranking", ranks=(1, 2, 3)))
    await loop.work_off()
    assert (await loop.read_round(round_)).step == "vote"
    written = (
        select(func.count(func.distinct(Completion.model_version_id)), func.count()).join(TaskCompletion).join(Task)
    )
    rows = written.where(Task.round_id == round_.id, conditions.is_duel()).group_by(Task.id)
    assert {tuple(row) for row in await loop.do(lambda db: db.execute(rows))} == {(2, 3)}
    await loop.judge(project, 12, answer=Answer(answer_type="ranking", ranks=(1, 1, 1)))
    await loop.work_off()
    _, _, gate = await loop.gates(round_)
    assert gate.rules[1]["figure"] == 0.5, "all ties"


async def voting_round_of(loop: Loop, project: Project, **settings: Any) -> tuple[Project, Round]:
    round_ = await loop.start_round(project, **settings)
    await loop.work_off()
    await loop.judge(project, 4)
    await loop.work_off()
    return project, await loop.read_round(round_)


async def override(loop: Loop, owner: Principal | None, round_: Round, reason: str) -> None:
    async def go_on(db: AsyncSession) -> None:
        round_of_it = await db.get_one(Round, round_.id)
        await rounds.override(db, owner, round_of_it, reason, home=loop.context.home)

    await loop.do(go_on)


async def cancel(db: AsyncSession, round_id: int) -> None:
    await rounds.cancel(db, None, await db.get_one(Round, round_id))
