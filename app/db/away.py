"""What is raised where the database can't be talked to, whichever library notices first."""

from procrastinate.exceptions import ConnectorException
from psycopg import InterfaceError as DriverInterfaceError
from psycopg import OperationalError as DriverOperationalError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.db.session import TransactionLost

AWAY = (
    OperationalError,
    InterfaceError,
    PoolTimeoutError,
    TransactionLost,
    DriverOperationalError,
    DriverInterfaceError,
    ConnectorException,
)
"""What work that may be done twice is done again after; by the queue's connector anything that it met, too."""


def is_away(error: BaseException) -> bool:
    """Whether the same thing may well succeed in some seconds: no server, a restart, a lock that came in between."""
    found = error.__cause__ if isinstance(error, ConnectorException) else error
    return isinstance(found, AWAY) and not isinstance(found, ConnectorException)
