"""Figures of the whole site, which a worker tells Prometheus: read from the database whenever they are asked for."""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import psycopg
from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.db.session import SEARCH_PATH, plain_url
from app.db.tables.runs import RunState
from app.services.backups.standing import age_statement
from app.services.health import SILENT_SECONDS

ANSWER_MILLISECONDS = 2_000
CONNECT_SECONDS = 2

RUNS = "SELECT state, count(*) FROM runs GROUP BY state"
RUNS_OVERDUE = "SELECT count(*) FROM runs WHERE state = 'running' AND lease_expires_at < now()"
ROUNDS = "SELECT count(*) FROM rounds WHERE status = 'active'"
LEASES = """
    SELECT CASE WHEN lease_expires_at < now() THEN 'expired' ELSE 'live' END, count(*)
    FROM assignments WHERE state = 'leased' GROUP BY 1
"""
QUEUE = """
    SELECT queue_name, status::text, count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing') GROUP BY 1, 2
"""
WAITING = """
    SELECT queue_name, extract(epoch FROM now() - min(event.at))::float8
    FROM procrastinate_jobs job JOIN procrastinate_events event ON event.job_id = job.id AND event.type = 'deferred'
    WHERE job.status = 'todo' AND coalesce(job.scheduled_at <= now(), true) GROUP BY 1
"""
WORKERS = "SELECT count(*) FROM procrastinate_workers WHERE last_heartbeat > now() - make_interval(secs => %s)"
# The last number that was given: counting ten million rows at every scrape would take a second of the database's.
JUDGEMENTS = "SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('judgements', 'id')::regclass), 0)"
SIZE = "SELECT pg_database_size(current_database())"

Row = tuple[Any, ...]
Connection = psycopg.Connection[Row]


@contextmanager
def site_figures_of(database_url: str, home: Path) -> Iterator[None]:
    """They are among what this process tells for the length of the block."""
    figures = SiteFigures(database_url, home)
    REGISTRY.register(figures)
    try:
        yield
    finally:
        REGISTRY.unregister(figures)


class SiteFigures(Collector):
    """Asks over a connection of its own, in the thread that answers: a worker that hangs is told of all the same."""

    def __init__(self, database_url: str, home: Path) -> None:
        self._address = plain_url(database_url)
        self._home = home

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that to register asks no database."""
        return ()

    def collect(self) -> Iterator[Metric]:
        yield from _disk(self._home)
        up = GaugeMetricFamily("plumbline_database_up", "Whether the database answers.")
        try:
            with self._connect() as connection:
                figures = list(_figures(connection))
        except psycopg.Error:
            figures = []
        up.add_metric([], float(bool(figures)))
        yield up
        yield from figures

    def _connect(self) -> Connection:
        options = f"-c search_path={SEARCH_PATH} -c statement_timeout={ANSWER_MILLISECONDS}"
        return psycopg.connect(self._address, options=options, connect_timeout=CONNECT_SECONDS, autocommit=True)


def _figures(connection: Connection) -> Iterator[Metric]:
    runs = dict.fromkeys(get_args(RunState), 0) | dict(_rows(connection, RUNS))
    yield _gauge("plumbline_runs", "Runs by state.", ["state"], [(state, count) for state, count in runs.items()])
    yield _gauge("plumbline_runs_overdue", "Running runs whose worker is silent.", [], _rows(connection, RUNS_OVERDUE))
    yield _gauge("plumbline_rounds_active", "Rounds that go on.", [], _rows(connection, ROUNDS))
    leases = {"live": 0, "expired": 0} | dict(_rows(connection, LEASES))
    yield _gauge("plumbline_leases", "Tasks that people have on screen.", ["state"], list(leases.items()))
    yield _gauge("plumbline_queue_jobs", "Jobs in the queue.", ["queue", "state"], _rows(connection, QUEUE))
    waiting = {"training": 0.0, "steps": 0.0} | dict(_rows(connection, WAITING))
    told = "How long the job that came first has been waiting."
    yield _gauge("plumbline_queue_oldest_seconds", told, ["queue"], list(waiting.items()))
    alive = _rows(connection, WORKERS, SILENT_SECONDS)
    yield _gauge("plumbline_workers_alive", "Queues of workers that have been heard of within a minute.", [], alive)
    yield _gauge("plumbline_database_bytes", "Size of the database.", [], _rows(connection, SIZE))
    backup = [row for row in connection.execute(*age_statement(None)) if row[0] is not None]
    yield _gauge("plumbline_backup_age_seconds", "Since the last whole backup began.", [], backup)
    ((judgements,),) = _rows(connection, JUDGEMENTS)
    yield CounterMetricFamily("plumbline_judgements", "Judgements stored, changed and imported ones too.", judgements)


def _rows(connection: Connection, statement: str, *values: object) -> list[Row]:
    return connection.execute(statement, values).fetchall()


def _gauge(name: str, told: str, labels: list[str], rows: Iterable[Row]) -> Metric:
    """The last column of a row is the figure, those before it its labels."""
    gauge = GaugeMetricFamily(name, told, labels=labels)
    for *of, figure in rows:
        gauge.add_metric([str(label) for label in of], float(figure))
    return gauge


def _disk(home: Path) -> Iterator[Metric]:
    usage = shutil.disk_usage(home)
    yield _gauge("plumbline_disk_free_bytes", "Free space where the home is.", [], [(usage.free,)])
    yield _gauge("plumbline_disk_bytes", "Space in all where the home is.", [], [(usage.total,)])
