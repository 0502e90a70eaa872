"""`plumbline worker`: the process that trains."""

import asyncio

from app.cli import SITE, app
from app.cli.database import database_url
from app.jobs.worker import work
from app.settings import settings


@app.command(short_help="Run the worker alone.", rich_help_panel=SITE)
def worker() -> None:
    """Run the worker until SIGTERM or Ctrl-C: it trains, turns rounds and looks after runs that were left behind."""
    with database_url() as url:
        asyncio.run(work(settings(), url))
