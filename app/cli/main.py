"""The entry point: finds the command groups, runs one command, and renders what went wrong as one line."""

import pkgutil
import sys
from importlib import import_module
from typing import NoReturn

import psycopg
import sqlalchemy.exc

import app.cli
from app.acting import Actor, acting
from app.errors import DomainError
from app.settings import SettingsError

REFUSED = 2


def main() -> None:
    """Exits with 0 when done, with 2 and one line on stderr when refused; other errors are bugs and show themselves."""
    for group in pkgutil.iter_modules(app.cli.__path__, prefix="app.cli."):
        import_module(group.name)
    try:
        with acting(Actor("command")):
            app.cli.app()
    except (DomainError, SettingsError) as refusal:
        _refuse(str(refusal))
    except (psycopg.OperationalError, sqlalchemy.exc.OperationalError) as error:
        _refuse(f"The database can't be reached: {_first_line(error)}")
    except OSError as error:
        _refuse(str(error))


def _refuse(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(REFUSED)


def _first_line(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return str(cause).strip().splitlines()[0]
