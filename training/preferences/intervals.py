"""Intervals of proportions and means over items that come in clusters: several answers to one prompt are not
several independent observations."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Z_95 = 1.959963984540054
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


def wilson(successes: float, trials: int) -> Interval:
    """Wilson's score interval of a proportion; honest near 0 and 1 and with few trials. Wilson 1927."""
    share = successes / trials
    centre = share + Z_95**2 / (2 * trials)
    half = Z_95 * math.sqrt(share * (1 - share) / trials + Z_95**2 / (4 * trials**2))
    scale = 1 + Z_95**2 / trials
    return Interval(share, max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale))


def clustered(values: Sequence[float], clusters: Sequence[Hashable], *, seed: int = 0) -> Interval:
    """Percentile bootstrap of the mean that resamples whole clusters."""
    index = _numbered(clusters)
    sums = np.bincount(index, weights=np.asarray(values, dtype=np.float64))
    counts = np.bincount(index).astype(np.float64)
    draws = _draws(len(sums), seed)
    means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(sums.sum() / counts.sum()), float(low), float(high))


def clustered_difference(
    values: Sequence[float], is_first: Sequence[bool], clusters: Sequence[Hashable], *, seed: int = 0
) -> Interval:
    """The mean of the first kind's values minus that of the others', with the bootstrap of `clustered`. There must be
    values of both; a resample that holds one kind only says nothing."""
    index, first = _numbered(clusters), np.asarray(is_first)
    draws = _draws(index.max() + 1, seed)
    mean, resampled = 0.0, np.zeros(RESAMPLES)
    for kind, sign in ((first, 1), (~first, -1)):
        sums = np.bincount(index, weights=np.where(kind, values, 0.0))
        counts = np.bincount(index, weights=kind)
        mean += sign * sums.sum() / counts.sum()
        with np.errstate(invalid="ignore"):
            resampled += sign * sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    low, high = np.nanquantile(resampled, [0.025, 0.975])
    return Interval(float(mean), float(low), float(high))


def clustered_proportion(values: Sequence[float], clusters: Sequence[Hashable]) -> Interval:
    """The interval of `clustered` for values in [0, 1], and Wilson's over the clusters where a bootstrap knows no
    doubt: all values are equal, there is one cluster, or all have one mean.
    """
    found, count = clustered(values, clusters), len(set(clusters))
    return found if count > 1 and found.low < found.high else wilson(found.mean * count, count)


def _numbered(clusters: Sequence[Hashable]) -> NDArray[np.intp]:
    """Each one's number, in the order of their first items. In a single cluster each item has its own: nothing says how
    others would differ, and too little doubt is nearer the truth than none."""
    positions = {cluster: position for position, cluster in enumerate(dict.fromkeys(clusters))}
    if len(positions) == 1:
        return np.arange(len(clusters))
    return np.array([positions[cluster] for cluster in clusters])


def _draws(clusters: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, clusters, size=(RESAMPLES, clusters))
