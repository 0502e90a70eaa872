"""What everything in a worker shares."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.back_off import BackOff
from app.jobs.launch import Executor
from app.jobs.transactions import Database


@dataclass(frozen=True)
class WorkerContext:
    """`stopping` is set when the worker was asked to stop: stages then write a checkpoint and are given back.
    `short_of_room` while less than `reserve_bytes` are free: those that fill disks are given back then, too.
    `hang_seconds` is how long a stage may tell no step before it is ended, 0: as long as it likes.
    `elsewhere` has the stages that don't run beside the worker, `gpus` is how many each of those asks for.
    """

    database: Database
    executor: Executor
    home: Path
    owner: str
    lease_seconds: float
    cancel_grace_seconds: float
    stopping: asyncio.Event
    retry_seconds: float = 0
    hang_seconds: float = 0
    reserve_bytes: int = 0
    short_of_room: asyncio.Event = field(default_factory=asyncio.Event)
    storage_waits: BackOff = field(default_factory=lambda: BackOff(5, 300))
    elsewhere: Mapping[str, Executor] = field(default_factory=dict)
    gpus: int = 0

    def executor_of(self, stage: str) -> Executor:
        """Where runs of a stage work."""
        return self.elsewhere.get(stage, self.executor)

    @property
    def renewal_seconds(self) -> float:
        """Six chances to renew before the lease runs out: with 30 s, one in 5 s."""
        return self.lease_seconds / 6

    def wait_after(self, attempt: int) -> float:
        """Seconds to the next attempt, twice as long each time, for what broke one may last; five times and no more, so
        that a run of many attempts is never left alone for days."""
        return self.retry_seconds * 2.0 ** min(attempt - 1, 5)

    @property
    def pulse_seconds(self) -> float:
        """How often a run's metrics, lease and cancellation are looked at; pages hear of a run no more often."""
        return min(1.0, self.renewal_seconds)
