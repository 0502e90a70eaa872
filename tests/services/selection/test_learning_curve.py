"""The stopping report: against worlds whose curve is known, and where nothing can be said."""

import numpy as np
import pytest

from app.services.loop.rounds.label_advice import worth_said
from app.services.selection import learning_curve, posterior
from app.services.selection.arrays import Floats
from app.services.selection.learning_curve import Worth
from app.services.selection.posterior import Judged

SEEDS = range(6)
LAPSE = posterior.LAPSE


class World:
    """People who prefer by a hidden direction of `features` dimensions and lapse once in ten."""

    def __init__(self, seed: int, features: int, *, strength: float = 3.0) -> None:
        self.rng = np.random.default_rng(seed)
        self.scale_F = np.arange(1, features + 1) ** -0.5
        theta_F = self.rng.standard_normal(features)
        self.theta_F = strength * theta_F / np.sqrt(2 * (theta_F**2 * self.scale_F**2).sum())

    def pairs(self, count: int) -> Floats:
        one, other = self.rng.standard_normal((2, count, len(self.scale_F)))
        drawn: Floats = (one - other) * self.scale_F
        return drawn

    def chance(self, difference_PF: Floats) -> Floats:
        said: Floats = LAPSE / 2 + (1 - LAPSE) * posterior.sigmoid(difference_PF @ self.theta_F)
        return said

    def judged(self, count: int, *, random_share: float = 1.0) -> Judged:
        difference_PF = self.pairs(count)
        said_P = (self.rng.random(count) < self.chance(difference_PF)).astype(float)
        is_random_P = self.rng.random(count) < random_share
        return Judged(difference_PF, said_P, np.ones(count), np.arange(count), is_random_P)

    def accuracy(self, *labels: int, strength: float, times: int = 16) -> Floats:
        """What heads of so many labels are right about, on average over sets of them, one in the other."""
        test_PF = self.pairs(4_000)
        chance_P = self.chance(test_PF)
        found = np.zeros(len(labels))
        for _ in range(times):
            judged = self.judged(max(labels))
            for place, count in enumerate(labels):
                theta_F = posterior.mode(judged.only(np.arange(count)), strength=strength)
                found[place] += np.where(test_PF @ theta_F > 0, chance_P, 1 - chance_P).mean() / times
        return found


def worth_of(judged: Judged, seed: int = 0) -> Worth:
    curve = learning_curve.measured(judged, labels=len(judged), seed=seed)
    return learning_curve.worth(judged, curve, labels=len(judged))


def test_what_a_hundred_more_labels_would_be_worth_is_near_what_they_are_worth() -> None:
    missed, told = 0, []
    for seed in SEEDS:
        world = World(seed, features=32)
        judged = world.judged(300, random_share=0.5)
        curve = learning_curve.measured(judged, labels=300, seed=seed)
        assert curve is not None
        assert learning_curve.worth(judged, curve, labels=300).verdict != "enough"
        gain, low, high = curve.gain(100)
        strength = posterior.suitable_strength(judged)
        before, after = world.accuracy(300, 400, strength=strength)
        true = after - before
        told.append(gain - true)
        missed += not low <= true <= high
    assert np.abs(np.mean(told)) < 0.006, "over seeds it is neither too hopeful nor too gloomy"
    assert np.abs(told).max() < 0.02
    assert missed <= 1


def test_where_the_curve_is_flat_more_labels_no_longer_pay() -> None:
    assert {worth_of(World(seed, features=4).judged(800), seed).verdict for seed in SEEDS} == {"enough"}


def test_the_curve_that_random_labels_give_is_told_for_more_of_them_than_there_are() -> None:
    off, within = [], 0
    for seed in SEEDS:
        world = World(seed, features=16)
        judged = world.judged(240)
        curve = learning_curve.measured(judged, labels=240, seed=seed)
        assert curve is not None
        told, low, high = curve.at(720)
        (true,) = world.accuracy(720, strength=posterior.suitable_strength(judged))
        off.append(told - true)
        within += low <= true <= high
    assert np.abs(np.mean(off)) < 0.03
    assert within >= len(SEEDS) - 1


def test_with_too_few_random_labels_it_says_how_many_more_it_takes() -> None:
    judged = World(0, features=8).judged(100, random_share=0.2)
    worth = worth_of(judged)
    assert worth.verdict == "too_few"
    drawn = int(judged.is_random_P.sum())
    assert 0 <= worth.more - (learning_curve.FEWEST_PAIRS - drawn) * 100 / drawn < 10


@pytest.mark.parametrize("kind", ["one prompt", "all ties", "identical responses", "nobody drew any", "nothing"])
def test_what_says_nothing_is_no_number(kind: str) -> None:
    judged = World(1, features=8).judged(0 if kind == "nothing" else 80)
    parts = vars(judged)
    if kind == "one prompt":
        parts = {**parts, "group_P": judged.group_P * 0}
    elif kind == "all ties":
        parts = {**parts, "preference_P": judged.preference_P * 0 + 0.5}
    elif kind == "identical responses":
        parts = {**parts, "difference_PF": judged.difference_PF * 0}
    elif kind == "nobody drew any":
        parts = {**parts, "is_random_P": judged.is_random_P & False}
    worth = worth_of(Judged(**parts))
    assert np.isfinite([worth.gain, worth.low, worth.high, worth.more]).all()
    assert worth.verdict == "too_few"
    assert worth.more > 0


def test_it_is_told_in_the_words_of_whoever_gives_judgements() -> None:
    assert str(worth_said(Worth("pays", 100, 0.01, 0.002, 0.019))) == (
        "100 more judgements would be worth about 1.0 point (0.2 to 1.9)."
    )
    assert str(worth_said(Worth("enough", 200, 0.001, 0, 0.003))).startswith(
        "More judgements of this kind no longer pay: 200 more"
    )
    assert "(at most 0.49996)" in str(worth_said(Worth("enough", 200, 0.001, 0, 0.0049996)))
    assert "about 60 more until it can be said" in str(worth_said(Worth("too_few", 60)))
