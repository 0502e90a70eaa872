"""The entry point: finds the command groups, runs one command, and renders what went wrong as one line."""

import gc
import pkgutil
import sys
from collections.abc import Iterator
from enum import IntEnum
from importlib import import_module
from typing import NoReturn

import psycopg
import sqlalchemy.exc
import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

import app.cli
from app.acting import Actor, acting
from app.cli import output
from app.errors import DomainError, Invalid, NotFound
from app.settings import SettingsError

PROCESSES = frozenset({"up", "serve", "worker"})
"""Commands that go on until they are stopped, and have nothing to tell as JSON."""

FIRST = ("up", "serve", "worker", "doctor", "backup", "restore", "db", "config", "project", "people", "group", "token")
"""As the list of all commands begins; what follows has no order."""


class ExitCode(IntEnum):
    """What a program may rely on; docs/cli.md says it to people."""

    DONE = 0
    FAILED = 1  # something broke, or what was looked at isn't as it should be
    USAGE = 2  # an option, a value or a setting can't be used
    NOT_FOUND = 3
    REFUSED = 4  # the state of things doesn't allow it
    OUT_OF_REACH = 5  # the database doesn't answer


def main() -> None:
    """Exits with an ExitCode, and one line on stderr unless it is DONE; other errors are bugs and show themselves."""
    command = whole()
    gc.freeze()  # what was loaded stays; looking through it again and again took half of a large export's time
    try:
        with acting(Actor("command")):
            command()
    except SettingsError as refusal:
        _end(ExitCode.USAGE, str(refusal))
    except DomainError as refusal:
        _end(_code_of(refusal), str(refusal))
    except (psycopg.OperationalError, sqlalchemy.exc.OperationalError) as error:
        _end(ExitCode.OUT_OF_REACH, f"The database can't be reached: {_first_line(error)}")
    except OSError as error:
        _end(ExitCode.FAILED, str(error))


def whole() -> TyperGroup:
    """All commands with all of their options, as people and the reference of the docs have them."""
    for group in pkgutil.iter_modules(app.cli.__path__, prefix="app.cli."):
        import_module(group.name)
    command = typer.main.get_command(app.cli.app)
    assert isinstance(command, TyperGroup)
    command.commands = dict(sorted(command.commands.items(), key=lambda entry: _place(entry[0])))
    for parameter in command.params:
        if isinstance(parameter, TyperOption) and "completion" in str(parameter.name):
            parameter.hidden = True  # two in docs/cli.md in place of six lines here
    for path, leaf in leaves(command):
        if path[0] not in PROCESSES:
            output.answering(leaf)
    return command


def leaves(command: TyperGroup, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], TyperCommand]]:
    """Every command that does something, with the words that call it; the hidden ones, too."""
    for name, inner in command.commands.items():
        if isinstance(inner, TyperGroup):
            yield from leaves(inner, (*path, name))
        elif isinstance(inner, TyperCommand):
            yield (*path, name), inner


def _place(name: str) -> int:
    return FIRST.index(name) if name in FIRST else len(FIRST)


def _code_of(refusal: DomainError) -> ExitCode:
    if isinstance(refusal, NotFound):
        return ExitCode.NOT_FOUND
    return ExitCode.USAGE if isinstance(refusal, Invalid) else ExitCode.REFUSED


def _end(code: ExitCode, message: str) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(code)


def _first_line(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return str(cause).strip().splitlines()[0]
