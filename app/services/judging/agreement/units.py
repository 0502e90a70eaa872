"""What agreement is counted over: two responses of a task, and the side that each person preferred."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

NOBODY = -1
"""Of an imported judgement without a name: it counts, but belongs to no pair of people."""


@dataclass(frozen=True)
class Said:
    """Parallel columns, a row for each thing said of two responses of a task.

    `category` counts from 0 in the order of the scale. A person says one thing of a unit; `unit` is the task's two
    responses, `task` what is drawn together: all that was said of a task stands or falls with it.
    """

    task: Integers
    unit: Integers
    person: Integers
    category: Integers
    categories: int

    @classmethod
    def of(cls, rows: Sequence[tuple[int, int, int, int]] | Integers, categories: int) -> "Said":
        """From rows of task, unit within the task, person and category."""
        table = np.asarray(rows, dtype=np.int64).reshape(-1, 4)
        task, unit, person, category = table.T
        numbered = _numbered(task)
        return cls(numbered, _numbered(numbered * (unit.max(initial=0) + 1) + unit), person, category, categories)

    def comparable(self) -> "Said":
        """Without units that only one person said something of; tasks and units numbered from 0 on."""
        counts = np.bincount(self.unit, minlength=1)
        kept = counts[self.unit] >= 2
        task, unit = (_numbered(column[kept]) for column in (self.task, self.unit))
        return Said(task, unit, self.person[kept], self.category[kept], self.categories)

    def counts(self) -> tuple[Floats, Integers]:
        """How many people chose each category, by unit; and the task of each unit. Numbered columns are expected."""
        units = int(self.unit.max()) + 1 if len(self.unit) else 0
        cells = np.bincount(self.unit * self.categories + self.category, minlength=units * self.categories)
        of_unit = np.zeros(units, np.int64)
        of_unit[self.unit] = self.task
        return cells.reshape(units, self.categories).astype(np.float64), of_unit


@dataclass(frozen=True)
class Meetings:
    """Two people at one unit, a row for each: what the first of them (the lower number) said, and the second.

    `pair` numbers the pairs of `people` from 0 on.
    """

    task: Integers
    pair: Integers
    first: Integers
    second: Integers
    people: tuple[tuple[int, int], ...]
    categories: int

    @classmethod
    def of(cls, said: Said) -> "Meetings":
        """Every two known people at every unit that both said something of."""
        named = np.flatnonzero(said.person != NOBODY)
        order = named[np.lexsort((said.person[named], said.unit[named]))]
        unit = said.unit[order]
        left, right = [], []
        distance = 1
        while True:  # as often as the largest unit has people
            same = np.flatnonzero(unit[distance:] == unit[:-distance]) if distance < len(unit) else np.empty(0, int)
            if not len(same):
                break
            left.append(order[same])
            right.append(order[same + distance])
            distance += 1
        one = np.concatenate(left) if left else np.empty(0, np.int64)
        other = np.concatenate(right) if right else np.empty(0, np.int64)
        known, number = np.unique(said.person, return_inverse=True)
        number = number.reshape(-1)
        key, pair = np.unique(number[one] * len(known) + number[other], return_inverse=True)
        return cls(
            said.task[one],
            pair.reshape(-1).astype(np.int64),
            said.category[one],
            said.category[other],
            tuple(
                (int(known[first]), int(known[second])) for first, second in zip(*divmod(key, len(known)), strict=True)
            ),
            said.categories,
        )

    @property
    def cell(self) -> Integers:
        """Where each meeting stands in the tables of all pairs, laid out one after the other."""
        return (self.pair * self.categories + self.first) * self.categories + self.second


def _numbered(values: Integers) -> Integers:
    return np.unique(values, return_inverse=True)[1].reshape(-1).astype(np.int64)
