"""`plumbline up`: the whole application, from one command."""

from app.cli import SITE, app
from app.settings import settings
from app.supervisor import Supervisor


@app.command(short_help="Start all of it; Ctrl-C stops it.", rich_help_panel=SITE)
def up() -> None:
    """Start the database, the site and the worker, print the address, and stop them all at Ctrl-C."""
    Supervisor(settings()).run()
