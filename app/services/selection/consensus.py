"""What is true of pairs that people judged, and how far each person is to be believed: one model of both.

Raykar et al. 2010 with the head as the classifier: a pair's first response is better with f = sigma(theta d), people
tell the truth as their habits have it, and EM finds theta, the habits and the truth of every pair in turn. One vote a
pair is enough, because features tie the pairs together; without features only pairs with several votes say anything.
"""

# V = votes, P = pairs, F = features, W = people

from dataclasses import dataclass

import numpy as np

from app.services.selection.arrays import Floats, Truths, Whole
from app.services.selection.habits import Habits, Votes, Z, learn_habits
from app.services.selection.posterior import (
    FEWEST_TO_CHOOSE,
    FOLDS,
    STRENGTHS,
    USUAL_STRENGTH,
    Judged,
    folds,
    mode,
    sigmoid,
    turned,
)

ROUNDS = 30
SETTLED = 1e-3
"""Of every pair's truth, from one round to the next."""
ROUNDS_TO_CHOOSE = 3
TEMPERATURES = tuple(2.0 ** (exponent / 4) for exponent in range(-16, 17))
TEMPERATURE_SPREAD = 0.25
"""log T ~ N(0, 0.25²): some hundred votes don't settle it."""


@dataclass(frozen=True)
class Pairs:
    """Pairs that were judged, as differences of features, of which there may be none; `group_P` and `is_random_P` are
    those of `Judged`."""

    difference_PF: Floats
    group_P: Whole
    is_random_P: Truths

    def __len__(self) -> int:
        return len(self.group_P)

    def judged(self, label_P: Floats, weight_P: Floats) -> Judged:
        return Judged(self.difference_PF, label_P, weight_P, self.group_P, self.is_random_P)

    @property
    def teach(self) -> bool:
        """Whether a head can learn from them, and be asked about those that it hasn't seen."""
        enough = len(self) > 0 and folds(self.group_P).max() == FOLDS - 1
        return enough and bool(self.difference_PF.any()) and bool(np.isfinite(self.difference_PF).all())


@dataclass(frozen=True)
class Consensus:
    """What EM found, with habits in the first and in the second half of each person's votes beside those in all, and
    with those that votes alone tell of, without gold.

    `truth_P` is how likely the first response of a pair is better, by its votes and by a head that learnt from other
    groups' pairs alone; `told_P` is how far the votes by themselves settle it, from 0 to 1. Scores are `theta_F` over
    `temperature`.
    """

    theta_F: Floats
    strength: float
    temperature: float
    habits: Habits
    by_votes: Habits
    early: Habits
    late: Habits
    truth_P: Floats
    told_P: Floats
    rounds: int

    def drift(self) -> Floats:
        """(W, 3): what each person's reliability gained from the first half of their votes to the second, and the
        bounds of that, 95 %; by the delta method from log odds."""
        first, second = self.early.reliability(), self.late.reliability()
        spread_W = Z * np.hypot(
            first * (1 - first) * self.early.sure_deviation_W, second * (1 - second) * self.late.sure_deviation_W
        )
        gained_W = second - first
        return np.stack([gained_W, gained_W - spread_W, gained_W + spread_W], axis=1)


def agree(votes: Votes, pairs: Pairs, *, strength: float | None = None) -> Consensus:
    """Fit all of it. Prior and temperature of theta are those under which held-out votes on pairs drawn at random are
    likeliest, the usual ones where there are too few; `strength` settles the prior."""
    teach = pairs.teach
    pairs = pairs if teach else Pairs(np.zeros((len(pairs), 0)), pairs.group_P, pairs.is_random_P)
    turned_ = _turn(votes, pairs, USUAL_STRENGTH if strength is None else strength, None)
    if strength is None:
        strength = _suitable_strength(votes, pairs, turned_) if teach else USUAL_STRENGTH
        turned_ = turned_ if strength == USUAL_STRENGTH else _turn(votes, pairs, strength, turned_)
    unseen_P: Floats = np.zeros(len(pairs))
    if teach:
        label_P, weight_P = labels(votes, turned_.truth_P)
        unseen_P = _unseen_margins(pairs.judged(label_P, weight_P), strength, turned_.theta_F)
    return _concluded(votes, turned_, strength, unseen_P, pairs.is_random_P)


def labels(votes: Votes, truth_P: Floats) -> tuple[Floats, Floats]:
    """What a head learns of each pair: its truth as far as votes are for one side, else a tie; and the mean weight of
    its votes."""
    weight_P = _of_pairs(votes, votes.weight_V, len(truth_P))
    decided_P = _of_pairs(votes, votes.weight_V * votes.decided(), len(truth_P))
    count_P = _of_pairs(votes, np.ones(len(votes)), len(truth_P))
    share_P = decided_P / np.where(weight_P > 0, weight_P, 1)
    return share_P * truth_P + (1 - share_P) * 0.5, weight_P / np.maximum(count_P, 1)


@dataclass(frozen=True)
class _Turned:
    """EM where it ended."""

    theta_F: Floats
    habits: Habits
    evidence_V: Floats
    evidence_P: Floats
    truth_P: Floats
    rounds: int


def _turn(votes: Votes, pairs: Pairs, strength: float, start: _Turned | None) -> _Turned:
    """Truth, habits and theta in turn until no pair's truth moves any more."""
    habits = Habits.of_newcomers(votes.people) if start is None else start.habits
    theta_F: Floats = np.zeros(pairs.difference_PF.shape[1]) if start is None else start.theta_F
    before_P: Floats = np.full(len(pairs), -1.0)
    for done in range(ROUNDS + 1):
        evidence_V = habits.evidence(votes)
        evidence_P = _of_pairs(votes, evidence_V, len(pairs))
        odds_P = pairs.difference_PF @ theta_F + evidence_P
        truth_P = sigmoid(odds_P)
        if done == ROUNDS or np.abs(truth_P - before_P).max(initial=0.0) < SETTLED:
            break
        before_P = truth_P
        others_V = sigmoid(odds_P[votes.pair_V] - evidence_V)
        habits = learn_habits(votes, truth_P[votes.pair_V], habits, others_V=others_V)
        if len(theta_F):
            label_P, weight_P = labels(votes, truth_P)
            theta_F = mode(pairs.judged(label_P, weight_P), strength=strength, lapse=0.0, start_F=theta_F)
    return _Turned(theta_F, habits, evidence_V, evidence_P, truth_P, done)


def _concluded(votes: Votes, found: _Turned, strength: float, unseen_P: Floats, is_random_P: Truths) -> Consensus:
    """The truth with the head's word on pairs that it hasn't seen, as sure as votes on random pairs have it."""
    known = _Likelihood(votes, found.habits, is_random_P)
    temperature = known.best_temperature(unseen_P)[0] if is_random_P.sum() >= FEWEST_TO_CHOOSE else 1.0
    odds_P = unseen_P / temperature + found.evidence_P
    truth_P = sigmoid(odds_P)
    truth_V, others_V = truth_P[votes.pair_V], sigmoid(odds_P[votes.pair_V] - found.evidence_V)
    habits = learn_habits(votes, truth_V, found.habits, others_V=others_V)
    by_votes = learn_habits(votes.without_gold(), truth_V, habits, others_V=others_V)
    by_half = learn_habits(votes.halves(), truth_V, habits.repeated(2), others_V=others_V)
    told_P = np.abs(2 * sigmoid(found.evidence_P) - 1)
    early, late = by_half.every(2, start=0), by_half.every(2, start=1)
    return Consensus(found.theta_F, strength, temperature, habits, by_votes, early, late, truth_P, told_P, found.rounds)


def _suitable_strength(votes: Votes, pairs: Pairs, found: _Turned) -> float:
    """Of the head that learnt from random pairs alone and was asked about those of other groups, at its best
    temperature: strength is to put pairs in order, and temperature to say how sure it is of that."""
    drawn_P = pairs.is_random_P
    fold_P = folds(pairs.group_P[drawn_P])
    if int(drawn_P.sum()) < FEWEST_TO_CHOOSE or fold_P.max() < FOLDS - 1:
        return USUAL_STRENGTH
    label_P, weight_P = labels(votes, found.truth_P)
    drawn = turned(pairs.judged(label_P, weight_P).only(drawn_P))
    # A vote's share in its pair's label stays; the truth is the head's to find anew, without the held-out pairs.
    tied_P = _ties(votes, len(pairs))[drawn_P]
    evidence_P = found.evidence_P[drawn_P]
    unseen = {strength: np.zeros(len(pairs)) for strength in STRENGTHS}
    for fold in range(FOLDS):
        held_P = fold_P == fold
        theta_F = np.zeros(drawn.difference_PF.shape[1])
        for strength in sorted(STRENGTHS, reverse=True):
            for _ in range(ROUNDS_TO_CHOOSE):
                truth_P = sigmoid(drawn.difference_PF @ theta_F + evidence_P)
                learnt = Judged(
                    drawn.difference_PF,
                    (1 - tied_P) * truth_P + tied_P * 0.5,
                    drawn.weight_P,
                    drawn.group_P,
                    drawn.is_random_P,
                ).only(~held_P)
                theta_F = mode(learnt, strength=strength, lapse=0.0, start_F=theta_F)
            unseen[strength][np.flatnonzero(drawn_P)[held_P]] = drawn.difference_PF[held_P] @ theta_F
    known = _Likelihood(votes, found.habits, drawn_P)
    best: float = max(STRENGTHS, key=lambda strength: known.best_temperature(unseen[strength])[1])
    return best


def _unseen_margins(judged: Judged, strength: float, start_F: Floats) -> Floats:
    """Of each pair by a head that learnt nothing of its group."""
    margin_P = np.zeros(len(judged))
    fold_P = folds(judged.group_P)
    for fold in range(FOLDS):
        held_P = fold_P == fold
        theta_F = mode(judged.only(~held_P), strength=strength, lapse=0.0, start_F=start_F)
        margin_P[held_P] = judged.difference_PF[held_P] @ theta_F
    return margin_P


class _Likelihood:
    """How likely decided votes on some of the pairs are, each by itself, given what a head says of these pairs."""

    def __init__(self, votes: Votes, habits: Habits, of_P: Truths) -> None:
        kept_V = of_P[votes.pair_V] & votes.decided()
        up_V, down_V = habits.chances(votes)
        self._up_V, self._down_V = up_V[kept_V], down_V[kept_V]
        self._pair_V, self._weight_V = votes.pair_V[kept_V], votes.weight_V[kept_V]
        self._first_V = votes.choice_V[kept_V] > 0.5

    def best_temperature(self, margin_P: Floats) -> tuple[float, float]:
        """And how likely votes and temperature are with it."""
        found = {
            each: self._of(margin_P / each) - np.log(each) ** 2 / (2 * TEMPERATURE_SPREAD**2) for each in TEMPERATURES
        }
        best = max(TEMPERATURES, key=lambda each: found[each])
        return best, found[best]

    def _of(self, margin_P: Floats) -> float:
        better_V = sigmoid(margin_P)[self._pair_V]
        first_V = better_V * self._up_V + (1 - better_V) * self._down_V
        return float(self._weight_V @ np.log(np.where(self._first_V, first_V, 1 - first_V)))


def _of_pairs(votes: Votes, value_V: Floats, pairs: int) -> Floats:
    summed: Floats = np.bincount(votes.pair_V, value_V, minlength=pairs).astype(np.float64)
    return summed


def _ties(votes: Votes, pairs: int) -> Floats:
    """The share of ties among each pair's votes."""
    weight_P = _of_pairs(votes, votes.weight_V, pairs)
    tied_P = _of_pairs(votes, votes.weight_V * ~votes.decided(), pairs)
    return tied_P / np.where(weight_P > 0, weight_P, 1)
