"""What judgements say of a linear preference model: Bayesian Bradley-Terry on fixed features, by Laplace.

A person who isn't paying attention presses either side: with lapse rate e, p = e / 2 + (1 - e) sigma(theta x). The
prior is theta ~ N(0, 1 / strength). It decides how much is believed, and is chosen on pairs that were drawn at random:
of selected pairs evidence and cross-validation speak of what was selected and shrink too much.
"""

# P = pairs, F = features

from dataclasses import dataclass
from typing import Self

import numpy as np

from app.services.selection.arrays import Floats, Truths, Whole

NEWTON_STEPS = 40
HALVINGS = 20
NEGLIGIBLE = 1e-6
FOLDS = 5
STRENGTHS = tuple(10.0**exponent for exponent in (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5))
USUAL_STRENGTH = 10.0**2.5
"""Until enough was drawn at random to choose one; measured on the starter with people who err once in ten."""
FEWEST_TO_CHOOSE = 60
"""Pairs drawn at random; of fewer the choice is mostly noise, and costs more than it is worth."""
LAPSE = 0.1
LEAST_LEFT = 0.05
"""Of what is known of a pair, where its own judgement tells nearly all."""


@dataclass(frozen=True)
class Judged:
    """Pairs that people judged, as differences of features; `preference` is 1 where the first was better, ½ a tie.

    Pairs of one `group` (a prompt) are held out together. `is_random` tells those that were drawn by the coin.
    """

    difference_PF: Floats
    preference_P: Floats
    weight_P: Floats
    group_P: Whole
    is_random_P: Truths

    def __len__(self) -> int:
        return len(self.preference_P)

    def only(self, kept_P: Truths | Whole) -> Self:
        return type(self)(
            self.difference_PF[kept_P],
            self.preference_P[kept_P],
            self.weight_P[kept_P],
            self.group_P[kept_P],
            self.is_random_P[kept_P],
        )


@dataclass(frozen=True)
class Posterior:
    """theta ~ N(mean, covariance), of which only scores' differences mean anything."""

    mean_F: Floats
    covariance_FF: Floats
    strength: float
    lapse: float

    def draws(self, count: int, rng: np.random.Generator) -> Floats:
        """(F, count) samples of theta."""
        normal = rng.standard_normal((len(self.mean_F), count))
        drawn: Floats = self.mean_F[:, None] + self.root() @ normal
        return drawn

    def root(self) -> Floats:
        """(F, F): the covariance is this times its transpose."""
        value_F, vector_FF = np.linalg.eigh(self.covariance_FF)
        root: Floats = vector_FF * np.sqrt(np.clip(value_F, 0.0, None))
        return root

    def unsure(self, difference_PF: Floats) -> Floats:
        """How far the chance of each pair may be off: one standard deviation, to first order."""
        variance_P = self._variances(difference_PF)
        margin_P = moderated(difference_PF @ self.mean_F, variance_P)
        off: Floats = np.minimum(0.5, _steepness(margin_P, self.lapse) * np.sqrt(variance_P))
        return off

    def margins(self, difference_PF: Floats) -> Floats:
        """Margins of pairs, each moderated by how unsure it is."""
        return moderated(difference_PF @ self.mean_F, self._variances(difference_PF))

    def information(self, margin: Floats, variance: Floats) -> Floats:
        """Fisher information of a judgement about its margin, which is N(margin, variance)."""
        return _information(moderated(margin, variance), self.lapse)

    def _variances(self, difference_PF: Floats) -> Floats:
        variance_P: Floats = np.einsum("pf,pf->p", difference_PF @ self.covariance_FF, difference_PF)
        return variance_P


def learn(judged: Judged, *, lapse: float = LAPSE) -> Posterior:
    """What all pairs say under the prior that suits those drawn at random."""
    return fit(judged, strength=suitable_strength(judged, lapse=lapse), lapse=lapse)


def fit(judged: Judged, *, strength: float, lapse: float = LAPSE) -> Posterior:
    """Laplace's posterior at the mode, which damped Newton finds: undamped it may diverge."""
    mean_F = mode(judged, strength=strength, lapse=lapse)
    information_P = judged.weight_P * _information(judged.difference_PF @ mean_F, lapse)
    precision_FF = _precision(judged.difference_PF, information_P, strength)
    covariance_FF = np.linalg.inv(precision_FF)
    return Posterior(mean_F, (covariance_FF + covariance_FF.T) / 2, strength, lapse)


def suitable_strength(judged: Judged, *, lapse: float = LAPSE) -> float:
    """The prior's strength with the lowest held-out loss on pairs drawn at random; the usual one for too few of them.

    Groups are held out whole. A ridge is the same in any turned coordinates, so that few pairs are fitted in as many
    dimensions as they span.
    """
    drawn = judged.only(judged.is_random_P)
    fold_P = folds(drawn.group_P)
    if len(drawn) < FEWEST_TO_CHOOSE or fold_P.max(initial=0) < FOLDS - 1:
        return USUAL_STRENGTH
    spanned = turned(drawn)
    losses = dict.fromkeys(STRENGTHS, 0.0)
    for fold in range(FOLDS):
        held_P = fold_P == fold
        learnt, unseen = spanned.only(~held_P), spanned.only(held_P)
        mean_F = np.zeros(spanned.difference_PF.shape[1])
        for strength in sorted(STRENGTHS, reverse=True):
            mean_F = mode(learnt, strength=strength, lapse=lapse, start_F=mean_F)
            losses[strength] += _loss(unseen, mean_F, lapse)
    best: float = min(STRENGTHS, key=lambda strength: losses[strength])
    return best


def folds(group_P: Whole, rng: np.random.Generator | None = None) -> Whole:
    """Numbers below FOLDS, the same for all of a group: in the order of the groups, or in one that `rng` draws."""
    groups, place_P = np.unique(group_P, return_inverse=True)
    fold_of_group = np.arange(len(groups)) if rng is None else rng.permutation(len(groups))
    fold_P: Whole = fold_of_group[place_P.reshape(-1)] % FOLDS
    return fold_P


def turned(judged: Judged) -> Judged:
    """Pairs in the coordinates that their differences span, in which a ridge is what it was."""
    left, value, _ = np.linalg.svd(judged.difference_PF, full_matrices=False)
    return Judged(left * value, judged.preference_P, judged.weight_P, judged.group_P, judged.is_random_P)


def mode(judged: Judged, *, strength: float, lapse: float = LAPSE, start_F: Floats | None = None) -> Floats:
    """The likeliest theta: Fisher scoring with steps halved until the objective falls."""
    theta_F = np.zeros(judged.difference_PF.shape[1]) if start_F is None else start_F
    objective = _objective(judged, theta_F, strength, lapse)
    for _ in range(NEWTON_STEPS):
        margin_P = judged.difference_PF @ theta_F
        slope_P = judged.weight_P * _slope(margin_P, judged.preference_P, lapse)
        information_P = judged.weight_P * _information(margin_P, lapse)
        gradient_F = judged.difference_PF.T @ slope_P + strength * theta_F
        step_F = np.linalg.solve(_precision(judged.difference_PF, information_P, strength), gradient_F)
        for halving in range(HALVINGS):
            moved_F = theta_F - step_F / 2**halving
            reached = _objective(judged, moved_F, strength, lapse)
            if reached <= objective:
                break
        else:
            return theta_F
        gain, theta_F, objective = objective - reached, moved_F, reached
        if gain < NEGLIGIBLE * (1 + abs(objective)):
            break
    return theta_F


def without_itself(judged: Judged, theta_F: Floats, strength: float) -> tuple[Floats, Floats]:
    """Each pair's margin by a head that has not heard it, and the variance of that, to first order at the mode
    `theta_F` of one that has, where nobody lapses."""
    margin_P = judged.difference_PF @ theta_F
    information_P = judged.weight_P * _information(margin_P, 0.0)
    covariance_FF = np.linalg.inv(_precision(judged.difference_PF, information_P, strength))
    variance_P = np.einsum("pf,pf->p", judged.difference_PF @ covariance_FF, judged.difference_PF)
    variance_P = variance_P / np.clip(1 - information_P * variance_P, LEAST_LEFT, 1.0)
    slope_P = judged.weight_P * (sigmoid(margin_P) - judged.preference_P)
    return margin_P + variance_P * slope_P, variance_P


def _precision(difference_PF: Floats, information_P: Floats, strength: float) -> Floats:
    precision_FF: Floats = (difference_PF * information_P[:, None]).T @ difference_PF
    precision_FF[np.diag_indices_from(precision_FF)] += strength
    return precision_FF


def _objective(judged: Judged, theta_F: Floats, strength: float, lapse: float) -> float:
    return _loss(judged, theta_F, lapse) + strength / 2 * float(theta_F @ theta_F)


def _loss(judged: Judged, theta_F: Floats, lapse: float) -> float:
    said_P = said_at(judged.difference_PF @ theta_F, lapse)
    preference_P = judged.preference_P
    likelihood_P = preference_P * np.log(said_P) + (1 - preference_P) * np.log1p(-said_P)
    return -float(judged.weight_P @ likelihood_P)


def _slope(margin_P: Floats, preference_P: Floats, lapse: float) -> Floats:
    """Of a pair's loss in its margin."""
    said_P = said_at(margin_P, lapse)
    slope: Floats = _steepness(margin_P, lapse) * (said_P - preference_P) / (said_P * (1 - said_P))
    return slope


def _information(margin: Floats, lapse: float) -> Floats:
    """Fisher's: (dp / dm)^2 / (p (1 - p)); p (1 - p) where nobody lapses."""
    said = said_at(margin, lapse)
    information: Floats = _steepness(margin, lapse) ** 2 / (said * (1 - said))
    return information


def _steepness(margin: Floats, lapse: float) -> Floats:
    sure = sigmoid(margin)
    steepness: Floats = (1 - lapse) * sure * (1 - sure)
    return steepness


def said_at(margin: Floats, lapse: float) -> Floats:
    """How likely people say that the first is better, with the share of answers that goes to either side."""
    said: Floats = lapse / 2 + (1 - lapse) * sigmoid(margin)
    return said


def moderated(margin: Floats, variance: Floats) -> Floats:
    """The margin whose sigmoid is the mean over N(margin, variance), nearly (MacKay 1992)."""
    found: Floats = margin / np.sqrt(1 + np.pi * variance / 8)
    return found


def sigmoid(margin: Floats) -> Floats:
    """Clipped where the exponential would overflow, so that no probability is 0 or 1."""
    probability: Floats = 1 / (1 + np.exp(-np.clip(margin, -30.0, 30.0)))
    return probability
