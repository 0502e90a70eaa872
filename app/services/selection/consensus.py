"""What people's votes on pairs mean, and how far each person is to be believed: one model of both.

Raykar et al. 2010 with the head as the classifier: whoever looks prefers a pair's first response with the chance
sigma(theta d + u), where u ~ N(0, 1) is what there is about this pair beyond what was read of it; a vote says that or
the opposite, as its person's habits have it. EM finds theta, the habits and what each vote meant in turn. One vote a
pair is enough, because features tie the pairs together; without features only pairs with several votes say anything.
"""

# V = votes, P = pairs, F = features, W = people, K = nodes of a quadrature

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from app.services.selection.arrays import Floats, Truths, Whole
from app.services.selection.habits import CAUTIOUS, Habits, Votes, Z, learn_habits
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
    without_itself,
)

ROUNDS = 30
SETTLED = 1e-3
"""Of what each vote meant, from one round to the next."""
ROUNDS_TO_CHOOSE = 3
ROUNDS_TO_TELL = 10
SPREAD, SPREAD_UNREAD = 1.0, 3.0
"""Of what there is about one pair beyond what was read of it, in log odds; of all there is, where nothing was read."""
_NODE_K, _MASS = np.polynomial.hermite_e.hermegauss(15)
_MASS_K = _MASS / _MASS.sum()
ALIKE = float(_MASS_K @ (2 * sigmoid(SPREAD * _NODE_K) - 1) ** 2)
"""How far two votes on one pair go together beyond what was read of it: n count as n / (1 + (n - 1) ALIKE)."""
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
    def spread_P(self) -> Floats:  # noqa: N802 - its shape
        """How far what is said of each may lie from what its features say."""
        spread_P: Floats = np.where(self.difference_PF.any(axis=1), SPREAD, SPREAD_UNREAD)
        return spread_P

    @property
    def teach(self) -> bool:
        """Whether a head can learn from them, and be asked about those that it hasn't seen."""
        enough = len(self) > 0 and folds(self.group_P).max() == FOLDS - 1
        return enough and bool(self.difference_PF.any()) and bool(np.isfinite(self.difference_PF).all())


@dataclass(frozen=True)
class Consensus:
    """What EM found, with habits in the first and in the second half of each person's votes beside those in all, and
    with those that votes alone tell of, without gold.

    `meant_V` is how likely each vote meant the first response, by its person, by the other votes on the pair and by a
    head that learnt from other groups' pairs alone. Scores are `theta_F` over `temperature`.
    """

    theta_F: Floats
    strength: float
    temperature: float
    habits: Habits
    by_votes: Habits
    early: Habits
    late: Habits
    meant_V: Floats
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
    newcomers = _Turned(np.zeros(pairs.difference_PF.shape[1]), Habits.of_newcomers(votes.people), 0)
    found = _turn(votes, pairs, USUAL_STRENGTH if strength is None else strength, newcomers)
    if strength is None:
        strength = _suitable_strength(votes, pairs, found) if teach else USUAL_STRENGTH
        found = found if strength == USUAL_STRENGTH else _turn(votes, pairs, strength, found)
    unseen_P: Floats = np.zeros(len(pairs))
    if teach:
        unseen_P = _unseen_margins(votes, pairs, found.habits, np.ones(len(pairs), dtype=bool), (strength,))[strength]
    return _concluded(votes, pairs, found, strength, unseen_P)


def meant(votes: Votes, habits: Habits, margin_P: Floats, spread_P: Floats) -> tuple[Floats, Floats]:
    """How likely each vote meant the first response, ½ of a tie, and how likely it would have by the other votes on the
    pair alone.

    A pair's log odds are N(margin, spread squared) before anybody votes.
    """
    up_V, down_V = habits.chances(votes)
    says_first_V = votes.choice_V > 0.5
    true_V, false_V = np.where(says_first_V, up_V, 1 - up_V), np.where(says_first_V, down_V, 1 - down_V)
    odds_PK = margin_P[:, None] + spread_P[:, None] * _NODE_K
    first_VK = sigmoid(odds_PK)[votes.pair_V]
    likely_VK = first_VK * true_V[:, None] + (1 - first_VK) * false_V[:, None]
    told_VK = (votes.weight_V * votes.decided())[:, None] * np.log(likely_VK)
    told_PK = np.stack([_of_pairs(votes, told_V, len(margin_P)) for told_V in told_VK.T], axis=1)
    all_VK = _chances(told_PK[votes.pair_V])
    meant_V = np.where(votes.decided(), (all_VK * first_VK * true_V[:, None] / likely_VK).sum(axis=1), 0.5)
    return meant_V, (_chances(told_PK[votes.pair_V] - told_VK) * first_VK).sum(axis=1)


def labels(votes: Votes, meant_V: Floats, pairs: int) -> tuple[Floats, Floats]:
    """What a head learns of each pair: what its votes meant in the mean, and how much that weighs."""
    weight_P = _of_pairs(votes, votes.weight_V, pairs)
    count_P = np.maximum(_of_pairs(votes, np.ones(len(votes)), pairs), 1)
    label_P = _of_pairs(votes, votes.weight_V * meant_V, pairs) / np.where(weight_P > 0, weight_P, 1)
    return np.where(weight_P > 0, label_P, 0.5), weight_P / (1 + (count_P - 1) * ALIKE)


@dataclass(frozen=True)
class _Turned:
    """EM where it ended."""

    theta_F: Floats
    habits: Habits
    rounds: int


def _turn(votes: Votes, pairs: Pairs, strength: float, start: _Turned) -> _Turned:
    """What votes meant, habits and theta in turn until no vote's meaning moves any more.

    Habits are learnt by what a head would say of a pair that has not heard its votes: one that has agrees with whoever
    gave them.
    """
    theta_F, habits = start.theta_F, start.habits
    margin_P: Floats = pairs.difference_PF @ theta_F
    unheard_P = margin_P
    spread_P = unheard_spread_P = pairs.spread_P
    before_V: Floats = np.full(len(votes), -1.0)
    for done in range(ROUNDS + 1):
        meant_V, _ = meant(votes, habits, margin_P, spread_P)
        if done == ROUNDS or np.abs(meant_V - before_V).max(initial=0.0) < SETTLED:
            break
        before_V = meant_V
        unheard_V, others_V = meant(votes, habits, unheard_P, unheard_spread_P)
        habits = learn_habits(votes, unheard_V, habits, others_V=others_V)
        if len(theta_F):
            learnt = pairs.judged(*labels(votes, meant(votes, habits, margin_P, spread_P)[0], len(pairs)))
            theta_F = mode(learnt, strength=strength, lapse=0.0, start_F=theta_F)
            margin_P = pairs.difference_PF @ theta_F
            unheard_P, variance_P = without_itself(learnt, theta_F, strength)
            unheard_spread_P = np.sqrt(spread_P**2 + variance_P)
    return _Turned(theta_F, habits, done)


def _concluded(votes: Votes, pairs: Pairs, found: _Turned, strength: float, unseen_P: Floats) -> Consensus:
    """What votes meant with the head's word on pairs that it hasn't seen, as sure as votes on random pairs have it; and
    what can be told of people by that, from nothing on."""
    temperature = 1.0
    if pairs.is_random_P.sum() >= FEWEST_TO_CHOOSE:
        temperature, _ = _Likelihood(votes, found.habits, pairs.is_random_P).best_temperature(unseen_P)
    meant_V, _ = meant(votes, found.habits, unseen_P / temperature, pairs.spread_P)
    told = partial(learn_habits, prior=CAUTIOUS)
    habits = Habits.of_newcomers(votes.people, CAUTIOUS)
    for _ in range(ROUNDS_TO_TELL):
        told_V, others_V = meant(votes, habits, unseen_P / temperature, pairs.spread_P)
        habits = told(votes, told_V, habits, others_V=others_V)
    by_votes = told(votes.without_gold(), told_V, habits, others_V=others_V)
    by_half = told(votes.halves(), told_V, habits.repeated(2), others_V=others_V)
    early, late = by_half.every(2, start=0), by_half.every(2, start=1)
    return Consensus(found.theta_F, strength, temperature, habits, by_votes, early, late, meant_V, found.rounds)


def _suitable_strength(votes: Votes, pairs: Pairs, found: _Turned) -> float:
    """Of the head that learnt from random pairs alone and was asked about those of other groups, at its best
    temperature: strength is to put pairs in order, and temperature to say how sure it is of that."""
    drawn_P = pairs.is_random_P
    if int(drawn_P.sum()) < FEWEST_TO_CHOOSE or folds(pairs.group_P[drawn_P]).max() < FOLDS - 1:
        return USUAL_STRENGTH
    unseen = _unseen_margins(votes, pairs, found.habits, drawn_P, STRENGTHS)
    known = _Likelihood(votes, found.habits, drawn_P)
    best: float = max(STRENGTHS, key=lambda strength: known.best_temperature(unseen[strength])[1])
    return best


def _unseen_margins(
    votes: Votes, pairs: Pairs, habits: Habits, of_P: Truths, strengths: Sequence[float]
) -> dict[float, Floats]:
    """Of some of the pairs, by heads of each strength that learnt nothing of their groups: what the other votes meant
    is theirs to find anew."""
    within = turned(pairs.judged(*labels(votes, np.zeros(len(votes)), len(pairs))).only(of_P))
    fold_P, spread_P = folds(within.group_P), pairs.spread_P
    unseen: dict[float, Floats] = {strength: np.zeros(len(pairs)) for strength in strengths}
    for fold in range(FOLDS):
        held_P, margin_P = fold_P == fold, np.zeros(len(pairs))
        kept_P = of_P.copy()
        kept_P[of_P] = ~held_P
        heard = votes.only(kept_P[votes.pair_V])
        theta_F = np.zeros(within.difference_PF.shape[1])
        for strength in sorted(strengths, reverse=True):
            for _ in range(ROUNDS_TO_CHOOSE):
                margin_P[of_P] = within.difference_PF @ theta_F
                label_P, _weight_P = labels(heard, meant(heard, habits, margin_P, spread_P)[0], len(pairs))
                learnt = replace(within, preference_P=label_P[of_P]).only(~held_P)
                theta_F = mode(learnt, strength=strength, lapse=0.0, start_F=theta_F)
            unseen[strength][of_P & ~kept_P] = within.difference_PF[held_P] @ theta_F
    return unseen


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


def _chances(odds_VK: Floats) -> Floats:
    """Of a quadrature's nodes, by what votes tell of each."""
    chance_VK: Floats = _MASS_K * np.exp(odds_VK - odds_VK.max(axis=1, keepdims=True))
    chance_VK /= chance_VK.sum(axis=1, keepdims=True)
    return chance_VK
