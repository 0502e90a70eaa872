"""`metrics.jsonl`: append-only, sums with counts, so that readers can average over anything they like."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from training.runtime.tensorboard import Board

Measures = dict[str, tuple[float, float]]
"""Name to (sum, count)."""


def mean_of(value: float, count: float = 1.0) -> tuple[float, float]:
    """A measure from a mean and how many it averages."""
    return value * count, count


def merge(*parts: Mapping[str, tuple[float, float]]) -> Measures:
    """Add up sums and counts of equal names."""
    merged: Measures = {}
    for part in parts:
        for name, (total, count) in part.items():
            before_total, before_count = merged.get(name, (0.0, 0.0))
            merged[name] = (before_total + total, before_count + count)
    return merged


class MetricsLog:
    """Appends one line per step. After a crash the steps that are already there are computed again, to the
    same values, and not written twice; half a line that the crash left behind is cut off."""

    def __init__(self, path: Path, board: Board | None = None) -> None:
        self._path = path
        self._board = board
        self._last_step = _repair(path)

    def write(
        self,
        step: int,
        total_steps: int,
        phase: str,
        values: Mapping[str, tuple[float, float]],
        *,
        samples: Sequence[Mapping[str, object]] = (),
    ) -> None:
        """Append one step's line; steps count up over the whole stage, whatever the phase."""
        if step <= self._last_step:
            return
        row: dict[str, object] = {
            "step": step,
            "total_steps": total_steps,
            "phase": phase,
            "values": {name: [total, count] for name, (total, count) in values.items()},
        }
        if samples:
            row["samples"] = list(samples)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._last_step = step
        if self._board is not None:
            self._board.write(step, phase, values, samples)

    def close(self) -> None:
        if self._board is not None:
            self._board.close()


def _repair(path: Path) -> int:
    """Cut off a torn last line; the last step that is whole, or -1."""
    if not path.exists():
        return -1
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        os.truncate(path, len(whole))
    lines = whole.splitlines()
    return int(json.loads(lines[-1])["step"]) if lines else -1
