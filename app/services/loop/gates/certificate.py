"""Certificate: whether people prefer a new policy to the one in use, by a test that may be read after every vote.

Votes of blinded duels are bets against "it wins half of them at most". The bettor's money is an e-value: by Ville's
inequality it reaches 1 / alpha with a chance of alpha at most where that is true, whenever one looks and stops, and
whatever the predictions are worth. docs/method.md has the formulae and sources.
"""

# R = certificates side by side, T = votes in their order

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

ALPHA = 0.05
"""The share of policies no better than the one in use that may be certified all the same."""
RANGE = 0.25
"""How far from one half a prediction counts: the narrower, the more may be bet on a vote."""

# What is taken for granted before there are votes, and how many votes that is worth. Only the number of votes that a
# certificate takes depends on it, never its error.
_GAIN, _GAIN_VOTES = 0.08, 100
_VARIANCE, _VARIANCE_VOTES = 0.2, 10
_WEIGHT, _WEIGHT_VOTES, _CONTROL_VARIANCE = 1.0, 15, 0.04
_BOLDEST = 0.98
"""Of what a bet could lose at most."""
_STEPS = np.linspace(-6, 6, 4801)
_SHARES = np.array([NormalDist().cdf(float(step)) for step in _STEPS])


@dataclass(frozen=True)
class Duel:
    """A duel that people voted on: `vote` is 1 for the new policy, 0 for the one in use, between for a tie.

    `prediction` is the chance that a model gave the new policy before; `companion` the mean `control` of other duels
    that were drawn in the same way and that nobody votes on.
    """

    vote: float
    prediction: float
    companion: float


@dataclass(frozen=True)
class Certificate:
    """What `votes` of at most `budget` show. `share` went to the new policy, `adjusted` is that share as it would be
    had the duels been as easy as their companions."""

    votes: int
    budget: int
    share: float
    adjusted: float
    evidence: float
    needed: float

    @property
    def is_certified(self) -> bool:
        return self.evidence >= self.needed

    @property
    def is_decided(self) -> bool:
        """Whether no further vote would change anything."""
        return self.is_certified or self.votes >= self.budget


def control(predictions: Numbers) -> Numbers:
    """What predictions are counted as: their distance from one half, bounded."""
    return np.clip(predictions - 0.5, -RANGE, RANGE)


def certify(duels: Sequence[Duel], *, budget: int, alpha: float = ALPHA) -> Certificate:
    """What duels show in the order of their votes, of which those beyond `budget` don't count."""
    counted = duels[:budget]
    vote = np.array([duel.vote for duel in counted], dtype=np.float64)
    prediction = np.array([duel.prediction for duel in counted], dtype=np.float64)
    difference = control(prediction) - np.array([duel.companion for duel in counted], dtype=np.float64)
    found, weight = _evidence(vote[None], difference[None], budget, alpha)
    return Certificate(
        votes=len(counted),
        budget=budget,
        share=float(vote.mean()) if len(counted) else 0.5,
        adjusted=float((vote - weight[0] * difference).mean()) if len(counted) else 0.5,
        evidence=float(found[0].max(initial=1.0)),
        needed=1 / alpha,
    )


def evidence(vote: Numbers, difference: Numbers, *, budget: int, alpha: float = ALPHA) -> Numbers:
    """The e-value after each vote, shape (R, T). `difference` is the control of each duel less its companions'."""
    return _evidence(vote, difference, budget, alpha)[0]


def _evidence(vote: Numbers, difference: Numbers, budget: int, alpha: float) -> tuple[Numbers, Numbers]:
    """With the weight of the predictions after the last vote, shape (R,).

    A vote counts as z = y - c d, whose mean is that of y whatever c is, because d has mean 0. All that a bet depends
    on, c too, is known before the vote.
    """
    certificates, votes = vote.shape
    money = np.ones(certificates)
    found = np.ones((certificates, votes))
    past = _Past.none(certificates)
    for place in range(votes):
        y, d = vote[:, place], difference[:, place]
        weight = past.weight()
        bet = _bet(past, weight, money * alpha, left=max(1, budget - place))
        bet = np.minimum(bet, _BOLDEST / (0.5 + 2 * RANGE * weight))
        bet[money >= 1 / alpha] = 0
        money = money * (1 + bet * (y - weight * d - 0.5))
        found[:, place] = money
        past = past.followed_by(y, d)
    return found, past.weight()


@dataclass(frozen=True)
class _Past:
    """Sums over the votes so far, of each certificate."""

    count: int
    y: Numbers
    yy: Numbers
    d: Numbers
    dd: Numbers
    yd: Numbers

    @classmethod
    def none(cls, certificates: int) -> "_Past":
        return cls(0, *np.zeros((5, certificates)))

    def followed_by(self, y: Numbers, d: Numbers) -> "_Past":
        sums = (self.y + y, self.yy + y * y, self.d + d, self.dd + d * d, self.yd + y * d)
        return _Past(self.count + 1, *sums)

    def weight(self) -> Numbers:
        """c: the slope of votes on controls, from 0 to 1, drawn to that of a calibrated prediction."""
        mean = self.y / max(1, self.count)
        prior = _WEIGHT_VOTES * _CONTROL_VARIANCE
        return np.clip((self.yd - mean * self.d + prior * _WEIGHT) / (self.dd + prior), 0, 1)

    def gain(self, weight: Numbers) -> Numbers:
        """How far above one half votes are taken to be on average."""
        total = self.y - weight * self.d - self.count * 0.5
        return np.maximum((total + _GAIN_VOTES * _GAIN) / (self.count + _GAIN_VOTES), 0)

    def variance(self, weight: Numbers) -> Numbers:
        mean = (self.y - weight * self.d) / max(1, self.count)
        squares = self.yy - 2 * weight * self.yd + weight**2 * self.dd - self.count * mean**2
        return np.asarray((squares + _VARIANCE_VOTES * _VARIANCE) / (self.count + _VARIANCE_VOTES), dtype=np.float64)


def _bet(past: _Past, weight: Numbers, share: Numbers, *, left: int) -> Numbers:
    """The larger of two bets: the one that lets money grow fastest, and the one that most likely reaches the goal
    within the votes that are left, given the share of it that is there (Browne 1999)."""
    variance, gain = past.variance(weight), past.gain(weight)
    share = np.clip(share, 1e-9, 1 - 1e-9)
    quantile = np.interp(share, _SHARES, _STEPS)
    density = np.exp(-(quantile**2) / 2) / np.sqrt(2 * np.pi)
    in_time = density / share / np.sqrt(variance * left)
    return np.asarray(np.maximum(gain / (variance + gain**2), in_time), dtype=np.float64)
