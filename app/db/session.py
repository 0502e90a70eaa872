"""Engines and sessions. Every process of ours has one async engine; Alembic alone is synchronous."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

POOL_SIZE = 10
POOL_OVERFLOW = 10

# The queue's tables live in a schema of their own, so that a downgrade can drop exactly that.
SEARCH_PATH = "public,procrastinate"

SessionFactory = async_sessionmaker[AsyncSession]


def driver_url(database_url: str) -> URL:
    """`database_url` with the one driver that we use, whatever form of postgres URL it came in."""
    return make_url(database_url).set(drivername="postgresql+psycopg")


def create_engine(database_url: str, *, pool_size: int = POOL_SIZE) -> AsyncEngine:
    return create_async_engine(
        driver_url(database_url),
        pool_size=pool_size,
        max_overflow=POOL_OVERFLOW,
        pool_pre_ping=True,
        connect_args={"options": f"-c search_path={SEARCH_PATH} -c timezone=UTC", "prepare_threshold": 5},
    )


def session_factory(engine: AsyncEngine) -> SessionFactory:
    return async_sessionmaker(engine, expire_on_commit=False)


@asynccontextmanager
async def transaction(sessions: SessionFactory) -> AsyncIterator[AsyncSession]:
    """One session that is one transaction: committed when the block ends, rolled back when it raises."""
    async with sessions() as session, session.begin():
        yield session
