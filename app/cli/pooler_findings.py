"""What `plumbline doctor` finds between processes and the database: poolers that don't do what is needed of them."""

from collections.abc import Iterator

import psycopg

from app.cli.findings import Finding
from app.db.session import parameters, plain_url
from app.settings import Settings

CHANNEL = "plumbline_doctor"
HEARD_SECONDS = 2.0
CONNECT_SECONDS = 5

Connection = psycopg.Connection[tuple[object, ...]]


def of_poolers(connection: Connection, url: str, settings: Settings) -> Iterator[Finding]:
    """Whether DATABASE_URL leads to a pooler, and whether the one of PLUMBLINE_POOLER_URL does what it must."""
    yield from _notices(connection, url)
    if settings.pooler_url is not None:
        try:
            yield from _pooler(connection, plain_url(settings.pooler_url))
        except psycopg.OperationalError as problem:
            what = f"The pooler: {str(problem).strip().splitlines()[0]}"
            yield Finding("problem", what, "Start it, or look at PLUMBLINE_POOLER_URL.")


def _notices(connection: Connection, url: str) -> Iterator[Finding]:
    connection.execute(f"LISTEN {CHANNEL}")
    with _connected(plain_url(url)) as other:
        other.execute("SELECT pg_notify(%s, '')", (CHANNEL,))
    if not list(connection.notifies(timeout=HEARD_SECONDS, stop_after=1)):
        what = "What one process tells another doesn't arrive: DATABASE_URL leads to a pooler that forgets who listens."
        mend = "Have DATABASE_URL lead to PostgreSQL itself, and PLUMBLINE_POOLER_URL to the pooler."
        yield Finding("problem", what, mend)
    connection.execute(f"UNLISTEN {CHANNEL}")


def _pooler(direct: Connection, url: str) -> Iterator[Finding]:
    with _connected(url) as first, _connected(url) as second:
        for name, wanted in parameters().items():
            (should_be,) = direct.execute("SELECT set_config(%s, %s, true)", (name, wanted)).fetchone() or ("",)
            (told,) = first.execute("SELECT current_setting(%s)", (name,)).fetchone() or ("",)
            if str(told).replace(" ", "") != should_be:
                what = f"By the pooler {name} is {told}, and has to be {should_be}."
                mend = "ALTER ROLE … SET, as docs/scaling.md has it, and RECONNECT in the pooler's console."
                yield Finding("problem", what, mend)
        try:
            for connection in (first, second, first):
                connection.execute("SELECT %s::int", (1,), prepare=True)
        except (psycopg.errors.DuplicatePreparedStatement, psycopg.errors.InvalidSqlStatementName):
            what = "The pooler mixes up the prepared statements of those who ask by it."
            mend = "PgBouncer does so before 1.21, and with max_prepared_statements = 0: set it to 200."
            yield Finding("problem", what, mend)


def _connected(url: str) -> Connection:
    return psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_SECONDS)
