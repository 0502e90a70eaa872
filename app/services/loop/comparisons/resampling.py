"""Intervals of means over items that come in clusters: what was said of one prompt is drawn together."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.services.judging.agreement.intervals import wilson

Numbers = NDArray[np.float64]
Integers = NDArray[np.int64]

RESAMPLES = 1000
FEWEST_CLUSTERS = 2


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


def mean_interval(values: Numbers, clusters: Integers, *, seed: int = 0) -> Interval | None:
    """Percentile bootstrap that draws whole clusters; None of fewer than two clusters, which tell no spread."""
    _, number = np.unique(clusters, return_inverse=True)
    sums = np.bincount(number.reshape(-1), weights=values)
    if len(sums) < FEWEST_CLUSTERS:
        return None
    counts = np.bincount(number.reshape(-1)).astype(np.float64)
    draws = np.random.default_rng(seed).integers(0, len(sums), size=(RESAMPLES, len(sums)))
    low, high = np.quantile(sums[draws].sum(axis=1) / counts[draws].sum(axis=1), (0.025, 0.975))
    return Interval(float(sums.sum() / counts.sum()), float(low), float(high))


def share_interval(values: Numbers, clusters: Integers, *, seed: int = 0) -> Interval | None:
    """Bootstrap of `mean_interval` for values in [0, 1], and Wilson's over the clusters where all are equal: a
    bootstrap knows no doubt then."""
    if not len(values):
        return None
    if (values != values[0]).any():
        return mean_interval(values, clusters, seed=seed)
    share = float(values[0])
    return Interval(share, *wilson(share, len(np.unique(clusters))))
