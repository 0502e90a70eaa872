"""What commands say: sentences, tables and bars for people, and with `--json` one JSON document and nothing else.

Commands call `say` and `show`; `answering` gives a command the option. What one prints by itself is taken up as it is
where it is JSON, and as `message` otherwise, so that no command can spoil the document.
"""

import functools
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text
from typer.core import TyperCommand

if TYPE_CHECKING:
    from typer._click.core import Parameter

Row = Mapping[str, object]
Tell = Callable[[int, int, str], None]


@dataclass
class _Wanted:
    """Whether the running command was asked for JSON, and what it has to tell."""

    is_json: bool = False
    told: object = None


_wanted = _Wanted()


def say(words: str, told: object = None) -> None:
    """Print a sentence, or what is told in its place as JSON: `{"message": words}` and, of a mapping, its entries."""
    if not _wanted.is_json:
        print(words)
        return
    if told is None or isinstance(told, Mapping):
        told = {"message": words, **(told or {})}
    _wanted.told = told


def show(rows: Sequence[Row], columns: Mapping[str, str], *, empty: str) -> None:
    """Print a table with these columns, their keys with their headings, or all of the rows as JSON.

    What isn't a terminal gets a line for each row, its cells by tabs, and no headings: for `cut` and its like.
    """
    if _wanted.is_json:
        _wanted.told = list(rows)
    elif not rows:
        print(empty, file=sys.stderr)
    elif sys.stdout.isatty():
        _print_table(rows, columns)
    else:
        for row in rows:
            print("\t".join(_cell(row[name]) for name in columns))


@contextmanager
def bar(what: str) -> Iterator[Tell]:
    """To be told how much of how much is done, and of what phase: a bar at a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda done, total, phase: None
        return
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total, phase: progress.update(
            task, completed=done, total=total or None, description=f"{what}: {phase}" if phase else what
        )


def answering(command: TyperCommand) -> None:
    """Give a command the option `--json`, unless it has one of its own."""
    if any("--json" in parameter.opts for parameter in command.params) or command.callback is None:
        return
    command.params.append(_option())
    command.callback = _answering(command.callback)


@functools.cache
def _option() -> "Parameter":
    one = typer.Typer()

    @one.command()
    def _(as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False) -> None: ...

    return next(parameter for parameter in typer.main.get_command(one).params if "--json" in parameter.opts)


def _answering(command: Callable[..., object]) -> Callable[..., object]:
    @functools.wraps(command)
    def run(*args: Any, as_json: bool = False, **kwargs: Any) -> object:
        if not as_json:
            return command(*args, **kwargs)
        _wanted.is_json, _wanted.told = True, None
        printed = io.StringIO()
        try:
            with redirect_stdout(printed):
                return command(*args, **kwargs)
        finally:
            _wanted.is_json = False
            if _wanted.told is not None or printed.getvalue():
                told = _wanted.told if _wanted.told is not None else _document(printed.getvalue())
                print(json.dumps(told, ensure_ascii=False, indent=2, default=_plain))

    return run


def _document(text: str) -> object:
    """What a command printed: JSON, JSON lines, or words."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        # Texts may hold what Unicode calls the end of a line.
        return [json.loads(line) for line in text.removesuffix("\n").split("\n")]
    except ValueError:
        return {"message": text.strip()}


def _print_table(rows: Sequence[Row], columns: Mapping[str, str]) -> None:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in columns.values():
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row[name])) for name in columns))
    Console(highlight=False).print(table)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value))
    return f"{value:%Y-%m-%d %H:%M}" if isinstance(value, datetime) else " ".join(str(value).split())


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else str(value)
