"""Follow `metrics.jsonl` while a training process writes it.

Every attempt reads the file from its start: what a worker didn't get to store, because the database or the worker was
gone, is caught up by the next one, and what is there already is stored over itself.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from app.services.loop.runs.leases import StepMetrics
from app.services.loop.storable import storable

# Bounds a transaction; what remains is read at the next look.
LOOK_BYTES = 256 * 1024

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Look:
    """The whole lines that a look found, and where the next look starts once they are stored."""

    steps: tuple[StepMetrics, ...]
    end: int


class MetricsTail:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self.slowest_step_seconds = 0.0
        """Of what was read so far; a process heeds a signal between two steps."""

    @property
    def folder(self) -> Path:
        """The run's."""
        return self._path.parent

    def look(self) -> Look:
        """New lines since the last one that was accepted; half a line is left for the next look."""
        content = self._read()
        whole = content[: content.rfind(b"\n") + 1]
        steps = [step for line in whole.splitlines() if (step := _parse(line)) is not None]
        seconds = [step.figures.get("seconds") or 0.0 for step in steps]
        self.slowest_step_seconds = max(self.slowest_step_seconds, *seconds, 0.0)
        return Look(tuple(steps), self._offset + len(whole))

    def accept(self, look: Look) -> None:
        """The steps of `look` are stored."""
        self._offset = look.end

    def _read(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                content = file.read(LOOK_BYTES)
                while content and b"\n" not in content:
                    more = file.read(LOOK_BYTES)
                    if not more:
                        break
                    content += more
                return content
        except FileNotFoundError:
            return b""


def _parse(line: bytes) -> StepMetrics | None:
    try:
        row: dict[str, Any] = json.loads(line)
        means = {name: total / count for name, (total, count) in row["values"].items() if count}
        return StepMetrics(
            step=int(row["step"]),
            total_steps=int(row["total_steps"]),
            phase=storable(str(row["phase"])),
            figures=storable(means),
            samples=storable(row.get("samples")),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        log.warning("metrics_line_unreadable", size=len(line))
        return None
