"""What is told of held-out pairs beside accuracy."""

import math
import random
from dataclasses import replace

import pytest
import torch

from training.data.examples import Example, Pair
from training.preferences.calibration import calibration, expected_calibration_error, fitted_temperature
from training.preferences.subsets import LENGTH_GAPS, subset_figures


def judged_by_chance(count: int, *, overconfidence: float, seed: int) -> tuple[list[Pair], list[float]]:
    """Labels drawn from sigma(d), and a model that claims sigma(overconfidence d); two pairs for each prompt."""
    rng = random.Random(seed)
    pairs, differences = [], []
    for index in range(count):
        difference = rng.gauss(0.0, 1.5)
        preference = float(rng.random() < 1 / (1 + math.exp(-difference)))
        prompt_id = str(index // 2)
        pairs.append(Pair(Example(prompt_id, (1,), (2,)), Example(prompt_id, (1,), (3,)), preference, 1.0))
        differences.append(overconfidence * difference)
    return pairs, differences


def test_the_calibration_error_is_the_weighted_distance_in_each_bin() -> None:
    sure_90, sure_60 = math.log(9.0), math.log(1.5)
    differences = torch.tensor([sure_90, sure_90, -sure_90, sure_60], dtype=torch.float64)
    preferences = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)  # right, wrong, right; wrong
    expected = (3 * abs(2 / 3 - 0.9) + 1 * abs(0.0 - 0.6)) / 4
    assert expected_calibration_error(differences, preferences) == pytest.approx(expected)


def test_a_model_that_knows_how_sure_to_be_has_hardly_any_error() -> None:
    found = calibration(*judged_by_chance(8000, overconfidence=1.0, seed=0))
    assert found is not None
    assert found.pairs == 4000
    assert found.error < 0.03
    assert found.temperature == pytest.approx(1.0, abs=0.1)


def test_temperature_takes_overconfidence_back_on_pairs_that_it_was_not_fitted_on() -> None:
    found = calibration(*judged_by_chance(8000, overconfidence=4.0, seed=1))
    assert found is not None
    assert found.temperature == pytest.approx(4.0, rel=0.1)
    assert found.error > 0.1
    assert found.scaled_error < 0.03
    assert found.scaled_nll < found.nll


def test_the_temperature_is_where_the_likelihood_is_flat() -> None:
    generator = torch.Generator().manual_seed(2)
    differences = torch.randn(500, generator=generator, dtype=torch.float64) * 3
    preferences = (torch.rand(500, generator=generator) < torch.sigmoid(differences / 2)).double()
    inverse = torch.tensor(1 / fitted_temperature(differences, preferences), dtype=torch.float64, requires_grad=True)
    torch.nn.functional.binary_cross_entropy_with_logits(differences * inverse, preferences).backward()
    assert inverse.grad is not None
    assert float(inverse.grad) == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("right", [1.0, 0.0])
def test_a_model_that_is_always_right_or_wrong_has_a_finite_temperature(right: float) -> None:
    differences = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    temperature = fitted_temperature(differences, torch.full((3,), right, dtype=torch.float64))
    assert 0.01 < temperature < 1000


def test_what_a_machine_said_is_nothing_that_certainty_is_measured_by() -> None:
    pairs, differences = judged_by_chance(200, overconfidence=3.0, seed=4)
    told = [
        replace(pair, source="machine:7", preference=float(d > 0)) for pair, d in zip(pairs, differences, strict=True)
    ]
    assert calibration([*pairs, *told], differences * 2) == calibration(pairs, differences)


def test_one_prompt_alone_can_not_be_fitted_and_measured_on() -> None:
    pairs, differences = judged_by_chance(2, overconfidence=1.0, seed=3)
    assert calibration(pairs, differences) is None
    assert calibration([], []) is None


def pair(better: int, worse: int, *, flipped: bool = False, strength: float | None = None, source: str = "") -> Pair:
    """Responses of so many tokens."""
    a, b = (Example("p", (1,), (7,) * length) for length in (better, worse))
    if flipped:
        return Pair(b, a, 0.0, 1.0, strength=strength, source=source)
    return Pair(a, b, 1.0, 1.0, strength=strength, source=source)


def test_accuracy_is_told_by_whether_the_longer_response_was_better() -> None:
    pairs = [pair(5, 3), pair(6, 3, flipped=True), pair(2, 3), pair(2, 4), pair(3, 3)]
    figures = subset_figures(pairs, [1.0, -1.0, -1.0, 1.0, 1.0])
    assert figures["accuracy_longer_preferred"] == 1.0
    assert figures["accuracy_shorter_preferred"] == 0.5
    counts = figures["subset_pairs"]
    assert isinstance(counts, dict)
    assert (counts["longer_preferred"], counts["shorter_preferred"]) == (2, 2)
    assert figures["accuracy_shorter_preferred_low"] <= 0.5 <= figures["accuracy_shorter_preferred_high"]  # type: ignore[operator]


def test_accuracy_is_told_by_how_far_the_responses_are_apart_in_length() -> None:
    """Quarters of the judged pairs, whichever response was the longer; the tie's gap of 90 counts nowhere."""
    tie = Pair(Example("p", (1,), (7,) * 100), Example("p", (1,), (7,) * 10), 0.5, 1.0)
    pairs = [pair(1, 1), pair(3, 2), pair(2, 4), pair(7, 4), tie, pair(1, 6), pair(9, 3), pair(2, 10), pair(30, 10)]
    right = [1.0, -1.0, -1.0, -1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    for order in (range(len(pairs)), reversed(range(len(pairs)))):
        places = list(order)
        figures = subset_figures([pairs[place] for place in places], [right[place] for place in places])
        accuracies = [figures[f"accuracy_{name}"] for name in LENGTH_GAPS]
        assert accuracies == [0.5, 0.0, 1.0, 1.0]
        assert figures["length_gap_quartiles"] == [1, 3, 6]
        assert figures["accuracy_smallest_length_gap_low"] <= 0.5 <= figures["accuracy_smallest_length_gap_high"]  # type: ignore[operator]


def test_equal_gaps_are_in_one_quarter() -> None:
    figures = subset_figures([pair(3, 1), pair(1, 3), pair(2, 4), pair(9, 2)], [1.0, 1.0, -1.0, -1.0])
    counts = figures["subset_pairs"]
    assert isinstance(counts, dict)
    assert {name: counts[name] for name in LENGTH_GAPS if name in counts} == {
        "smallest_length_gap": 3,
        "largest_length_gap": 1,
    }
    assert subset_figures([], [])["length_gap_quartiles"] == []


def test_accuracy_is_told_by_whether_people_agreed_whichever_way_round_they_saw_the_pair() -> None:
    agreed = [pair(5, 3), pair(5, 3, flipped=True)]
    disputed = [pair(6, 2), pair(2, 6)]
    alone = [pair(9, 1)]
    figures = subset_figures([*agreed, *disputed, *alone], [1.0, -1.0, 1.0, -1.0, 1.0])
    assert figures["accuracy_unanimous"] == 1.0
    counts = figures["subset_pairs"]
    assert isinstance(counts, dict)
    assert (counts["unanimous"], counts["disputed"]) == (2, 2)


def test_accuracy_is_told_by_strength_and_by_who_judged_where_that_is_known() -> None:
    pairs = [
        pair(3, 3, strength=1.0, source="human:1"),
        pair(3, 3, strength=0.0, source="human:2"),
        pair(3, 3, source="imported:3"),
    ]
    figures = subset_figures(pairs, [1.0, -1.0, 1.0])
    assert (figures["accuracy_strong"], figures["accuracy_slight"]) == (1.0, 0.0)
    assert (figures["accuracy_human_judgements"], figures["accuracy_imported_judgements"]) == (0.5, 1.0)
    assert subset_figures(pairs[:1], [1.0]).keys().isdisjoint({"accuracy_human_judgements"})
