"""How many connections to the database this process has, for Prometheus."""

from prometheus_client import Gauge
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool

from app.db.session import POOL_SIZE

CONNECTIONS = Gauge("plumbline_database_connections", "Connections of this process to the database.", ["state"])
LIMIT = Gauge("plumbline_database_connections_limit", "Connections that this process may have at most.")


def tell_of(engine: AsyncEngine) -> None:
    """Have the figures be those of this engine from now on."""
    pool = engine.pool
    assert isinstance(pool, QueuePool)
    CONNECTIONS.labels("in_use").set_function(pool.checkedout)
    CONNECTIONS.labels("idle").set_function(pool.checkedin)
    LIMIT.set(POOL_SIZE)
