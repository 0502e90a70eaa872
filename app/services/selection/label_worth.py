"""What other labels are worth in people's: how many more of those would have taught a head as much.

The head is learnt with them and without, and from parts of what people said, always without the prompts it is asked
about; those are people's pairs that chance drew. The log-likelihood of what people said there, after a temperature for
each head, grows about as a - b / sqrt(n) in n of their pairs. Where the others add as much as s more would, it is
b / sqrt(n) - b / sqrt(n + s) that they add. Accuracy is told beside it, and is too coarse to find s by.
"""

# R = pairs that chance drew and on which people took a side

from dataclasses import dataclass, replace

import numpy as np

from app.phrases import phrase
from app.services.selection import posterior
from app.services.selection.arrays import Floats, Truths, Whole
from app.services.selection.posterior import FOLDS, LAPSE, Judged, folds, said_at

FEWEST_DRAWN = 40
FEWEST_OTHERS = 20
MOST_LABELS = 1_500
"""Of people, the newest: the fits are some fifty."""
PARTS = (0.3, 0.3, 0.3, 0.5, 0.5, 0.5, 0.7, 0.7, 0.7, 1.0)
"""Of what people said, each drawn anew."""
SCALES = np.geomspace(0.05, 20, 60)
RESAMPLES = 500
MOST_TIMES = 3.0
"""So many times as many labels as there are in addition: further the curve isn't believed."""
MOST_FLAT = 0.025
"""Of the resamples, those in which people's own labels teach nothing: with more the curve says nothing at all."""

TOO_FEW_DRAWN = phrase("Too few pairs that chance drew have been judged by people to tell what machines are worth.")
TOO_FEW_OTHERS = phrase("Too few pairs have been judged by calibrated machines to tell what they are worth.")
FLAT = phrase("More of people’s own labels don’t teach the head measurably more, so nothing can be told in labels.")


@dataclass(frozen=True)
class Worth:
    """`saved` labels of people, with the interval of 95 % over prompts; None with the reason `why` not.

    `accuracy` and `accuracy_without` are on the `pairs` that chance drew, the head having learnt of `labels` of people.
    """

    saved: float | None = None
    low: float | None = None
    high: float | None = None
    accuracy: float | None = None
    accuracy_without: float | None = None
    pairs: int = 0
    labels: int = 0
    why: str | None = None


def worth_of(people: Judged, others: Judged, rng: np.random.Generator) -> Worth:
    """What `others`, weighed as they are, add to what `people` said. Their groups are the same prompts'."""
    drawn_P = people.is_random_P & (people.preference_P != 0.5)
    if len(others) < FEWEST_OTHERS:
        return Worth(why=TOO_FEW_OTHERS)
    if drawn_P.sum() < FEWEST_DRAWN or len(np.unique(people.group_P[drawn_P])) < 2 * FOLDS:
        return Worth(pairs=int(drawn_P.sum()), why=TOO_FEW_DRAWN)
    strength = posterior.suitable_strength(people)
    fold_P = folds(people.group_P, rng)
    with_R = np.zeros(drawn_P.sum())
    margin_CR = np.zeros((len(PARTS), drawn_P.sum()))
    sizes_C = np.zeros(len(PARTS))
    for fold in range(FOLDS):
        asked_P = drawn_P & (fold_P == fold)
        at_R = asked_P[drawn_P]
        learnt, asked = people.only(fold_P != fold), people.only(asked_P)
        beside = others.only(~np.isin(others.group_P, people.group_P[fold_P == fold]))
        with_R[at_R] = _margins(_joined(learnt, beside), asked, strength)
        for part, share in enumerate(PARTS):
            some = learnt.only(_some_groups(learnt.group_P, share, rng))
            margin_CR[part, at_R] = _margins(some, asked, strength)
            sizes_C[part] += len(some) / FOLDS
    return _told(with_R, margin_CR, sizes_C, people.group_P[drawn_P], rng)


def _told(with_R: Floats, margin_CR: Floats, sizes_C: Floats, group_R: Whole, rng: np.random.Generator) -> Worth:
    """The last of the parts is all that people said."""
    known = Worth(
        accuracy=_accuracy(with_R),
        accuracy_without=_accuracy(margin_CR[-1]),
        pairs=len(group_R),
        labels=round(float(sizes_C[-1])),
    )
    likely_R, likely_CR = _likelihoods(with_R), np.array([_likelihoods(margin_R) for margin_R in margin_CR])
    groups, index_R = np.unique(group_R, return_inverse=True)
    resampled: list[float] = []
    for _ in range(RESAMPLES):
        weight_R = np.bincount(rng.integers(len(groups), size=len(groups)), minlength=len(groups))[index_R]
        drawn_C = _drawn_again(rng)
        value = _saved(likely_R, likely_CR[drawn_C], sizes_C[drawn_C], weight_R.astype(np.float64))
        if value is not None:
            resampled.append(value)
    saved = _saved(likely_R, likely_CR, sizes_C, np.ones(len(group_R)))
    if saved is None or len(resampled) < (1 - MOST_FLAT) * RESAMPLES:
        return replace(known, why=FLAT)
    low, high = np.quantile(resampled, [0.025, 0.975])
    return replace(known, saved=saved, low=float(low), high=float(high))


def _drawn_again(rng: np.random.Generator) -> Whole:
    """As many parts of each size as there are, some of them twice; all of it stays the last."""
    shares = np.array(PARTS)
    drawn: Whole = np.concatenate(
        [rng.choice(np.flatnonzero(shares == share), (shares == share).sum()) for share in np.unique(shares)]
    )
    return drawn


def _saved(likely_R: Floats, likely_CR: Floats, sizes_C: Floats, weight_R: Floats) -> float | None:
    """Labels, never more than the curve is believed for; None where it doesn't rise."""
    mean_C = likely_CR @ weight_R / weight_R.sum()
    gain = float(likely_R @ weight_R / weight_R.sum() - mean_C[-1])
    slope = -float(np.polyfit(sizes_C**-0.5, mean_C, 1)[0])
    if slope <= 0:
        return None
    labels = float(sizes_C[-1])
    left = labels**-0.5 - gain / slope
    return labels * MOST_TIMES if left <= (labels * (1 + MOST_TIMES)) ** -0.5 else left**-2 - labels


def _margins(learnt: Judged, asked: Judged, strength: float) -> Floats:
    """How far the head is on the side that people took."""
    margin = asked.difference_PF @ posterior.fit(learnt, strength=strength).mean_F
    towards: Floats = margin * np.sign(asked.preference_P - 0.5)
    return towards


def _likelihoods(margin_R: Floats) -> Floats:
    """Of what people said, in nats, by the temperature that suits these margins best."""
    tried = [np.log(said_at(margin_R * scale, LAPSE)) for scale in SCALES]
    return max(tried, key=lambda likely_R: float(likely_R.mean()))


def _accuracy(margin_R: Floats) -> float:
    """A margin of nothing is half right."""
    return float((np.sign(margin_R) + 1).mean() / 2)


def _some_groups(group_P: Whole, share: float, rng: np.random.Generator) -> Truths:
    groups = np.unique(group_P)
    kept: Truths = np.isin(group_P, rng.permutation(groups)[: max(1, round(share * len(groups)))])
    return kept


def _joined(first: Judged, second: Judged) -> Judged:
    return Judged(
        np.concatenate([first.difference_PF, second.difference_PF]),
        np.concatenate([first.preference_P, second.preference_P]),
        np.concatenate([first.weight_P, second.weight_P]),
        np.concatenate([first.group_P, second.group_P]),
        np.concatenate([first.is_random_P, second.is_random_P]),
    )
