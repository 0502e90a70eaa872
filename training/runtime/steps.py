"""The steps of a run: each is timed, and at its end its figures are written and its checkpoint is saved when due."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

from training.runtime.device import finish_work
from training.runtime.metrics import Measures, mean_of
from training.runtime.ranks import ranks
from training.runtime.run import Run, State
from training.runtime.throughput import Meter

Samples = Sequence[Mapping[str, object]]
"""Texts beside a step's figures, each under a name."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a step computes: tokens of prompts and responses without padding, and arithmetic."""

    tokens: int
    flop: float

    def __add__(self, other: Self) -> "Work":
        return Work(self.tokens + other.tokens, self.flop + other.flop)


MadeT = TypeVar("MadeT")
ItemT = TypeVar("ItemT")


class Each(Protocol):
    """Has something made of every item, each by one process of the run, as `Ranks.each` does."""

    def __call__(self, work: Callable[[ItemT], MadeT], items: Sequence[ItemT], /) -> list[MadeT]: ...


Take = Callable[[int], tuple[Measures, Work]]
"""Takes a step, counted from 0 within its stretch, and says what it measured and what it computed."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Steps [first, end) of a run that are of one kind, of which those before `start` are done; `phase` is told with
    them."""

    phase: str
    first: int
    start: int
    end: int


def _none() -> Samples:
    return ()


class Steps:
    """The steps of a run, which count from 0 through all its phases; `last_samples` makes the texts of the last one."""

    def __init__(
        self, run: Run, meter: Meter, *, total: int, checkpoint_steps: int, last_samples: Callable[[], Samples] = _none
    ) -> None:
        self._run = run
        self._meter = meter
        self._checkpoint_steps = checkpoint_steps
        self._last_samples = last_samples
        self._began = time.perf_counter()
        self.total = total
        """May be set again where a phase decides how many follow it."""

    def take(self, stretch: Stretch, take: Take, state: Callable[[], State]) -> None:
        """Take the steps of a stretch that are not done yet; each ends as `end` says."""
        for step in self.timed(stretch.start, stretch.end):
            measures, work = take(step - stretch.first)
            pace = self.pace(tokens=work.tokens, flop=work.flop)
            self.end(step, stretch.phase, {**measures, **pace}, state)

    def take_made(
        self,
        stretch: Stretch,
        make: Callable[[int], MadeT],
        take: Callable[[int, MadeT], tuple[Measures, Work]],
        state: Callable[[], State],
        *,
        each: Each | None = None,
    ) -> None:
        """Take steps as `take` does, each of which begins with something that one process makes by itself; `each` has
        it made."""
        for step, made in self.made(stretch, make, each=each):
            measures, work = take(step - stretch.first, made)
            pace = self.pace(tokens=work.tokens, flop=work.flop)
            self.end(step, stretch.phase, {**measures, **pace}, state)

    def made(
        self, stretch: Stretch, make: Callable[[int], MadeT], *, each: Each | None = None
    ) -> Iterator[tuple[int, MadeT]]:
        """The steps of a stretch that are not done yet, with what `make` makes of each, counted within the stretch: of
        as many at once as there are processes, each by one. Each step is timed as its part of their time."""
        for start in range(stretch.start, stretch.end, ranks().count):
            began = time.perf_counter()
            steps = range(start, min(start + ranks().count, stretch.end))
            found = (each or ranks().each)(lambda step: make(step - stretch.first), steps)
            seconds = (time.perf_counter() - began) / len(steps)
            for step, one in zip(steps, found, strict=True):
                self._began = time.perf_counter() - seconds
                yield step, one

    def timed(self, first: int, end: int) -> Iterator[int]:
        """The steps [first, end), each timed from here on: what was done before or between them isn't part of one."""
        for step in range(first, end):
            self._began = time.perf_counter()
            yield step

    @property
    def seconds(self) -> float:
        """How long ago the step began."""
        return time.perf_counter() - self._began

    def pace(self, *, tokens: int, flop: float) -> Measures:
        """How fast the step was, asked once its work is done; `tokens` and `flop` as in `Meter.measures`."""
        finish_work()
        seconds = self.seconds
        return {
            "tokens": mean_of(tokens),
            "seconds": mean_of(seconds),
            **self._meter.measures(tokens=tokens, flop=flop, seconds=seconds),
        }

    def end(self, step: int, phase: str, measures: Measures, state: Callable[[], State]) -> None:
        """Write the step's figures and save when due. Raises `Cancelled` then if the run was asked to stop."""
        self.write(step, phase, measures, samples=self._last_samples() if step + 1 == self.total else ())
        self.save(step, phase, state)

    def write(self, step: int, phase: str, measures: Measures, *, samples: Samples = ()) -> None:
        """Append a row to `metrics.jsonl`, where steps count from 1."""
        self._run.metrics.write(step + 1, self.total, phase, measures, samples=samples)

    def save(self, step: int, phase: str, state: Callable[[], State]) -> None:
        """Save a checkpoint if one is due. Raises `Cancelled` as `end` does."""
        self._run.end_of_step(step + 1, every=self._checkpoint_steps, phase=phase, state=state)
