"""Transactions that outlive a restart of the database.

A training process goes on while the database is away; what its worker has to write waits here until it is back.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import structlog
from psycopg import AsyncConnection
from psycopg import Error as DriverError
from psycopg.pq import TransactionStatus
from sqlalchemy.ext.asyncio import AsyncSession

from app.db import session
from app.db.away import AWAY
from app.db.session import SessionFactory, transaction

PAUSE_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0)
# Crash recovery of a large database takes minutes; after that a supervisor had better start us afresh.
PATIENCE_SECONDS = 300.0
HURRY_SECONDS = 1.0

T = TypeVar("T")
Work = Callable[[AsyncSession], Awaitable[T]]

log = structlog.get_logger(__name__)


class Database:
    """Runs pieces of work, each in a transaction of its own."""

    def __init__(
        self, sessions: SessionFactory, *, stopping: asyncio.Event, patience_seconds: float = PATIENCE_SECONDS
    ) -> None:
        self._sessions = sessions
        self._stopping = stopping
        self._patience_seconds = patience_seconds

    async def once(self, work: Work[T]) -> T:
        """Raises one of AWAY when the database is."""
        async with transaction(self._sessions) as db:
            return await work(db)

    async def run(self, work: Work[T]) -> T:
        """Do `work` like `once`, again and again until the database is back. Raises one of AWAY when patience ends.

        `work` has to be fit for being done twice: when the connection breaks during a commit, nobody knows whether it
        came through.
        """
        started = time.monotonic()
        tries = 0
        while True:
            try:
                return await self.once(work)
            except AWAY as error:
                if time.monotonic() - started > self._limit_seconds():
                    raise
                log.warning("database_away", error=type(error).__name__)
            await asyncio.sleep(PAUSE_SECONDS[min(tries, len(PAUSE_SECONDS) - 1)])
            tries += 1

    def _limit_seconds(self) -> float:
        """A worker that was asked to stop waits for nothing any more: the leases run out by themselves."""
        return HURRY_SECONDS if self._stopping.is_set() else self._patience_seconds


def at_length(work: Work[T]) -> Work[T]:
    """Work that may compute between its queries for longer than a transaction may be silent.

    That bound is for processes that are paused; ours tells the server that it lives, so one that is paused is found.
    """

    async def at_work(db: AsyncSession) -> T:
        raw = await (await db.connection()).get_raw_connection()
        connection, done = raw.driver_connection, asyncio.Event()
        assert isinstance(connection, AsyncConnection)
        telling = asyncio.create_task(_tell(connection, done))
        try:
            return await work(db)
        finally:
            done.set()  # asked, not cancelled: a query that is cut off costs the transaction
            _, late = await asyncio.wait([telling], timeout=HURRY_SECONDS)
            for task in late:
                task.cancel()

    return at_work


async def _tell(connection: AsyncConnection, done: asyncio.Event) -> None:
    interval_seconds = session.SILENT_TRANSACTION_SECONDS / 4
    while not done.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), timeout=interval_seconds)
        is_silent = connection.info.transaction_status == TransactionStatus.INTRANS and not connection.lock.locked()
        if is_silent and not done.is_set():
            with suppress(*AWAY, DriverError):  # whoever works in the transaction finds out by themselves
                await connection.execute("SELECT 1")
