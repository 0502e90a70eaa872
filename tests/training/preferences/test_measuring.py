"""Intervals, agreement with people, and batches."""

import math
import random
from dataclasses import replace

import pytest

from training.data.batches import length_batches, shuffled_length_batches
from training.data.examples import Example, Pair
from training.preferences.agreement import accuracy_difference, agreement
from training.preferences.intervals import clustered, clustered_difference, clustered_proportion, wilson


def pairs(preferences: list[float]) -> list[Pair]:
    return [
        Pair(Example(f"p{index}", (1,), (2,)), Example(f"p{index}", (1,), (3,)), preference, 1.0)
        for index, preference in enumerate(preferences)
    ]


def test_wilson_is_the_textbook_interval() -> None:
    interval = wilson(8, 10)
    assert (interval.low, interval.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 20).low == 0.0
    assert 0.1 < wilson(0, 20).high < 0.2


def test_answers_to_one_prompt_are_not_independent() -> None:
    rng = random.Random(0)
    by_prompt = [float(rng.random() < 0.6) for _ in range(100)]
    once = clustered(by_prompt, range(100))
    five_times = [value for value in by_prompt for _ in range(5)]
    copied = clustered(five_times, [index // 5 for index in range(500)])
    assert copied.mean == pytest.approx(once.mean)
    assert copied.high - copied.low == pytest.approx(once.high - once.low, rel=0.1)
    naive = clustered(five_times, range(500))
    assert naive.high - naive.low < 0.6 * (copied.high - copied.low)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = random.Random(1)
    covered = 0
    for trial in range(200):
        values, clusters = [], []
        for cluster in range(40):
            chance = min(1.0, max(0.0, rng.gauss(0.7, 0.15)))
            values += [float(rng.random() < chance) for _ in range(3)]
            clusters += [cluster] * 3
        interval = clustered(values, clusters, seed=trial)
        covered += interval.low <= 0.695 <= interval.high
    assert covered >= 180


def test_a_perfect_record_still_leaves_doubt() -> None:
    interval = clustered_proportion([1.0] * 30, [index // 3 for index in range(30)])
    assert (interval.mean, interval.high) == (1.0, pytest.approx(1.0))
    assert interval.low == pytest.approx(wilson(10, 10).low)


@pytest.mark.parametrize("clusters", [["p"] * 40, ["p"] * 20 + ["q"] * 20], ids=["one prompt", "prompts alike"])
def test_many_answers_to_one_prompt_are_no_proof(clusters: list[str]) -> None:
    """Nine responses, ranked, are 36 pairs: three quarters of them right say next to nothing of other prompts."""
    interval = clustered_proportion([1.0, 1.0, 1.0, 0.0] * 10, clusters)
    assert interval.mean == 0.75
    assert interval.low < 0.5 < interval.high


def test_a_mean_of_one_prompt_alone_is_as_doubtful_as_its_answers() -> None:
    interval = clustered([1.0, 2.0, 4.0, 3.0], ["p"] * 4)
    assert interval == clustered([1.0, 2.0, 4.0, 3.0], range(4))
    assert interval.low < interval.mean < interval.high


def test_a_difference_of_means_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = random.Random(2)
    covered = 0
    for trial in range(200):
        values, kinds, clusters = [], [], []
        for cluster in range(30):
            shift = rng.gauss(0, 1)
            for _ in range(4):
                kinds.append(rng.random() < 0.3)
                values.append(shift + rng.gauss(0.5 if kinds[-1] else 0.0, 1))
                clusters.append(cluster)
        interval = clustered_difference(values, kinds, clusters, seed=trial)
        assert interval.low < interval.mean < interval.high
        covered += interval.low <= 0.5 <= interval.high
    assert covered >= 180


def test_a_difference_is_of_the_kinds_means_however_many_of_either_a_cluster_has() -> None:
    interval = clustered_difference([1.0, 5.0, 2.0, 3.0], [True, True, False, False], ["p", "q", "p", "p"])
    assert interval.mean == pytest.approx(3.0 - 2.5)
    turned = clustered_difference([1.0, 5.0, 2.0, 3.0], [False, False, True, True], ["p", "q", "p", "p"])
    assert (turned.mean, turned.low, turned.high) == pytest.approx((-interval.mean, -interval.high, -interval.low))


def test_ties_are_left_out_and_equal_scores_are_half_right() -> None:
    measured = agreement(pairs([1.0, 0.0, 0.5, 0.9, 1.0]), [2.0, 1.0, 5.0, 0.5, 0.0])
    assert (measured.pairs, measured.ties) == (4, 1)
    assert measured.correct == (1.0, 0.0, 1.0, 0.5)
    assert measured.accuracy is not None
    assert measured.accuracy.mean == pytest.approx(2.5 / 4)


def test_the_likelihood_is_that_of_bradley_terry_and_never_overflows() -> None:
    measured = agreement(pairs([1.0, 0.25]), [2.0, -1.0])
    first = math.log(1 + math.exp(-2))
    second = -(0.25 * math.log(1 / (1 + math.e)) + 0.75 * math.log(1 - 1 / (1 + math.e)))
    assert measured.nll == pytest.approx((first + second) / 2)
    assert agreement(pairs([0.0]), [1e5]).nll == pytest.approx(1e5)


def test_what_a_machine_said_is_nothing_that_a_model_is_measured_by() -> None:
    of_people, by_a_machine = pairs([1.0, 0.0, 0.5]), [replace(pair, source="machine:7") for pair in pairs([1.0, 0.5])]
    assert agreement([*of_people, *by_a_machine], [1.0, 1.0, 1.0, -1.0, -1.0]) == agreement(of_people, [1.0, 1.0, 1.0])
    assert agreement(by_a_machine, [1.0, 1.0]).accuracy is None


def test_nothing_to_agree_on_gives_no_figure() -> None:
    measured = agreement(pairs([0.5, 0.5]), [1.0, 2.0])
    assert measured.to_json() == {
        "validation_pairs": 0,
        "validation_ties": 2,
        "accuracy": None,
        "accuracy_low": None,
        "accuracy_high": None,
        "nll": None,
    }


def test_a_better_model_differs_from_its_predecessor_on_the_same_pairs() -> None:
    judged = pairs([1.0] * 50)
    before = agreement(judged, [1.0] * 25 + [-1.0] * 25)
    after = agreement(judged, [1.0] * 40 + [-1.0] * 10)
    difference = accuracy_difference(after, before)
    assert difference is not None
    assert difference.mean == pytest.approx(0.3)
    assert difference.low > 0.15


def test_batches_stay_within_the_budget_and_lose_nothing() -> None:
    rng = random.Random(0)
    lengths = [rng.randint(1, 60) for _ in range(300)] + [500]
    for batches in (
        length_batches(lengths, batch_tokens=200),
        shuffled_length_batches(lengths, batch_tokens=200, seed=3),
    ):
        assert sorted(index for batch in batches for index in batch) == list(range(301))
        for batch in batches:
            assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= 200
    padded = sum(len(batch) * max(lengths[index] for index in batch) for batch in batches)
    assert padded < 1.15 * sum(lengths)


def test_every_epoch_has_other_batches() -> None:
    lengths = [10] * 40
    first, second = (shuffled_length_batches(lengths, batch_tokens=100, seed=seed) for seed in (1, 2))
    assert first != second
    assert first == shuffled_length_batches(lengths, batch_tokens=100, seed=1)
