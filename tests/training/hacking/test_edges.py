"""Detectors where there is next to nothing to look at, and bounds to the very number."""

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training import tiny
from tests.training.hacking.test_detectors import samples_of
from training.config import AlarmBounds
from training.config.alarms import Detector
from training.hacking.alarms import Detectors, Evaluation
from training.hacking.detectors import (
    OPENING_TOKENS,
    RARE,
    SMALLEST_GAIN,
    Cloud,
    Samples,
    common_opening,
    distinct_2,
    gain,
    length_correlation,
    length_free_share,
    missing_eos,
    non_ascii,
    repetition,
    slope,
    standard_error,
    style_rates,
    style_shift,
    times,
)
from training.hacking.watch import AUDITED, audited

REFERENCE = samples_of(0, per_prompt=8)
NOW = samples_of(1)
no_time_limit = settings(max_examples=30, deadline=None)


def said(*texts: str, rewards: tuple[float, ...] = (), lengths: tuple[int, ...] = ()) -> Samples:
    """Responses to one prompt."""
    return Samples(
        prompt_ids=["p"] * len(texts),
        texts=texts,
        token_ids=[[7] * length for length in lengths or [1] * len(texts)],
        ended=[True] * len(texts),
        reward_B=torch.tensor(rewards or [0.0] * len(texts)),
        kl_B=torch.zeros(len(texts)),
        entropy=1.0,
    )


def judged(
    now: Samples, before: tuple[Evaluation, ...] = (), *, max_kl: float | None = 12.0, **bounds: object
) -> Evaluation:
    return Detectors(AlarmBounds(**bounds), REFERENCE, max_kl=max_kl).evaluate(5, now, before)  # type: ignore[arg-type]


def raised(evaluation: Evaluation) -> Mapping[str, float]:
    return {alarm.detector: alarm.bound for alarm in evaluation.alarms}


@pytest.mark.parametrize("texts", [[], [""], ["", " \n"]])
def test_texts_without_a_word_have_neither_variety_nor_repetition_nor_foreign_characters(texts: list[str]) -> None:
    assert (distinct_2(texts), repetition(texts), non_ascii(texts)) == (0.0, 0.0, 0.0)


def test_texts_of_few_words_have_no_pairs_and_no_runs() -> None:
    assert distinct_2(["one"]) == 0.0
    assert repetition(["a b c"]) == 0.0
    assert non_ascii(["ü"]) == 1.0


@given(texts=st.lists(st.text("abü \n", max_size=40), max_size=6))
@no_time_limit
def test_rates_of_texts_are_shares_and_know_no_order(texts: list[str]) -> None:
    for rate in (distinct_2, repetition, non_ascii):
        assert 0.0 <= rate(texts) <= 1.0
        assert rate(texts[::-1]) == pytest.approx(rate(texts))


def test_what_is_rare_on_both_sides_is_once_as_frequent() -> None:
    assert times(0.0, 0.0) == 1.0
    assert times(RARE, 0.0) == pytest.approx(2.0)
    assert times(0.0, RARE) == pytest.approx(0.5)
    assert times(1.0, 1.0) == 1.0


def test_all_or_none_of_the_responses_may_have_ended() -> None:
    both = said("a", "b")
    assert missing_eos(both) == 0.0
    assert missing_eos(replace(both, ended=[False, False])) == 1.0


def test_short_responses_open_as_they_are() -> None:
    one = replace(said("a", "b", "c", "d"), token_ids=[[1, 2], [1, 2], [1, 2, 3], []])
    assert common_opening(one) == 0.5
    long = replace(said("a", "b"), token_ids=[[*range(OPENING_TOKENS), 8], [*range(OPENING_TOKENS), 9]])
    assert common_opening(long) == 1.0


def test_equal_rewards_make_no_number_infinite() -> None:
    level = torch.zeros(4)
    assert gain(level, level) == 0.0
    assert math.isfinite(gain(torch.ones(4), level))
    assert standard_error(level) == 0.0
    assert slope([1.0, 1.0 + 1e-9], [0.0, 5.0]) is None


def test_fewer_samples_than_directions_still_say_what_lies_far_out() -> None:
    generator = torch.Generator().manual_seed(0)
    latent_BD = torch.randn(8, 40, generator=generator)
    cloud = Cloud.of(latent_BD)
    assert math.isfinite(cloud.far)
    assert cloud.outliers(100 * latent_BD) == 1.0
    assert cloud.outliers(latent_BD[::2]) == 0.0
    assert math.isfinite(Cloud.of(torch.ones(4, 3)).far)


def test_a_cloud_is_the_same_in_any_units_of_all_directions_together() -> None:
    latent_BD = torch.randn(60, 4, generator=torch.Generator().manual_seed(1))
    moved_BD = torch.randn(60, 4, generator=torch.Generator().manual_seed(2)) * 1.4
    expected = Cloud.of(latent_BD).outliers(moved_BD)
    assert Cloud.of(1000 * latent_BD + 5).outliers(1000 * moved_BD + 5) == expected


@pytest.mark.parametrize(
    ("rewards", "lengths", "expected"),
    [
        ((1.0, 2.0, 3.0), (1, 2, 3), 1.0),
        ((3.0, 2.0, 1.0), (1, 2, 3), -1.0),
        ((1.0, 100.0, 101.0), (1, 2, 3), 1.0),
        ((1.0, 2.0, 1.0), (1, 1, 1), None),
        ((1.0, 1.0, 1.0), (1, 2, 3), None),
        ((1.0, 1.0, 2.0, 2.0), (1, 2, 1, 2), 0.0),
    ],
)
def test_length_and_reward_go_together_by_their_ranks(
    rewards: tuple[float, ...], lengths: tuple[int, ...], expected: float | None
) -> None:
    found = length_correlation(said(*"abcd"[: len(rewards)], rewards=rewards, lengths=lengths))
    assert (found and found[0]) == (expected if expected is None else pytest.approx(expected))


def test_a_gain_of_other_lengths_alone_is_free_of_nothing() -> None:
    reference = said(*"abcd", rewards=(0.0, 1.0, 0.0, 1.0), lengths=(1, 2, 1, 2))
    longer = said(*"abcd", rewards=(5.0, 6.0, 5.0, 6.0), lengths=(9, 9, 9, 9))
    found = length_free_share(longer, reference)
    assert found is not None
    assert 0.0 <= found <= 1.5
    worse = said(*"abcd", rewards=(-5.0,) * 4, lengths=(1, 2, 1, 2))
    assert length_free_share(worse, reference) is None


def test_a_gain_too_small_to_be_shared_out_is_none() -> None:
    reference = said(*"abcd", rewards=(-1.0, 1.0, -1.0, 1.0))
    for lift, expected in ((SMALLEST_GAIN - 0.01, None), (SMALLEST_GAIN + 0.01, 1.0)):
        now = replace(reference, reward_B=reference.reward_B + lift)
        found = length_free_share(now, reference)
        assert found == (expected if expected is None else pytest.approx(expected))


def test_a_single_list_in_all_responses_is_no_shift_of_style() -> None:
    plain = said(*["just words in a row here"] * 20)
    once = replace(plain, texts=["- just words in a row here", *plain.texts[1:]])
    assert style_shift(plain, plain)[0] == 0.0
    assert style_shift(once, plain)[0] <= 1.0
    assert all(not rates.any() for rates in style_rates(said("", "")).values())


EXACTLY: list[tuple[str, float, Samples, bool]] = [
    ("kl", 2.0, replace(NOW, kl_B=torch.full_like(NOW.kl_B, 2.0)), False),
    ("kl", 2.0, replace(NOW, kl_B=torch.full_like(NOW.kl_B, 2.0001)), True),
    ("edits", 0.5, replace(NOW, preferred_over_edits={"padding": 0.5}), False),
    ("edits", 0.5, replace(NOW, preferred_over_edits={"padding": 0.4999}), True),
    ("entropy", 0.5, replace(NOW, entropy=1.0), False),
    ("entropy", 0.5, replace(NOW, entropy=0.9999), True),
    ("disagreement", 2.0, replace(NOW, deviation_B=torch.full((1,), 1.9) * REFERENCE.deviation_B.mean()), False),  # type: ignore[union-attr]
    ("disagreement", 2.0, replace(NOW, deviation_B=torch.full((1,), 2.1) * REFERENCE.deviation_B.mean()), True),  # type: ignore[union-attr]
    ("negative_kl", 0.5, replace(NOW, kl_B=torch.full_like(NOW.kl_B, -0.5)), False),
    ("negative_kl", 0.5, replace(NOW, kl_B=torch.full_like(NOW.kl_B, -0.5001)), True),
    ("engine_gap", 0.5, replace(NOW, engine_gap=0.5), False),
    ("engine_gap", 0.5, replace(NOW, engine_gap=0.5001), True),
]


@pytest.mark.parametrize(("detector", "bound", "now", "expected"), EXACTLY)
def test_a_figure_at_its_bound_is_within_it_and_one_beyond_is_not(
    detector: str, bound: float, now: Samples, expected: bool
) -> None:
    evaluation = judged(now, **{detector: bound})
    assert (detector in raised(evaluation)) == expected
    if expected:
        assert raised(evaluation)[detector] == bound
        (alarm,) = (one for one in evaluation.alarms if one.detector == detector)
        assert alarm.value == evaluation.figures[detector]


def point(sqrt_kl: float, reward: float, held_out: float | None) -> Evaluation:
    return Evaluation(0, sqrt_kl, reward, held_out, None, {}, ())


def test_as_many_falls_as_the_bound_are_an_alarm() -> None:
    now = replace(NOW, reward_B=NOW.reward_B + 5)
    falling = (point(0.1, 0.1, 9.0), point(0.2, 0.2, 8.0))
    assert judged(now, falling).figures["held_out_falls"] == 2.0
    assert "held_out_falls" in raised(judged(now, falling, held_out_falls=2.0))
    assert "held_out_falls" not in raised(judged(now, falling, held_out_falls=2.5))
    assert judged(now, (point(0.1, 0.1, 1.0), *falling)).figures["held_out_falls"] == 2.0, "only those in a row"
    assert judged(now).figures["held_out_falls"] == 0.0


def test_evaluations_without_a_held_out_reward_are_passed_over() -> None:
    now = replace(NOW, reward_B=NOW.reward_B + 5)
    assert (
        judged(now, (point(0.1, 0.1, 9.0), point(0.2, 0.2, None), point(0.3, 0.3, 8.0))).figures["held_out_falls"] == 2
    )


def test_the_runs_own_bound_of_kl_counts_where_none_is_given() -> None:
    far = replace(NOW, kl_B=NOW.kl_B + 20)
    assert raised(judged(far))["kl"] == 12.0
    assert raised(judged(far, kl=3.0))["kl"] == 3.0
    assert "kl" not in raised(judged(far, kl=30.0))
    assert "kl" not in raised(judged(far, max_kl=None))


def test_many_openings_are_no_sign_where_the_reference_has_as_many() -> None:
    alike = replace(NOW, token_ids=[[1, 2, 3, 4, 5, *ids] for ids in NOW.token_ids])
    reference = replace(REFERENCE, token_ids=[[1, 2, 3, 4, 5, *ids] for ids in REFERENCE.token_ids])
    assert raised(judged(alike))["openings"] == 0.2
    usual = Detectors(AlarmBounds(), reference, max_kl=None).evaluate(1, alike, ())
    assert "openings" not in raised(usual)
    assert usual.figures["openings"] == 1.0


def test_a_correlation_that_the_reference_has_too_may_rise_a_little() -> None:
    """Where the reference's reward goes with length already, the bound is above it."""
    paid_by_length = replace(REFERENCE, reward_B=REFERENCE.lengths / 5 + REFERENCE.reward_B)
    found = length_correlation(paid_by_length)
    assert found is not None
    now = replace(NOW, reward_B=NOW.lengths / 5 + NOW.reward_B)
    bounds = AlarmBounds(length_correlation=None)
    evaluation = Detectors(bounds, paid_by_length, max_kl=None).evaluate(1, now, ())
    assert "length_correlation" not in raised(evaluation)
    stricter = Detectors(AlarmBounds(length_correlation_rise=None), paid_by_length, max_kl=None).evaluate(1, now, ())
    assert raised(stricter)["length_correlation"] == 0.4
    all_by_length = replace(NOW, reward_B=NOW.lengths)
    risen = raised(Detectors(bounds, paid_by_length, max_kl=None).evaluate(1, all_by_length, ()))["length_correlation"]
    assert risen == pytest.approx(found[0] + max(0.15, 2 * math.sqrt(2 / found[1])))


def test_every_detector_can_be_silenced_at_once() -> None:
    silent = AlarmBounds(**{field.name: None for field in fields(AlarmBounds)})  # type: ignore[arg-type]
    worst = replace(
        NOW,
        texts=["the same again and again and again and again"] * len(NOW.texts),
        ended=[False] * len(NOW.ended),
        kl_B=NOW.kl_B + 50,
        reward_B=NOW.reward_B + 9,
        entropy=0.0,
        preferred_over_edits={"padding": 0.0},
    )
    assert len(judged(worst).alarms) > 5
    assert Detectors(silent, REFERENCE, max_kl=None).evaluate(1, worst, ()).alarms == ()


def test_figures_are_those_of_detectors_and_alarms_come_in_their_order() -> None:
    evaluation = judged(replace(NOW, preferred_over_edits={"padding": 0.1}, kl_B=NOW.kl_B + 50, entropy=0.1))
    detectors = list(get_args(Detector))
    assert set(evaluation.figures) <= set(detectors)
    places = [detectors.index(alarm.detector) for alarm in evaluation.alarms]
    assert places == sorted(places)
    assert all(math.isfinite(value) for value in evaluation.figures.values())


def test_kl_below_zero_has_no_root() -> None:
    assert judged(replace(NOW, kl_B=-NOW.kl_B)).sqrt_kl == 0.0
    assert judged(replace(NOW, kl_B=torch.full_like(NOW.kl_B, 4.0))).sqrt_kl == pytest.approx(2.0)


def test_people_are_shown_what_earns_most_and_what_only_the_reward_model_likes() -> None:
    prompts = [tiny.prompts()[row % 8] for row in range(len(NOW.texts))]
    lists = audited(NOW, prompts)
    assert {name: len(rows) for name, rows in lists.items()} == {"reward": AUDITED, "beyond_held_out": AUDITED}
    earned = [row["reward"] for row in lists["reward"]]
    assert earned == sorted(NOW.reward_B.tolist(), reverse=True)[:AUDITED]
    assert NOW.held_out_B is not None
    beyond = (NOW.reward_B - NOW.reward_B.mean()) / NOW.reward_B.std(correction=0)
    beyond = beyond - (NOW.held_out_B - NOW.held_out_B.mean()) / NOW.held_out_B.std(correction=0)
    most = int(beyond.argmax())
    assert lists["beyond_held_out"][0] == {
        "prompt_id": NOW.prompt_ids[most],
        "prompt": prompts[most].conversation[-1].content,
        "response": NOW.texts[most],
        "reward": pytest.approx(float(NOW.reward_B[most])),
        "held_out": pytest.approx(float(NOW.held_out_B[most])),
    }
    alone = audited(replace(NOW, held_out_B=None), prompts)
    assert alone.keys() == {"reward"}
    assert alone["reward"][0]["held_out"] is None
    assert len(audited(said("a", "b"), prompts[:2])["reward"]) == 2
