"""Coefficients of agreement as functions of sums over tasks, so that tasks can be drawn again without counting anew.

Every function takes an array whose last axes are the sums and works on all axes before them at once. What can't be said
(nobody differs, nothing is there) is NaN.
"""

import numpy as np

from app.services.judging.agreement.units import Floats, Integers, Said


def unit_sums(said: Said) -> Floats:
    """For each task, of its units: their number, the sum of their agreement, the sums of the shares of each category.

    Agreement of a unit is the share of its pairs of people who say the same. Numbered, comparable columns.
    """
    counts, task = said.counts()
    people = counts.sum(axis=1)
    agreement = (counts * (counts - 1)).sum(axis=1) / (people * (people - 1))
    of_unit = np.column_stack([np.ones(len(counts)), agreement, counts / people[:, None]])
    return _by_task(of_unit, task)


def coincidences(said: Said) -> Floats:
    """For each task Krippendorff's coincidence matrix, flat: every ordered pair of values of a unit counts once over
    the unit's number of values less one.
    """
    counts, task = said.counts()
    together = counts[:, :, None] * counts[:, None, :]
    index = np.arange(said.categories)
    together[:, index, index] -= counts
    together /= (counts.sum(axis=1) - 1)[:, None, None]
    return _by_task(together.reshape(len(counts), said.categories**2), task)


def per_cent(sums: Floats) -> Floats:
    """The mean agreement of the units, from 0 to 1: how likely two people who judge the same say the same."""
    return _over(sums[..., 1], sums[..., 0])


def fleiss(sums: Floats) -> Floats:
    """Fleiss' kappa (1971), with any number of people for each unit: agreement and the shares of the categories are
    means over the units, however many judged each (as in Gwet, Handbook of Inter-Rater Reliability, 2014, here over
    units of two people or more).
    """
    observed = per_cent(sums)
    shares = _over(sums[..., 2:], sums[..., :1])
    expected = (shares**2).sum(axis=-1)
    return _over(observed - expected, 1 - expected)


def alpha_nominal(sums: Floats) -> Floats:
    """Krippendorff's alpha (Content Analysis, 2004, chapter 11) where categories are the same or not."""
    return _alpha(sums, ordinal=False)


def alpha_ordinal(sums: Floats) -> Floats:
    """Krippendorff's alpha where categories stand in an order, further apart by all the values between them."""
    return _alpha(sums, ordinal=True)


def cohen(tables: Floats) -> Floats:
    """Cohen's kappa (1960) of two people: `tables[..., i, j]`: how often one said i and the other j."""
    total = tables.sum(axis=(-2, -1))
    observed = _over(np.trace(tables, axis1=-2, axis2=-1), total)
    expected = _over((tables.sum(axis=-1) * tables.sum(axis=-2)).sum(axis=-1), total**2)
    return _over(observed - expected, 1 - expected)


def mean_cohen(tables: Floats) -> Floats:
    """The mean of Cohen's kappa over pairs of people (`tables[..., pair, i, j]`), weighed by what each has in common.

    Pairs who can't be told from chance, because both always say the same, are left out.
    """
    kappa = cohen(tables)
    weight = np.where(np.isnan(kappa), 0, tables.sum(axis=(-2, -1)))
    return _over((np.nan_to_num(kappa) * weight).sum(axis=-1), weight.sum(axis=-1))


def _alpha(sums: Floats, *, ordinal: bool) -> Floats:
    size = round(sums.shape[-1] ** 0.5)
    together = sums.reshape(*sums.shape[:-1], size, size)
    values = together.sum(axis=-1)
    distance = _ordinal(values) if ordinal else np.broadcast_to(1 - np.eye(size), together.shape)
    by_chance = (values[..., :, None] * values[..., None, :] * distance).sum(axis=(-2, -1))
    observed = (together * distance).sum(axis=(-2, -1))
    return 1 - _over((values.sum(axis=-1) - 1) * observed, by_chance)


def _ordinal(values: Floats) -> Floats:
    """Squared distances: all values from one category to the other, those at the two ends half."""
    upto = np.cumsum(values, axis=-1) - values / 2
    return np.asarray((upto[..., :, None] - upto[..., None, :]) ** 2)


def _by_task(of_unit: Floats, task: Integers) -> Floats:
    tasks = int(task.max()) + 1 if len(task) else 0
    sums = np.zeros((tasks, of_unit.shape[1]))
    for column in range(of_unit.shape[1]):
        sums[:, column] = np.bincount(task, weights=of_unit[:, column], minlength=tasks)
    return sums


def _over(numerator: Floats, denominator: Floats) -> Floats:
    """NaN over zero, without a warning. What is zero but for rounding is zero."""
    is_zero = np.abs(denominator) < 1e-12
    return np.where(is_zero, np.nan, numerator / np.where(is_zero, 1, denominator))
