"""Intervals by drawing tasks again, each with all that was said of it (the cluster bootstrap of Davison and Hinkley,
Bootstrap Methods and their Application, 1997, chapter 3): judgements of one task aren't independent of each other.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np

from app.services.judging.agreement import coefficients
from app.services.judging.agreement.units import Floats, Integers, Meetings

RESAMPLES = 1_000
FEWEST_TASKS = 10
"""Below this many tasks there is no interval."""
LEVEL = 0.95
AT_ONCE = 25
"""Resamples that are in memory together: of 10⁵ tasks some megabytes."""

Coefficient = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Estimate:
    """A coefficient with its interval; None where it can't be said, or too little is known for an interval."""

    value: float | None
    low: float | None = None
    high: float | None = None


def estimates(sums: Floats, wanted: Sequence[Coefficient], seed: int) -> list[Estimate]:
    """Coefficients of `sums`, a row for each task, with the interval that 1,000 resamples of the tasks give."""
    kinds, number = _kinds(sums)
    drawn: list[list[Floats]] = [[] for _ in wanted]
    if len(sums) >= FEWEST_TASKS:
        share = number / number.sum()
        random = np.random.default_rng(seed)
        for size in _portions():
            # How often each kind of task comes in a resample is all that counts, however many tasks there are.
            again = random.multinomial(len(sums), share, size=size) @ kinds
            for found, coefficient in zip(drawn, wanted, strict=True):
                found.append(coefficient(again))
    total = sums.sum(axis=0)
    return [_estimate(float(coefficient(total)), found) for found, coefficient in zip(drawn, wanted, strict=True)]


def mean_cohen(meetings: Meetings, seed: int) -> Estimate:
    """The mean kappa of all pairs of people, likewise."""
    size, pairs = meetings.categories, len(meetings.people)
    if not pairs:
        return Estimate(None)
    kind_of_cell, cells, number = _kinds_of_tasks(meetings)
    order = np.argsort(cells, kind="stable")
    cell, start = np.unique(cells[order], return_index=True)
    kind = kind_of_cell[order]

    def coefficient(counts: Integers) -> Floats:
        """Of `counts` tasks of each kind."""
        tables = np.zeros(pairs * size * size)
        tables[cell] = np.add.reduceat(counts[kind], start)
        return coefficients.mean_cohen(tables.reshape(1, pairs, size, size))

    drawn: list[Floats] = []
    tasks = int(number.sum())
    if tasks >= FEWEST_TASKS:
        random = np.random.default_rng(seed)
        drawn = [coefficient(random.multinomial(tasks, number / tasks)) for _ in range(RESAMPLES)]
    return _estimate(float(coefficient(number)[0]), drawn)


def cohen(tables: Floats, seed: int) -> Estimate:
    """Kappa of two people; `tables[task, i, j]`: how often one said i and the other j of a task."""
    flat = tables.reshape(len(tables), -1)
    shape = tables.shape[1:]
    return estimates(flat, [lambda sums: coefficients.cohen(sums.reshape(*sums.shape[:-1], *shape))], seed)[0]


def _kinds(sums: Floats) -> tuple[Floats, Integers]:
    """Rows that differ, and how many tasks are like each. Compared as bytes: as numbers it takes ten times as long."""
    rows = np.ascontiguousarray(sums)
    as_bytes = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).reshape(-1)
    _, first, number = np.unique(as_bytes, return_index=True, return_counts=True)
    return rows[first], number


def _kinds_of_tasks(meetings: Meetings) -> tuple[Integers, Integers, Integers]:
    """Tasks at which the same people said the same are of one kind: the cells of each kind, beside the kind that each
    belongs to, and how many tasks are of a kind.
    """
    order = np.argsort(meetings.task, kind="stable")
    cell, task = meetings.cell[order], meetings.task[order]
    begins = np.flatnonzero(np.diff(task, prepend=-1))
    length = np.diff(begins, append=len(task))
    # Sums of random numbers tell multisets apart: of 2³² tasks two would be taken for alike once in a few runs.
    numbers = np.random.default_rng(0).integers(0, 2**64, int(cell.max()) + 1, np.uint64)
    _, first, number = np.unique(np.add.reduceat(numbers[cell], begins), return_index=True, return_counts=True)
    kind = np.repeat(np.arange(len(first)), length[first])
    steps = np.arange(len(kind)) - np.repeat(np.cumsum(length[first]) - length[first], length[first])
    return kind, cell[np.repeat(begins[first], length[first]) + steps], number


def _portions() -> Iterator[int]:
    done = 0
    while done < RESAMPLES:
        yield min(AT_ONCE, RESAMPLES - done)
        done += AT_ONCE


def _estimate(value: float, drawn: Sequence[Floats]) -> Estimate:
    if isnan(value):
        return Estimate(None)
    if not drawn:
        return Estimate(value)
    all_drawn = np.concatenate(drawn)
    said = all_drawn[~np.isnan(all_drawn)]
    if len(said) < LEVEL * len(all_drawn):
        return Estimate(value)
    low, high = np.quantile(said, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high))
