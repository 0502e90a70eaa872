"""Transactions that outlive a restart of the database.

A training process goes on while the database is away; what its worker has to write waits here until it is back.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from procrastinate.exceptions import ConnectorException
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory, transaction

# What psycopg, SQLAlchemy's pool and the queue's connector raise when there is no server to talk to.
AWAY = (OperationalError, InterfaceError, PoolTimeoutError, ConnectorException, TimeoutError, ConnectionError)

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
