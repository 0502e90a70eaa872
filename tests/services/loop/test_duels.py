"""What is drawn for duels, what is known of one before anybody votes, and what counts as a vote."""

import random

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import ModelVersion, Project, Round
from app.security import Principal
from app.services.judging import assignments, judgements, releasing
from app.services.judging.answers import Answer
from app.services.judging.judgements import Submission
from app.services.loop.comparisons import duels
from app.services.loop.comparisons.duels import Entry, Scale
from app.services.loop.gates.gate_bounds import VoteBounds
from tests.factories import make_member, make_project, make_prompt
from training.records import DuelRecord, PromptRecord, conversation

BOUNDS = VoteBounds(votes=10, companions=2)


def prompts(count: int) -> list[PromptRecord]:
    return [PromptRecord(str(number), conversation(("user", f"{number}?"))) for number in range(count)]


def written(prompt_id: str, own: str, other: str, reward: float = 0.0, reference_reward: float = 0.0) -> DuelRecord:
    return DuelRecord(prompt_id, 0, own, other, 1, 1, True, True, reward, reference_reward, 1.0)


def test_no_prompt_is_drawn_twice_where_there_are_enough_and_no_two_draws_have_one_id() -> None:
    enough = duels.drawn(random.Random(1), prompts(40), BOUNDS, 2)
    assert len({duels.prompt_of(written(draw.prompt_id, "a", "b")) for draw in enough}) == 30
    few = duels.drawn(random.Random(1), prompts(4), BOUNDS, 2)
    assert len({draw.prompt_id for draw in few}) == 30
    assert {duels.prompt_of(written(draw.prompt_id, "a", "b")) for draw in few} == {0, 1, 2, 3}
    assert {len(draw.prompt) for draw in few} == {1}


def test_a_ranking_gets_as_many_responses_to_the_same_prompt_as_it_needs() -> None:
    draws = duels.drawn(random.Random(1), prompts(40), BOUNDS, 5)
    assert len(draws) == 90
    for first in range(0, 90, 3):
        assert len({draw.prompt for draw in draws[first : first + 3]}) == 1


def led(by: float) -> Entry:
    return Entry((written("1", "a", "b", by, 0.0),))


def test_who_wins_is_predicted_by_how_far_a_lead_is_from_the_usual_one() -> None:
    flattered = Scale.of([led(by) for by in (2.0, 3.0, 4.0)])
    assert flattered.chance(led(3.0)) == pytest.approx(0.5)
    assert flattered.chance(led(2.0)) + flattered.chance(led(4.0)) == pytest.approx(1)
    assert 0.6 < flattered.chance(led(4.0)) < 0.7
    assert flattered.chance(led(1e9)) == pytest.approx(1.0)
    ranking = Entry((written("1", "a", "b", 1.0, -1.0), written("1", "c", "d", -1.0, 1.0)))
    assert (ranking.lead, ranking.is_decidable) == (0.0, True)


def test_leads_that_are_all_the_same_predict_nothing_and_no_draws_leave_them_as_they_are() -> None:
    assert Scale.of([led(2.0)] * 5).chance(led(2.0)) == 0.5
    assert Scale.of([]).chance(led(0.0)) == 0.5


@pytest.mark.parametrize("texts", [("same", "same"), ("", "")])
def test_two_texts_that_are_the_same_are_nothing_to_ask_about(texts: tuple[str, str]) -> None:
    assert not Entry((written("1", *texts),)).is_decidable


def test_the_chance_of_a_prompt_to_be_asked_about_is_known() -> None:
    assert duels.propensity(40, BOUNDS) == pytest.approx(10 / 40)
    assert duels.propensity(1, BOUNDS) == 1.0
    assert duels.propensity(20, BOUNDS) == pytest.approx(1 - 0.95**10)


async def test_a_duel_that_is_judged_again_stays_one_vote(db: AsyncSession) -> None:
    """Two people's votes on one duel go together: the second would be bet on with its winner known."""
    project, round_ = await voting(db, 6)
    ada, bob = await make_member(db, project), await make_member(db, project)
    for _ in range(3):
        await vote_for_new(db, project, ada)
    assert await releasing.reopen(db, project, ada.user_id) == 3
    for _ in range(3):
        await vote_for_new(db, project, bob)
    found = await duels.certify(db, round_.id, BOUNDS)
    assert (found.votes, found.budget, found.share) == (3, 6, 1.0)


async def voting(db: AsyncSession, count: int) -> tuple[Project, Round]:
    """A round that waits for votes on so many duels."""
    project = await make_project(db)
    policies = [
        ModelVersion(project_id=project.id, kind="policy", number=n, folder="f", manifest_sha256="0" * 64)
        for n in (1, 2)
    ]
    db.add_all(policies)
    await db.flush()
    round_ = Round(project_id=project.id, number=1, label_target=0, step="vote", policy_id=policies[1].id)
    db.add(round_)
    await db.flush()
    prompt = await make_prompt(db, project, split="validation")
    await duels.make_tasks(
        db, project, round_, [written(str(prompt.id), f"New {n}", f"Old {n}") for n in range(count)],
        VoteBounds(votes=10, companions=0), policies=(policies[1].id, policies[0].id), run_id=None, propensity=1.0,
        rng=random.Random(1),
    )  # fmt: skip
    return project, round_


async def vote_for_new(db: AsyncSession, project: Project, annotator: Principal) -> None:
    leased = await assignments.lease_next(db, annotator, project)
    assert leased is not None
    seen = await assignments.view(db, annotator, leased.id)
    choice = 1 if seen.panes[0][1].startswith("New") else 7
    await judgements.submit(db, annotator, leased.id, Submission(Answer(choice), f"{leased.id}"))
