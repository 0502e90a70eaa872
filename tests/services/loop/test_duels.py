"""What is drawn for duels, and what is known of one before anybody votes."""

import random

import pytest

from app.services.loop import duels
from app.services.loop.duels import Entry
from app.services.loop.gates import VoteBounds
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


def test_the_prediction_is_the_mean_over_opponents_and_stays_within_one() -> None:
    entry = Entry((written("1", "a", "b", 1.0, -1.0), written("1", "c", "d", -1.0, 1.0)))
    assert entry.is_decidable
    assert entry.prediction == pytest.approx(0.5)
    assert Entry((written("1", "a", "b", 1e9, -1e9),)).prediction == pytest.approx(1.0)


@pytest.mark.parametrize("texts", [("same", "same"), ("", "")])
def test_two_texts_that_are_the_same_are_nothing_to_ask_about(texts: tuple[str, str]) -> None:
    assert not Entry((written("1", *texts),)).is_decidable
