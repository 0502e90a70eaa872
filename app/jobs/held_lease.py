"""A run's lease, kept by the worker while the run is at work."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.away import AWAY
from app.jobs.context import WorkerContext
from app.jobs.fence import newest
from app.jobs.metrics_tail import Look, MetricsTail
from app.services.loop.runs import leases
from app.services.loop.runs.leases import LeaseLost, Standing

# A database that neither answers nor refuses must not keep the worker from noticing that it was asked to stop.
PULSE_TIMEOUT_SECONDS = 5.0

log = structlog.get_logger(__name__)


class HeldLease:
    """Renews the lease, stores new metrics, and tells whether the run was taken away or is to be cancelled.

    While the database is away nothing is stored and nothing is lost: the training process goes on, and whether the run
    is still ours is found out afterwards. Unless it is away from this machine alone, and another's attempt knocks at
    the run's folder: it can't end our process from there.
    """

    def __init__(self, context: WorkerContext, run_id: int, token: int, tail: MetricsTail) -> None:
        self.lost = asyncio.Event()
        self.cancel_requested = asyncio.Event()
        self._released = asyncio.Event()
        self._context = context
        self._run_id = run_id
        self._token = token
        self.tail = tail
        self._renew_at = time.monotonic() + context.renewal_seconds

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Keep the lease while the block runs."""
        keeper = asyncio.create_task(self._keep(), name=f"lease of run {self._run_id}")
        # However it ends: a lease that nobody keeps is as good as lost.
        keeper.add_done_callback(lambda _: self.lost.set())
        try:
            yield
        finally:
            # Asked, not cancelled: a transaction that is cut off costs its connection.
            self._released.set()
            await keeper

    async def catch_up(self) -> None:
        """Store all that the stage has measured, however long the database is away. Raises LeaseLost."""
        while (look := self.tail.look()).steps:
            standing = await self._context.database.run(lambda db, look=look: self._beat(db, look))  # type: ignore[misc]
            if not standing.held:
                raise LeaseLost
            self.tail.accept(look)

    async def _keep(self) -> None:
        while not (self.lost.is_set() or await self._released_within(self._context.pulse_seconds)):
            await self._pulse()

    async def _released_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._released.wait(), timeout=seconds)
        return self._released.is_set()

    async def _pulse(self) -> None:
        if newest(self.tail.folder) > self._token:
            self.lost.set()
            return
        look = self.tail.look()
        try:
            async with asyncio.timeout(PULSE_TIMEOUT_SECONDS):
                standing = await self._context.database.once(lambda db: self._beat(db, look))
        except (*AWAY, TimeoutError) as error:
            log.warning("database_away", run_id=self._run_id, error=type(error).__name__)
            return
        self.tail.accept(look)
        if not standing.held:
            self.lost.set()
        elif standing.cancel_requested:
            self.cancel_requested.set()

    async def _beat(self, db: AsyncSession, look: Look) -> Standing:
        if look.steps and not await leases.record_metrics(db, self._run_id, self._token, look.steps):
            return Standing(held=False, cancel_requested=False)
        if time.monotonic() < self._renew_at:
            return await leases.standing(db, self._run_id, self._token)
        standing = await leases.renew(db, self._run_id, self._token, lease_seconds=self._context.lease_seconds)
        self._renew_at = time.monotonic() + self._context.renewal_seconds
        return standing
