"""Win rates and their intervals."""

import pytest

from app.simulation.comparison import Duel, duels, mean_interval, win_rate


def by_length(prompt: str, response: str) -> float:
    return float(len(response))


def test_a_longer_text_wins_when_length_is_the_score() -> None:
    found = duels({"1": "p"}, {"1": ["aaaa", "a"]}, {"1": ["a", "aaaa"]}, by_length, tie_within=0.5)
    assert [duel.outcome for duel in found] == [1.0, 0.0]


def test_a_small_gap_is_a_tie_and_counts_half() -> None:
    found = duels({"1": "p"}, {"1": ["aaa"]}, {"1": ["aa"]}, by_length, tie_within=1.0)
    assert win_rate(found, seed=0).rate == 0.5


def test_a_missing_sample_is_an_error_and_not_a_shorter_comparison() -> None:
    with pytest.raises(ValueError, match="shorter"):
        duels({"1": "p"}, {"1": ["a", "b"]}, {"1": ["a"]}, by_length, tie_within=0.1)


def test_samples_of_one_prompt_do_not_narrow_the_interval_as_new_prompts_would() -> None:
    few_prompts = [(str(prompt), float(prompt % 2)) for prompt in range(10) for _ in range(20)]
    many_prompts = [(str(prompt), float(prompt % 2)) for prompt in range(200)]
    low_few, high_few = mean_interval(few_prompts, seed=0)
    low_many, high_many = mean_interval(many_prompts, seed=0)
    assert high_few - low_few > 3 * (high_many - low_many)


def test_the_interval_holds_the_mean_and_is_the_same_for_the_same_seed() -> None:
    values = [(str(prompt), float(prompt % 3 == 0)) for prompt in range(60)]
    low, high = mean_interval(values, seed=4)
    assert low < 1 / 3 < high
    assert (low, high) == mean_interval(values, seed=4)


def test_terciles_of_length_difference_are_of_one_size_even_among_equal_gaps() -> None:
    found = [Duel(str(place), outcome, 0) for place, outcome in enumerate([0.0, 0.0, 0.5, 0.5, 1.0, 1.0])]
    assert win_rate(found, seed=0).by_length_tercile == (0.0, 0.5, 1.0)
