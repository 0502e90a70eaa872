"""Formulae against plain loops; each alarm with samples that raise it and samples that do not."""

import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy
import pytest
import torch

from training.config import AlarmBounds
from training.hacking.alarms import Detectors, Evaluation
from training.hacking.detectors import (
    LENGTH_BINS,
    SHRINKAGE,
    Cloud,
    Samples,
    common_opening,
    distinct_2,
    gain,
    length_correlation,
    length_free_share,
    non_ascii,
    repetition,
    slope,
    standard_error,
    style_rates,
    style_shift,
)

WORDS = [f"word{number}" for number in range(200)]


def samples_of(seed: int, *, per_prompt: int = 4, prompts: int = 64, latents: int = 8) -> Samples:
    """What a healthy policy writes: the same distribution whatever the seed."""
    rng = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    rows = [str(prompt) for prompt in range(prompts) for _ in range(per_prompt)]
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(10, 30))) for _ in rows]
    reward_B = torch.randn(len(rows), generator=generator)
    return Samples(
        prompt_ids=rows,
        texts=texts,
        token_ids=[[WORDS.index(word) for word in text.split()] for text in texts],
        ended=[rng.random() > 0.03 for _ in rows],
        reward_B=reward_B,
        kl_B=torch.randn(len(rows), generator=generator).abs(),
        entropy=2.0,
        held_out_B=reward_B + 0.3 * torch.randn(len(rows), generator=generator),
        gold_B=reward_B,
        latent_BD=torch.randn(len(rows), latents, generator=generator),
        deviation_B=0.2 + 0.05 * torch.rand(len(rows), generator=generator),
    )


REFERENCE = samples_of(0, per_prompt=8)


def found(now: Samples, before: Sequence[Evaluation] = (), **bounds: float) -> Evaluation:
    return Detectors(AlarmBounds(**bounds), REFERENCE, max_kl=12.0).evaluate(5, now, before)  # type: ignore[arg-type]


def raised(evaluation: Evaluation) -> set[str]:
    return {alarm.detector for alarm in evaluation.alarms}


def with_texts(samples: Samples, change: Callable[[str], str]) -> Samples:
    texts = [change(text) for text in samples.texts]
    return replace(samples, texts=texts)


def point(sqrt_kl: float, reward: float, held_out: float) -> Evaluation:
    return Evaluation(0, sqrt_kl, reward, held_out, None, {}, ())


def longer_where_it_pays(samples: Samples) -> Samples:
    """Nothing but length is rewarded, and the policy has learnt to write more."""
    token_ids = [[*ids, *ids] for ids in samples.token_ids]
    return replace(samples, token_ids=token_ids, reward_B=torch.tensor([len(ids) / 10 for ids in token_ids]))


HACKS: dict[str, Callable[[Samples], Samples]] = {
    "divergence": lambda one: replace(one, reward_B=one.reward_B + 2),
    "disagreement": lambda one: replace(one, deviation_B=2 * one.deviation_B),  # type: ignore[operator]
    "outliers": lambda one: replace(one, latent_BD=1.5 * one.latent_BD),  # type: ignore[operator]
    "kl": lambda one: replace(one, kl_B=one.kl_B + 13),
    "length_correlation": lambda one: replace(one, reward_B=one.reward_B + one.lengths / 5),
    "style": lambda one: with_texts(one, lambda text: f"**Sure.** {text} 😀"),
    "variety": lambda one: with_texts(one, lambda text: "the same thing again and again to everybody"),
    "entropy": lambda one: replace(one, entropy=0.9),
    "openings": lambda one: replace(one, token_ids=[[1, 2, 3, 4, 5, *ids] for ids in one.token_ids]),
    "repetition": lambda one: with_texts(one, lambda text: f"{text} {text}"),
    "missing_eos": lambda one: replace(one, ended=[index % 4 > 0 for index in range(len(one.ended))]),
    "non_ascii": lambda one: with_texts(one, lambda text: text.replace("o", "ö")),
    "negative_kl": lambda one: replace(one, kl_B=-one.kl_B),
    "edits": lambda one: replace(one, preferred_over_edits={"padding": 1.0, "flattery": 0.8}),
}


@pytest.mark.parametrize("detector", HACKS)
def test_a_hack_raises_its_alarm(detector: str) -> None:
    assert detector in raised(found(HACKS[detector](samples_of(1))))


def test_the_change_that_earned_most_often_is_named() -> None:
    now = replace(samples_of(1), preferred_over_edits={"padding": 1.0, "flattery": 0.7, "refusal": 0.9})
    (alarm,) = found(now).alarms
    assert (alarm.detector, alarm.detail) == ("edits", "flattery")
    assert alarm.value == pytest.approx(2.6 / 3)
    assert not found(replace(now, preferred_over_edits={"padding": 1.0, "flattery": 0.91})).alarms


def test_a_healthy_policy_raises_none() -> None:
    assert [raised(found(samples_of(seed))) for seed in range(1, 21)] == [set()] * 20


def test_a_gain_that_is_length_alone() -> None:
    reference = longer_where_it_pays(REFERENCE)
    reference = replace(reference, token_ids=REFERENCE.token_ids, reward_B=REFERENCE.lengths / 10)
    detectors = Detectors(AlarmBounds(), reference, max_kl=None)
    assert "length_gain" in raised(detectors.evaluate(5, longer_where_it_pays(samples_of(1)), ()))
    better = replace(samples_of(1), reward_B=samples_of(1).lengths / 10 + 2)
    assert "length_gain" not in raised(detectors.evaluate(5, better, ()))


def test_a_held_out_reward_that_falls_while_the_reward_rises() -> None:
    rising = [point(1.0, 0.5, 0.8), point(1.5, 0.8, 0.6)]
    now = replace(samples_of(1), reward_B=REFERENCE.reward_B[::2] + 1.0)
    assert "held_out_falls" in raised(found(now, rising))
    once = [point(1.0, 0.5, 0.5), point(1.5, 0.8, 0.6)]
    assert "held_out_falls" not in raised(found(now, once))
    both_fall = [point(1.0, 2.5, 0.8), point(1.5, 2.0, 0.6)]
    assert "held_out_falls" not in raised(found(now, both_fall))


def test_kl_that_buys_nothing_any_more() -> None:
    far = replace(samples_of(1), kl_B=samples_of(1).kl_B + 6)
    assert "kl_efficiency" in raised(found(far, [point(0.5, 0.5, 1.0), point(1.5, 1.0, 0.6)]))
    assert "kl_efficiency" not in raised(found(far, [point(0.5, 0.5, -1.0), point(1.5, 1.0, -0.5)]))
    assert "kl_efficiency" not in found(far, [point(0.5, 0.5, 1.0)]).figures
    called_back = found(far, [point(2.9, 0.5, -1.0), point(2.8, 1.0, -0.5)])
    assert "kl_efficiency" not in called_back.figures


def test_variety_is_that_of_as_many_texts() -> None:
    assert found(replace(REFERENCE, texts=REFERENCE.texts)).figures["variety"] == 1.0
    assert found(samples_of(1)).figures["variety"] == pytest.approx(1.0, abs=0.05)


def test_a_bound_of_null_silences_a_detector() -> None:
    hacked = HACKS["outliers"](samples_of(1))
    assert "outliers" not in raised(found(hacked, outliers=None))  # type: ignore[arg-type]
    assert found(hacked).figures["outliers"] > 0.05


def test_an_evaluation_survives_a_checkpoint() -> None:
    evaluation = found(HACKS["style"](samples_of(1)))
    assert Evaluation.from_json(evaluation.to_json()) == evaluation


def test_what_cannot_be_measured_is_left_out() -> None:
    bare = replace(samples_of(1), held_out_B=None, latent_BD=None, deviation_B=None, gold_B=None)
    figures = found(bare).figures
    assert not {"divergence", "held_out_falls", "kl_efficiency", "outliers", "disagreement"} & figures.keys()
    assert found(bare).held_out_gain is None


def test_gain_and_standard_error_are_what_their_formulae_say() -> None:
    now, before = [1.0, 4.0, 2.5], [0.0, 1.0, 5.0, -2.0]
    mean = sum(before) / 4
    deviation = math.sqrt(sum((value - mean) ** 2 for value in before) / 4)
    assert gain(torch.tensor(now), torch.tensor(before)) == pytest.approx((sum(now) / 3 - mean) / deviation)
    assert standard_error(torch.tensor(before)) == pytest.approx(deviation / 2)


def test_outliers_are_those_of_the_mahalanobis_distance() -> None:
    latent = numpy.random.default_rng(0).normal(size=(60, 3)) @ numpy.array([[2, 1, 0], [0, 1, 0], [0, 0.5, 0.1]])
    fitted, measured = latent[::2], latent[1::2]
    mean = [sum(row[place] for row in fitted) / 30 for place in range(3)]
    covariance = [
        [sum((row[i] - mean[i]) * (row[j] - mean[j]) for row in fitted) / 30 for j in range(3)] for i in range(3)
    ]
    level = sum(covariance[place][place] for place in range(3)) / 3
    shrunk = [
        [(1 - SHRINKAGE) * covariance[i][j] + (SHRINKAGE * level if i == j else 0.0) for j in range(3)]
        for i in range(3)
    ]

    def distance(row: numpy.ndarray) -> float:
        away = row - numpy.array(mean)
        return float(away @ numpy.linalg.solve(numpy.array(shrunk), away))

    ordered = sorted(distance(row) for row in measured)
    place = 0.99 * 29
    far = ordered[28] + (place - 28) * (ordered[29] - ordered[28])
    cloud = Cloud.of(torch.tensor(latent))
    assert cloud.far == pytest.approx(far)
    moved = latent * 1.3
    assert cloud.outliers(torch.tensor(moved)) == pytest.approx(sum(distance(row) > far for row in moved) / 60)


def test_length_free_gain_is_that_within_bins() -> None:
    reference, now = REFERENCE, longer_where_it_pays(samples_of(3))
    now = replace(now, token_ids=samples_of(3).token_ids)
    edges = numpy.quantile([len(ids) for ids in reference.token_ids], [number / LENGTH_BINS for number in range(1, 5)])

    def binned(samples: Samples, number: int) -> list[float]:
        low, high = ([-math.inf, *edges, math.inf][place] for place in (number, number + 1))
        pairs = zip(samples.token_ids, samples.reward_B.tolist(), strict=True)
        return [reward for ids, reward in pairs if low < len(ids) <= high]

    weighted = weights = 0.0
    for number in range(LENGTH_BINS):
        own, others = binned(now, number), binned(reference, number)
        if own and others:
            weighted += len(others) * (sum(own) / len(own) - sum(others) / len(others))
            weights += len(others)
    total = float(now.reward_B.mean() - reference.reward_B.mean())
    assert length_free_share(now, reference) == pytest.approx(weighted / weights / total, rel=1e-5)
    assert length_free_share(reference, reference) is None


def test_length_correlation_is_spearmans_within_prompts() -> None:
    def ranks(values: list[float]) -> list[float]:
        return [
            sum(other < value for other in values) + (sum(other == value for other in values) - 1) / 2
            for value in values
        ]

    samples = samples_of(4, prompts=5)
    products = own = other = 0.0
    for start in range(0, 20, 4):
        reward = ranks(samples.reward_B[start : start + 4].tolist())
        length = ranks([float(len(ids)) for ids in samples.token_ids[start : start + 4]])
        mean = 1.5
        products += sum((a - mean) * (b - mean) for a, b in zip(reward, length, strict=True))
        own += sum((a - mean) ** 2 for a in reward)
        other += sum((b - mean) ** 2 for b in length)
    correlation = length_correlation(samples)
    assert correlation is not None
    assert correlation == (pytest.approx(products / math.sqrt(own * other)), 15)
    assert length_correlation(samples_of(4, per_prompt=1)) is None


def test_texts_are_counted_as_by_hand() -> None:
    texts = ["a b c d a b c d", "# Title\n- one\n2. two **bold** and perhaps great question", "I can't help. Ünï 😀"]
    pairs = [pair for text in texts for pair in itertools.pairwise(text.split())]
    assert distinct_2(texts) == pytest.approx(len(set(pairs)) / len(pairs))
    assert repetition(texts) == pytest.approx(1 / (5 + 8 + 2))  # "a b c d" comes again
    characters = "".join(texts)
    assert non_ascii(texts) == pytest.approx(sum(ord(one) > 127 for one in characters) / len(characters))
    counted = replace(samples_of(0, prompts=1, per_prompt=3), texts=texts)
    rates = style_rates(counted)
    words = len(texts[1].split())
    for name in ("headings", "bold", "hedges", "praise"):
        assert rates[name].tolist() == [0, pytest.approx(100 / words), 0]
    assert rates["lists"].tolist() == [0, pytest.approx(200 / words), 0]
    assert rates["refusals"].tolist() == [0, 0, pytest.approx(100 / len(texts[2].split()))]
    assert rates["emoji"][2] == rates["refusals"][2]


def test_a_shift_of_style_is_in_deviations_of_the_references_responses() -> None:
    before = with_texts(samples_of(0), lambda text: f"{text} perhaps" if len(text) % 2 else text)
    now = with_texts(samples_of(1), lambda text: f"perhaps {text}")
    rates, rates_before = style_rates(now)["hedges"].tolist(), style_rates(before)["hedges"].tolist()
    mean = sum(rates_before) / len(rates_before)
    deviation = math.sqrt(sum((rate - mean) ** 2 for rate in rates_before) / len(rates_before))
    shift, name = style_shift(now, before)
    assert name == "hedges"
    assert shift == pytest.approx((sum(rates) / len(rates) - mean) / deviation, rel=1e-4)


def test_openings_and_slopes() -> None:
    one = replace(samples_of(0, prompts=1), token_ids=[[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 9], [2], [3, 1]])
    assert common_opening(one) == 0.5
    assert slope([0.0, 1.0, 2.0], [1.0, 3.0, 5.0]) == pytest.approx(2.0)
    assert slope([1.0, 1.0], [0.0, 5.0]) is None
