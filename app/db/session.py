"""Engines and sessions. Every process of ours has one async engine; Alembic alone is synchronous."""

import select
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from psycopg import AsyncConnection
from psycopg.errors import IdleInTransactionSessionTimeout, ReadOnlySqlTransaction
from sqlalchemy import event
from sqlalchemy.engine import URL, AdaptedConnection, make_url
from sqlalchemy.exc import InternalError, InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncConnection as Connection
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from app.db.actors import name_actor

# Connections of a process, at most. They stay: one that is opened for a rush and closed after it costs a sign-in, some
# milliseconds of processor time on both sides.
POOL_SIZE = 20

# A process that is paused inside a transaction (a stopped container, a machine that sleeps) keeps its locks. The server
# ends its session after this time, so that the others can go on.
SILENT_TRANSACTION_SECONDS = 60

# The queue's tables live in a schema of their own, so that a downgrade can drop exactly that.
SEARCH_PATH = "public,procrastinate"


class TransactionLost(ConnectionError):
    """The transaction was taken back and its locks are gone; it can be begun again."""


SessionFactory = async_sessionmaker[AsyncSession]


def driver_url(database_url: str) -> URL:
    """`database_url` with the one driver that we use, whatever form of postgres URL it came in."""
    return make_url(database_url).set(drivername="postgresql+psycopg")


def plain_url(database_url: str) -> str:
    """`database_url` for whoever talks to the driver itself, password included."""
    return driver_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)


def create_engine(database_url: str, *, pool_size: int = POOL_SIZE, is_pooler: bool = False) -> AsyncEngine:
    """An engine of ours. A pooler hands no parameters of sessions on: there they are the role's or the database's."""
    engine = create_async_engine(
        driver_url(database_url),
        pool_size=pool_size,
        max_overflow=max(0, POOL_SIZE - pool_size),
        connect_args={"prepare_threshold": 5} | ({} if is_pooler else {"options": _options()}),
        hide_parameters=True,  # of statements that fail: they are texts of people and models
    )
    event.listen(engine.sync_engine, "checkout", _refuse_lost)
    event.listen(engine.sync_engine, "before_cursor_execute", name_actor)
    return engine


def _refuse_lost(adapted: AdaptedConnection, *_of_the_pool: object) -> None:
    """Have the pool connect anew after the server ended its connections.

    An idle connection has nothing to read but its end; to look costs less than to ask the server, at every transaction.
    """
    connection = adapted.driver_connection
    assert isinstance(connection, AsyncConnection)
    if connection.closed or _is_readable(connection.fileno()):
        raise InvalidatePoolError


def _is_readable(socket: int) -> bool:
    poll = select.poll()
    poll.register(socket, select.POLLIN)
    return bool(poll.poll(0))


def _options() -> str:
    return " ".join(f"-c {name}={value}" for name, value in parameters().items())


def parameters() -> dict[str, str]:
    """What every session of ours asks for."""
    return {
        "search_path": SEARCH_PATH,
        "timezone": "UTC",
        "idle_in_transaction_session_timeout": f"{SILENT_TRANSACTION_SECONDS}s",
    }


@asynccontextmanager
async def apart(db: AsyncSession) -> AsyncIterator[Connection]:
    """A transaction beside the session's own: what is done in it stays, whatever becomes of the other."""
    engine = db.bind
    assert isinstance(engine, AsyncEngine)
    async with engine.begin() as connection:
        yield connection


def session_factory(engine: AsyncEngine) -> SessionFactory:
    return async_sessionmaker(engine, expire_on_commit=False)


@asynccontextmanager
async def look_up(sessions: SessionFactory) -> AsyncIterator[AsyncSession]:
    """One session each of whose statements is a transaction: a look-up has no need of BEGIN and COMMIT around it."""
    async with sessions() as session:
        await session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        yield session


@asynccontextmanager
async def transaction(sessions: SessionFactory) -> AsyncIterator[AsyncSession]:
    """One session that is one transaction: committed when the block ends, rolled back when it raises."""
    try:
        async with sessions() as session, session.begin():
            yield session
    except InternalError as error:
        if isinstance(error.orig, IdleInTransactionSessionTimeout):
            raise TransactionLost("the database ended a transaction that had been silent for too long") from error
        if isinstance(error.orig, ReadOnlySqlTransaction):  # a standby, for as long as another one takes its place
            raise TransactionLost("the database takes no writes") from error
        raise
