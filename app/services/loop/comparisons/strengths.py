"""Strengths of writers from who was preferred to whom: Bradley and Terry 1952, a tie as half a win of each.

log P(i over j) / P(j over i) = s_i - s_j + x β, where x may say how two responses differ beside their writers: their
length, their style, the side they were shown on. Numbers in, numbers out.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Integers = NDArray[np.int64]

MOST_STEPS = 100
TOLERANCE = 1e-12
DOUBT = 0.5
"""Ties that are added between every two that met, where the votes alone would put somebody infinitely far up."""
RIDGE = 1e-3
"""On covariates, in units of their own spread: keeps one that never differs at 0."""
FARTHEST = 30.0


@dataclass(frozen=True)
class Votes:
    """What was said of two responses, a row each: the places of their writers, what the first got of one point, the
    cluster of each kind (prompt, person) that the vote belongs to, and `beside`, shape (votes, covariates)."""

    first: Integers
    second: Integers
    score: Numbers
    prompt: Integers
    person: Integers
    beside: Numbers

    @property
    def writers(self) -> int:
        return int(max(self.first.max(initial=-1), self.second.max(initial=-1))) + 1

    def raw(self) -> "Votes":
        """Without covariates."""
        return replace(self, beside=np.empty((len(self.score), 0)))


@dataclass(frozen=True)
class Fit:
    """Strengths with mean 0, and the weights of the covariates."""

    strength: Numbers
    beside: Numbers


def fit(votes: Votes, weight: Numbers | None = None, *, doubt: float | None = None, start: Fit | None = None) -> Fit:
    """The likeliest strengths, by Newton's method; without `doubt` as much of it as is needed for there to be any."""
    writers, covariates = votes.writers, votes.beside.shape[1]
    if weight is None:
        weight = np.ones(len(votes.score))
    design, score, weight = _with_doubt(votes, weight, needed(votes) if doubt is None else doubt)
    at = np.zeros(writers + covariates) if start is None else np.concatenate([start.strength, start.beside])
    pull = np.concatenate([np.full(writers, 1e-9), np.full(covariates, RIDGE)])
    for _ in range(MOST_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(design @ at, -FARTHEST, FARTHEST)))
        slope = design.T @ (weight * (score - chance)) - pull * at
        curvature = (design * (weight * chance * (1 - chance))[:, None]).T @ design + np.diag(pull)
        step = np.clip(np.linalg.solve(curvature, slope), -2, 2)
        at = at + step
        if np.abs(step).max(initial=0) < TOLERANCE:
            break
    strength = at[:writers] - at[:writers].mean() if writers else at[:writers]
    return Fit(strength, at[writers:])


def needed(votes: Votes) -> float:
    """No doubt where everybody can be reached from everybody by wins (Ford 1957), or there is no likeliest strength."""
    size = votes.writers
    beats = np.eye(size, dtype=bool)
    beats[votes.first[votes.score > 0], votes.second[votes.score > 0]] = True
    beats[votes.second[votes.score < 1], votes.first[votes.score < 1]] = True
    for _ in range(max(1, size).bit_length()):
        beats = (beats.astype(np.int64) @ beats.astype(np.int64)) > 0
    return 0.0 if beats.all() else DOUBT


def drawn_again(votes: Votes, best: Fit, *, times: int, rng: np.random.Generator) -> list[Fit]:
    """Fits to votes whose prompts and people were both drawn again (the pigeonhole bootstrap, Owen 2007), so that what
    one prompt or one person says many times counts as one thing."""
    found = []
    for _ in range(times):
        weight = np.ones(len(votes.score))
        for cluster in (votes.prompt, votes.person):
            size = int(cluster.max(initial=-1)) + 1
            if size > 1:
                weight = weight * rng.multinomial(size, np.full(size, 1 / size))[cluster]
        found.append(fit(votes, weight, doubt=DOUBT, start=best))
    return found


def largest_group(first: Integers, second: Integers, writers: int) -> Integers:
    """The places of most writers that were compared with each other, if only by way of others."""
    group = np.arange(writers)
    for _ in range(writers):
        lower = np.minimum(group[first], group[second])
        before = group.copy()
        np.minimum.at(group, first, lower)
        np.minimum.at(group, second, lower)
        if (group == before).all():
            break
    sizes = np.bincount(group, minlength=writers)
    return np.flatnonzero(group == sizes.argmax())


def ranks(low: Numbers, high: Numbers) -> list[int]:
    """One more than how many are above beyond doubt: who can't be told apart shares a rank."""
    return [1 + int((low > high[place]).sum()) for place in range(len(low))]


def _with_doubt(votes: Votes, weight: Numbers, doubt: float) -> tuple[Numbers, Numbers, Numbers]:
    """Rows of the regression: 1 at the first writer, -1 at the second, then the covariates."""
    rows = np.arange(len(votes.score))
    writers = votes.writers
    design = np.zeros((len(rows), writers + votes.beside.shape[1]))
    design[rows, votes.first] = 1
    design[rows, votes.second] -= 1
    design[:, writers:] = votes.beside
    if not doubt:
        return design, votes.score, weight
    lower, upper = np.minimum(votes.first, votes.second), np.maximum(votes.first, votes.second)
    met = np.unique(np.column_stack([lower, upper]), axis=0)
    added = np.zeros((len(met), design.shape[1]))
    added[np.arange(len(met)), met[:, 0]] = 1
    added[np.arange(len(met)), met[:, 1]] = -1
    return (
        np.concatenate([design, added]),
        np.concatenate([votes.score, np.full(len(met), 0.5)]),
        np.concatenate([weight, np.full(len(met), doubt)]),
    )
