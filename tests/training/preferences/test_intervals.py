"""Intervals against simulation, and figures of agreement by their properties."""

import math
import random
from collections import defaultdict
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.examples import Example, Pair
from training.preferences.agreement import accuracy_difference, agreement, cross_validated_figures
from training.preferences.calibration import calibration, expected_calibration_error
from training.preferences.comparisons import by_harm, comparisons, safety_labels, shared_out
from training.preferences.folds import prompt_folds
from training.preferences.intervals import clustered, clustered_proportion, wilson
from training.preferences.subsets import subset_figures
from training.records import PreferenceRecord, conversation

no_time_limit = settings(max_examples=30, deadline=None)


def pair(prompt_id: str, preference: float, *, weight: float = 1.0, group: str = "", number: int = 0) -> Pair:
    a, b = (Example(prompt_id, (1, 2), (3 + side, 10 + number, 0)) for side in (0, 1))
    return Pair(a, b, preference, weight, group)


judged_pairs = st.lists(
    st.tuples(st.sampled_from("pqrstu"), st.sampled_from([0.0, 0.3, 0.5, 0.8, 1.0]), st.floats(-5, 5)),
    min_size=1,
    max_size=30,
)


@pytest.mark.parametrize(("chance", "trials"), [(0.5, 12), (0.9, 30), (0.98, 40)])
def test_wilsons_interval_holds_the_chance_about_as_often_as_it_says(chance: float, trials: int) -> None:
    rng = random.Random(int(1000 * chance))
    holds = 0
    for _ in range(1000):
        found = wilson(sum(rng.random() < chance for _ in range(trials)), trials)
        assert 0.0 <= found.low <= found.mean <= found.high <= 1.0
        holds += found.low <= chance <= found.high
    assert 0.92 < holds / 1000 < 0.995


def test_the_interval_of_a_difference_holds_it_about_as_often_as_it_says() -> None:
    """Two models that are right about the same prompts, of which the one is right in 0.7 and the other in 0.6."""
    rng = random.Random(3)
    holds = 0
    for _ in range(120):
        before, after, told = [], [], []
        for prompt in range(50):
            known = rng.random() < 0.6
            better = known or rng.random() < 0.25
            for _ in range(2):
                told.append(pair(str(prompt), 1.0))
                before.append(1.0 if known else -1.0)
                after.append(1.0 if better else -1.0)
        found = accuracy_difference(agreement(told, after), agreement(told, before))
        assert found is not None
        holds += found.low <= 0.1 <= found.high
    assert holds >= 108


def test_twice_as_many_answers_of_as_many_people_make_no_surer() -> None:
    rng = random.Random(5)
    values = [rng.random() for _ in range(60)]
    once = clustered(values, range(60))
    twice = clustered(values * 2, [*range(60), *range(60)])
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high))


def test_a_clusters_name_and_the_order_of_answers_decide_nothing() -> None:
    values, clusters = [1.0, 0.0, 0.5, 1.0, 0.0, 0.0], ["a", "a", "b", "c", "c", "c"]
    named = clustered(values, [ord(one) for one in clusters])
    assert clustered(values, clusters) == named
    shuffled = clustered([values[at] for at in (1, 0, 2, 5, 3, 4)], ["a", "a", "b", "c", "c", "c"])
    assert shuffled.mean == pytest.approx(named.mean)
    assert (shuffled.low, shuffled.high) == pytest.approx((named.low, named.high))


@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=40))
@no_time_limit
def test_an_interval_of_shares_stays_within_them_and_holds_their_mean(values: list[float]) -> None:
    clusters = [index // 3 for index in range(len(values))]
    found = clustered_proportion(values, clusters)
    assert found == clustered_proportion(values, clusters)
    assert -1e-9 <= found.low <= found.high <= 1 + 1e-9
    if len(set(values)) > 1:
        assert found.mean == pytest.approx(sum(values) / len(values))


@given(told=judged_pairs)
@no_time_limit
def test_which_side_is_a_changes_no_figure_of_agreement(told: list[tuple[str, float, float]]) -> None:
    pairs = [pair(prompt, preference) for prompt, preference, _ in told]
    turned = [Pair(one.b, one.a, 1 - one.preference, one.weight) for one in pairs]
    differences = [difference for _, _, difference in told]
    found, other = agreement(pairs, differences), agreement(turned, [-one for one in differences])
    assert found.correct == other.correct
    assert (found.pairs, found.ties) == (other.pairs, other.ties)
    assert found.pairs + found.ties == len(pairs)
    if found.nll is not None and other.nll is not None:
        assert found.nll == pytest.approx(other.nll, abs=1e-9)


@given(told=judged_pairs)
@no_time_limit
def test_pairs_of_a_kind_are_never_more_than_all_and_halves_add_up(told: list[tuple[str, float, float]]) -> None:
    pairs = [pair(prompt, preference, number=index % 4) for index, (prompt, preference, _) in enumerate(told)]
    figures = subset_figures(pairs, [difference for _, _, difference in told])
    counts = figures["subset_pairs"]
    assert isinstance(counts, dict)
    judged = sum(preference != 0.5 for _, preference, _ in told)
    assert all(0 < count <= judged for count in counts.values())
    assert sum(count for name, count in counts.items() if name.endswith("length_gap")) == judged
    for name in counts:
        assert 0 <= figures[f"accuracy_{name}_low"] <= figures[f"accuracy_{name}_high"] <= 1 + 1e-9  # type: ignore[operator]


def test_what_nothing_was_held_out_of_has_no_cross_validated_accuracy() -> None:
    assert cross_validated_figures(agreement([pair("p", 0.5)], [1.0])) == {}
    found = cross_validated_figures(agreement([pair("p", 1.0), pair("q", 1.0)], [1.0, -1.0]))
    assert (found["cross_validated_pairs"], found["cross_validated_accuracy"]) == (2, 0.5)
    assert accuracy_difference(agreement([], []), agreement([], [])) is None


@given(
    prompts=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=40),
    folds=st.integers(2, 6),
    seed=st.integers(0, 2**40),
)
@no_time_limit
def test_no_prompt_is_in_two_folds_and_folds_are_as_equal_as_can_be(prompts: list[str], folds: int, seed: int) -> None:
    examples = [Example(prompt, (1,), (2,)) for prompt in prompts]
    fold_P = prompt_folds(examples, folds, seed).tolist()
    of_prompt = defaultdict(set)
    for prompt, fold in zip(prompts, fold_P, strict=True):
        of_prompt[prompt].add(fold)
    assert all(len(found) == 1 for found in of_prompt.values())
    sizes = [sum(found == {fold} for found in of_prompt.values()) for fold in range(folds)]
    assert max(sizes) - min(sizes) <= 1
    assert prompt_folds(examples[::-1], folds, seed).tolist() == fold_P[::-1]


def test_folds_differ_by_seed() -> None:
    examples = [Example(str(number), (1,), (2,)) for number in range(30)]
    assert len({tuple(prompt_folds(examples, 3, seed).tolist()) for seed in range(10)}) == 10


def test_a_judgement_weighs_the_same_however_many_pairs_follow_from_it() -> None:
    told = [
        *(pair("p", 1.0, weight=2.0, group="one", number=number) for number in range(3)),
        *(pair("p", 1.0, weight=2.0, group="two", number=number) for number in range(6)),
        *(pair("q", 1.0, weight=2.0, group="one", number=number) for number in range(2)),
        pair("q", 1.0, weight=2.0),
        pair("q", 1.0, weight=2.0),
    ]
    found = comparisons(shared_out(told))
    assert [len(one.pairs) for one in found] == [3, 6, 2, 1, 1]
    assert [one.weight for one in found] == pytest.approx([2.0] * 5)
    assert [one.is_ranking for one in found] == [True, True, True, False, False]


def test_of_harm_only_what_somebody_said_is_learnt_and_not_how_much_better_it_is() -> None:
    prompt = conversation(("user", "hi"))
    rows = [
        PreferenceRecord("p", prompt, "a", "b", 1.0, strength=0.5, less_harmful=0.0),
        PreferenceRecord("p", prompt, "c", "d", 1.0, strength=0.5),
    ]
    (found,) = by_harm(rows)
    assert (found.response_a, found.preference, found.strength) == ("a", 0.0, None)


def test_labels_of_safety_are_signs_and_none_is_nothing() -> None:
    a, b = Example("p", (1,), (2,)), Example("p", (1,), (3,))
    told = [Pair(a, b, 1.0, 1.0, safe_a=True, safe_b=False), Pair(a, b, 1.0, 1.0, safe_b=True)]
    assert safety_labels(told) == ([1.0, 0.0], [-1.0, 1.0])


def test_what_is_said_of_prompts_that_the_temperature_is_fitted_on_changes_no_error() -> None:
    rng = random.Random(0)
    told = [pair(str(number // 2), float(rng.random() < 0.7)) for number in range(80)]
    differences = [rng.gauss(0.5, 1.0) for _ in told]
    fitted_on = set(sorted({one.a.prompt_id for one in told})[::2])
    turned = [replace(one, preference=1 - one.preference) if one.a.prompt_id in fitted_on else one for one in told]
    found, other = calibration(told, differences), calibration(turned, differences)
    assert found is not None
    assert other is not None
    assert found.pairs == sum(one.a.prompt_id not in fitted_on for one in told)
    assert (found.error, found.nll) == (other.error, other.nll)
    assert found.temperature != other.temperature


def test_a_model_that_knows_nothing_and_says_so_is_well_calibrated() -> None:
    nothing = torch.zeros(10, dtype=torch.float64)
    assert expected_calibration_error(nothing, torch.tensor([1.0, 0.0] * 5).double()) == 0.0
    sure = torch.full((10,), 50.0, dtype=torch.float64)
    assert expected_calibration_error(sure, torch.zeros(10).double()) == pytest.approx(1.0)
    assert math.isfinite(expected_calibration_error(sure * 1e6, torch.ones(10).double()))
