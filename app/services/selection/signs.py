"""Signs that what people want, or what the policy writes, is no longer what a model has learnt from."""

# P = pairs, J = judgements, F = features, M, N = responses

import numpy as np

from app.services.selection import posterior
from app.services.selection.arrays import Floats, Whole
from app.services.selection.posterior import FOLDS, Judged, folds, said_at

BLOCK = 10
"""Judgements that count as one: the loss of a single one is far from normal, and would alarm too often."""
ALLOWANCE = 0.5
"""Standard deviations of a block that one may be worse than expected before it counts."""
ERRORS = 2.0
"""Standard errors of what is usual that are allowed for beside: it is estimated from few."""
FEWEST_KNOWN = 40
FEWEST_RESPONSES = 100
USUAL_QUANTILE = 0.99
SHRINKAGE = 0.1


def drift(known: Judged, known_P: Whole, new: Judged, new_P: Whole) -> float | None:
    """The largest cumulative sum of how much worse the head of what is `known` is on blocks of `new` judgements, in the
    order of their numbers `new_P`, than it is elsewhere, in standard deviations (Page 1954); None where there is too
    little to go by. Pairs of one judgement, which is a ranking, say one thing.

    Of a pair it expects the entropy of what it says. How much worse than that it is anyway, and how that varies, say
    the known pairs that were drawn at random, each by a head without its prompt.
    """
    if len(np.unique(known_P[known.is_random_P])) < FEWEST_KNOWN or len(np.unique(new_P)) < BLOCK:
        return None
    strength = posterior.suitable_strength(known)
    fold_P = folds(known.group_P)
    unseen_P: Floats = np.zeros(len(known))
    for fold in range(FOLDS):
        asked_P = (fold_P == fold) & known.is_random_P
        unseen_P[asked_P] = _excess(known.only(fold_P != fold), known.only(asked_P), strength)
    usual_J = _by_judgement(unseen_P[known.is_random_P], known_P[known.is_random_P])
    deviation = float(usual_J.std())
    if deviation <= 0 or not np.isfinite(deviation):
        return None
    excess_J = (_by_judgement(_excess(known, new, strength), new_P) - usual_J.mean()) / deviation
    blocks = excess_J[: len(excess_J) - len(excess_J) % BLOCK].reshape(-1, BLOCK).sum(axis=1) / np.sqrt(BLOCK)
    allowance = ALLOWANCE + ERRORS * (BLOCK / len(usual_J)) ** 0.5
    reached, highest = 0.0, 0.0
    for block in blocks - allowance:
        reached = max(0.0, reached + float(block))
        highest = max(highest, reached)
    return highest


def _excess(known: Judged, new: Judged, strength: float) -> Floats:
    """Of each new pair: loss less entropy, (p - y) log(p / (1 - p)), where p is what the head of the known ones says
    when it takes into account how unsure it is."""
    head = posterior.fit(known, strength=strength)
    said_P = said_at(head.margins(new.difference_PF), head.lapse)
    excess: Floats = (said_P - new.preference_P) * (np.log(said_P) - np.log1p(-said_P))
    return excess


def _by_judgement(excess_P: Floats, judgement_P: Whole) -> Floats:
    """The means of the pairs of each judgement, in the order of their numbers."""
    _, place_P = np.unique(judgement_P, return_inverse=True)
    mean_J: Floats = np.bincount(place_P.reshape(-1), weights=excess_P) / np.bincount(place_P.reshape(-1))
    return mean_J


def outlying(usual_NF: Floats, fresh_MF: Floats, *, seed: int) -> float | None:
    """The share of fresh responses that lie farther out, by Mahalanobis' distance, than 99 of 100 usual ones; None
    where there are too few.

    Half of the usual ones say how they spread, the other half how far out one of them lies: those that the spread was
    estimated from would lie nearer.
    """
    if min(len(usual_NF), len(fresh_MF)) < FEWEST_RESPONSES:
        return None
    order = np.random.default_rng(seed).permutation(len(usual_NF))
    half, other = np.array_split(usual_NF[order].astype(np.float64), 2)
    mean_F = half.mean(axis=0)
    covariance_FF = np.cov(half, rowvar=False).reshape(len(mean_F), len(mean_F))
    spread = float(np.trace(covariance_FF)) / len(mean_F)
    if spread <= 0 or not np.isfinite(spread):
        return None
    covariance_FF = (1 - SHRINKAGE) * covariance_FF + SHRINKAGE * spread * np.eye(len(mean_F))
    inverse_FF = np.linalg.inv(covariance_FF)
    bound = np.quantile(_distance(other, mean_F, inverse_FF), USUAL_QUANTILE)
    return float((_distance(fresh_MF.astype(np.float64), mean_F, inverse_FF) > bound).mean())


def _distance(response_NF: Floats, mean_F: Floats, inverse_FF: Floats) -> Floats:
    away_NF = response_NF - mean_F
    squared: Floats = np.einsum("nf,nf->n", away_NF @ inverse_FF, away_NF)
    return squared
