"""The steps of a run: each is timed, and at its end its figures are written and its checkpoint is saved when due."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from training.runtime.device import finish_work
from training.runtime.metrics import Measures, mean_of
from training.runtime.run import Run, State
from training.runtime.throughput import Meter

Samples = Sequence[Mapping[str, object]]
"""Texts beside a step's figures, each under a name."""


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
