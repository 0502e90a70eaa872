"""What is drawn for duels, and what is known of one before anybody votes."""

import random

import pytest

from app.services.loop.comparisons import duels
from app.services.loop.comparisons.duels import Entry, Scale
from app.services.loop.gates.gate_bounds import VoteBounds
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
