"""What a long stage that the worker does by itself is told by its worker, and tells it."""

import json
import time
from pathlib import Path

from app.jobs.context import WorkerContext
from app.jobs.held_lease import HeldLease


class Unwanted(Exception):
    """The run was cancelled or taken away, the worker is to stop, or the disk is nearly full: what was begun is taken
    back."""


class Watched:
    """Keeps how far a stage is where the lease's keeper looks for what runs measure."""

    def __init__(self, context: WorkerContext, lease: HeldLease, progress: Path, *, fills_disk: bool) -> None:
        self._context = context
        self._fills_disk = fills_disk
        self._lease = lease
        self._progress = progress
        self._told: tuple[int, str] | None = None
        self._tell_at = 0.0

    def tell(self, done: int, total: int, phase: str) -> None:
        """No more often than somebody looks, and nothing twice."""
        now = time.monotonic()
        if (done, phase) == self._told or now < self._tell_at:
            return
        self._told = (done, phase)
        self._tell_at = now + self._context.pulse_seconds
        line = {"step": done, "total_steps": total, "phase": phase, "values": {}}
        with self._progress.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def require_wanted(self) -> None:
        """Raises Unwanted."""
        if self._lease.lost.is_set() or self._lease.cancel_requested.is_set() or self._context.stopping.is_set():
            raise Unwanted
        if self._fills_disk and self._context.short_of_room.is_set():
            raise Unwanted
