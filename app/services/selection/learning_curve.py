"""What judgements have taught, and what more of them would: accuracy of the head against the number it learnt from.

Measured on the random slice alone, each pair by a fit that knows nothing of its prompt, at nested numbers of labels.
Accuracy a begins at a coin's and rises to c by a power law, a(n) = ½ + (c - ½) (1 - (1 + n / h)^-g): with h and g from
a grid only c - ½ is free, so that few points fit it and none of them makes it fall. Intervals are over resamples of
prompts, each of which takes a shape with the chance that its points give it.
"""

# P = pairs, F = features, S = sizes, N = prompts, B = resamples, H = shapes of the curve

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from app.services.selection import posterior
from app.services.selection.arrays import Floats, Truths, Whole
from app.services.selection.posterior import FOLDS, Judged, folds

SHARES = (0.06, 0.125, 0.25, 0.5, 0.75, 1.0)
"""Sizes, of what is left to learn from when a fold is held out."""
ORDERS = 6
"""In so many orders labels are left out and nested."""
RESAMPLES = 400
DIRECTIONS = 64
"""In which pairs differ most; a head on these is the head on all but for what the prior shrinks away."""
COIN = 0.5
GROWTH = (0.25, 0.5, 1.0, 2.0)
HALF_WAY = tuple(2.0**exponent for exponent in range(-8, 4))
"""h in numbers of labels so far."""
FEWEST_PAIRS = 40
FEWEST_PROMPTS = 20
"""Of the random slice: of fewer nothing is told."""
DOUBT = 2.0
"""How far a law may be from the points, in standard deviations of one: so that intervals of what 100 more labels are
worth hold it in nineteen of twenty worlds (docs/method.md)."""
WIDEST = 0.04
"""Of an interval that says anything: four points."""
WORTH = 0.005
"""More judgements pay if they may be worth half a point."""
LEAST_MORE = 100
MORE_SHARE = 0.2


@dataclass(frozen=True)
class Curve:
    """Accuracy that was measured with `label_S` of the `labels` that there are, and the laws that may be behind it:
    c - ½, h and g of each resample."""

    labels: int
    label_S: Floats
    accuracy_S: Floats
    shape_B3: Floats

    def at(self, labels: float) -> tuple[float, float, float]:
        """Accuracy with so many by the law, and its interval of 95 %."""
        return _told(_law(self.shape_B3, labels))

    def gain(self, more: int) -> tuple[float, float, float]:
        """What so many more add to accuracy by the law, and the interval of 95 %."""
        return _told(_law(self.shape_B3, self.labels + more) - _law(self.shape_B3, self.labels))


@dataclass(frozen=True)
class Worth:
    """What `more` judgements would add to the share of held-out judgements that the head gets right.

    `too_few`: `more` of them until that can be said. `enough`: even at best they would add next to nothing.
    """

    verdict: Literal["too_few", "pays", "enough"]
    more: int
    gain: float = 0.0
    low: float = 0.0
    high: float = 0.0


def measured(judged: Judged, *, labels: int, seed: int, strength: float | None = None) -> Curve | None:
    """The curve of a head that learns from all of these pairs, which came of so many judgements; None where too few of
    them were drawn at random. `strength`: of the prior, where it has been chosen already."""
    if _lacking(judged):
        return None
    rng = np.random.default_rng(seed)
    strength = posterior.suitable_strength(judged) if strength is None else strength
    turned = _turned(judged)
    asked_P = judged.is_random_P & (judged.preference_P != COIN)
    hit_SP = np.mean([_hits(turned, asked_P, strength, rng) for _ in range(ORDERS)], axis=0)[:, asked_P]
    label_S = np.array(SHARES) * (1 - 1 / FOLDS) * labels
    accuracy_BS = _resampled(hit_SP, np.unique(judged.group_P[asked_P], return_inverse=True)[1], rng)
    return Curve(labels, label_S, hit_SP.mean(axis=1), _fitted(accuracy_BS, label_S, labels, rng))


def worth(judged: Judged, curve: Curve | None, *, labels: int) -> Worth:
    """What the next judgements would be worth, in the words of whoever gives them."""
    if curve is not None and curve.at(labels)[1] <= COIN:
        return Worth("too_few", _rounded(labels))
    if curve is None:
        drawn = max(1, int(judged.is_random_P.sum()))
        lacking = max(FEWEST_PAIRS - drawn, _lacking(judged), 1)
        return Worth("too_few", _rounded(lacking * max(1.0, labels / drawn)))
    more = max(LEAST_MORE, round(labels * MORE_SHARE / LEAST_MORE) * LEAST_MORE)
    gain, low, high = curve.gain(more)
    if high < WORTH:
        return Worth("enough", more, gain, low, high)
    if high - low > WIDEST:
        return Worth("too_few", _rounded(labels * (((high - low) / WIDEST) ** 2 - 1)))
    return Worth("pays", more, gain, low, high)


def _lacking(judged: Judged) -> int:
    """How many decided random pairs are missing at least."""
    asked_P = judged.is_random_P & (judged.preference_P != COIN)
    prompts = len(np.unique(judged.group_P[asked_P]))
    return max(0, FEWEST_PAIRS - int(asked_P.sum()), FEWEST_PROMPTS - prompts)


def _turned(judged: Judged) -> Judged:
    """The same pairs in the directions in which they differ most."""
    turned = posterior.turned(judged)
    return replace(turned, difference_PF=turned.difference_PF[:, :DIRECTIONS])


def _hits(judged: Judged, asked_P: Truths, strength: float, rng: np.random.Generator) -> Floats:
    """(S, P): 1 where the fit on the first of the others, in an order drawn anew, has the pair right; ½ where it has
    no opinion."""
    fold_P = folds(judged.group_P, rng)
    hit_SP = np.full((len(SHARES), len(judged)), COIN)
    for fold in range(FOLDS):
        others = rng.permutation(np.flatnonzero(fold_P != fold))
        unseen = np.flatnonzero((fold_P == fold) & asked_P)
        theta_F = np.zeros(judged.difference_PF.shape[1])
        for place, share in enumerate(SHARES):
            learnt = others[: max(1, round(share * len(others)))]
            theta_F = posterior.mode(judged.only(learnt), strength=strength, start_F=theta_F)
            lead_P = (judged.difference_PF[unseen] @ theta_F) * (judged.preference_P[unseen] - COIN)
            hit_SP[place, unseen] = (np.sign(lead_P) + 1) / 2
    return hit_SP


def _resampled(hit_SP: Floats, prompt_P: Whole, rng: np.random.Generator) -> Floats:
    """(B, S): means over prompts that are drawn again, with all that was said of each."""
    prompts = int(prompt_P.max()) + 1
    count_N = np.bincount(prompt_P, minlength=prompts)
    hit_SN = np.stack([np.bincount(prompt_P, weights=row, minlength=prompts) for row in hit_SP])
    weight_BN = rng.multinomial(prompts, np.full(prompts, 1 / prompts), size=RESAMPLES)
    return np.asarray((weight_BN @ hit_SN.T) / (weight_BN @ count_N)[:, None], dtype=np.float64)


def _fitted(accuracy_BS: Floats, label_S: Floats, labels: int, rng: np.random.Generator) -> Floats:
    """(B, 3): a law for each curve, of which least squares give the height, and chance, by how near it comes, the
    shape."""
    shapes = [(share * labels, growth) for share in HALF_WAY for growth in GROWTH]
    rise_HS = np.stack([1 - (1 + label_S / half) ** -growth for half, growth in shapes])
    lead_BS = accuracy_BS - COIN
    height_BH = np.clip(lead_BS @ rise_HS.T / (rise_HS**2).sum(axis=1), 0, 1 - COIN)
    error_BH = ((lead_BS[:, None, :] - height_BH[:, :, None] * rise_HS) ** 2).sum(axis=2)
    doubt = max(1e-6, DOUBT * float(accuracy_BS.std(axis=0).mean()))
    # The largest of these is each one with a chance in proportion to its likelihood (Gumbel 1954).
    shape_B = (rng.gumbel(size=error_BH.shape) - error_BH / (2 * doubt**2)).argmax(axis=1)
    return np.column_stack([height_BH[np.arange(len(shape_B)), shape_B], np.array(shapes)[shape_B]])


def _law(shape: Floats, labels: float) -> Floats:
    height, half, growth = np.moveaxis(shape, -1, 0)
    return np.asarray(COIN + height * (1 - (1 + labels / half) ** -growth), dtype=np.float64)


def _told(value_B: Floats) -> tuple[float, float, float]:
    low, high = np.quantile(value_B, (0.025, 0.975)).tolist()
    return float(value_B.mean()), low, high


def _rounded(labels: float) -> int:
    """Up to tens: it is a guess."""
    return max(10, int(-(-labels // 10)) * 10)
