"""Stages that the worker does by itself over many transactions."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Run
from app.jobs.context import WorkerContext
from app.jobs.held_lease import HeldLease
from app.jobs.work import work_of
from app.services.loop.runs import leases, starting
from app.services.loop.runs.leases import StepMetrics
from app.services.loop.runs.runs import LOG
from app.services.loop.stages.stage import Ending, Measured, Work
from app.services.loop.storable import storable

T = TypeVar("T")


class RunHold:
    """The hold that a stage is given. Every transaction of it locks the run under the attempt's token."""

    def __init__(self, context: WorkerContext, run: Run, token: int, lease: HeldLease) -> None:
        assert run.folder is not None
        self._context = context
        self._run = run
        self._token = token
        self._lease = lease
        self._folder = context.home / run.folder

    @property
    def folder(self) -> Path:
        return self._folder

    async def do(self, act: Callable[[Work], Awaitable[T]], measured: Measured | None = None) -> T:
        async def in_transaction(db: AsyncSession) -> T:
            work = await self._work(db)
            done = await act(work)
            if measured is not None:
                step = StepMetrics(measured.step, measured.total_steps, self._run.stage, measured.figures)
                await leases.record_metrics(db, self._run.id, self._token, [step])
            return done

        return await self._context.database.run(in_transaction)

    def tell(self, line: str) -> None:
        with (self._folder / LOG).open("a", encoding="utf-8") as log:
            log.write(f"{storable(line)}\n")

    async def interrupted(self) -> None:
        events = (self._lease.lost, self._lease.cancel_requested, self._context.stopping)
        waits = [asyncio.create_task(event.wait()) for event in events]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def end(self, ending: Ending) -> None:
        """Finish the run and start what follows: both or neither."""

        async def in_transaction(db: AsyncSession) -> None:
            work = await self._work(db)
            if ending.follows is not None:
                follows = ending.follows
                await starting.start(db, follows.started_by_id, work.project, follows.stage, inputs=follows.inputs)
            await leases.finish(db, self._run.id, self._token, "succeeded", result=ending.result, error=ending.remark)

        await self._context.database.run(in_transaction)

    async def _work(self, db: AsyncSession) -> Work:
        return await work_of(db, self._context.home, await leases.hold(db, self._run.id, self._token))
