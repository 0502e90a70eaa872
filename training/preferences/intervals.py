"""Intervals of proportions and means over items that come in clusters: several answers to one prompt are not
several independent observations."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

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
    positions = {cluster: position for position, cluster in enumerate(dict.fromkeys(clusters))}
    index = np.array([positions[cluster] for cluster in clusters])
    sums = np.bincount(index, weights=np.asarray(values, dtype=np.float64))
    counts = np.bincount(index).astype(np.float64)
    draws = np.random.default_rng(seed).integers(0, len(positions), size=(RESAMPLES, len(positions)))
    means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(sums.sum() / counts.sum()), float(low), float(high))


def clustered_proportion(values: Sequence[float], clusters: Sequence[Hashable], *, seed: int = 0) -> Interval:
    """What `clustered` is, for values in [0, 1]; when all are equal a bootstrap knows no doubt, so Wilson's interval
    over the clusters takes its place."""
    if len(set(values)) > 1:
        return clustered(values, clusters, seed=seed)
    return wilson(values[0] * len(set(clusters)), len(set(clusters)))
