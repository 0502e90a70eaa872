"""`plumbline prepare`, `serve` and `check-worker`: parts of `plumbline up`, for containers and service managers."""

import os
import sys

import typer

from app.cli import SITE, app
from app.cli.database import connect, database_url
from app.db import migrate
from app.errors import DomainError
from app.jobs.site_figures import WORKERS
from app.services.health import SILENT_SECONDS
from app.settings import settings
from app.supervisor import prepare as prepare_database
from app.supervisor import web_command


class NoWorker(DomainError):
    """No worker has reported to the database for a minute."""


class NoDatabase(DomainError):
    """DATABASE_URL is not set, and the site alone starts no database: `plumbline up` does."""


@app.command(hidden=True)
def prepare() -> None:
    """Upgrade the database, create the starter project if there is none, and print sign-in links the first time."""
    with database_url() as url:
        print(prepare_database(url, settings()))


@app.command(hidden=True)
def check_worker() -> None:
    """Say whether a worker is alive: a health check. Exits 1 if none has reported for a minute."""
    with database_url() as url, connect(url) as connection:
        migrate.require_head(url)
        row = connection.execute(WORKERS, (SILENT_SECONDS,)).fetchone()
    if row is None or row[0] == 0:
        print(NoWorker(), file=sys.stderr)
        raise typer.Exit(1)


@app.command(short_help="Run the site alone.", rich_help_panel=SITE)
def serve() -> None:
    """Run the site alone, on the database of DATABASE_URL."""
    if settings().database_url is None:
        raise NoDatabase
    bind = (f"--host={settings().host}", f"--port={settings().port}", f"--workers={settings().web_processes}")
    command = web_command(settings(), *bind)
    os.execv(command[0], command)  # noqa: S606 - the server takes our place, and with it every signal
