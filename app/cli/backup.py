"""`plumbline backup` and `plumbline restore`."""

import math
import sys
import time
from typing import Annotated

import typer

from app.cli import SITE, app
from app.cli.database import database_url
from app.errors import Invalid
from app.services.backups import making, manifest, restoring
from app.services.backups.making import Made
from app.services.backups.places import place_at
from app.services.backups.restoring import Opened
from app.settings import settings

TELL_SECONDS = 1.0

MOVE = "Models and datasets lie in this home alone: `plumbline storage move` puts them into the storage."


@app.command(short_help="Back everything up while the site works.", rich_help_panel=SITE)
def backup(
    target: Annotated[
        str,
        typer.Argument(help="A new file, a folder (FOLDER/), or a storage, s3://BUCKET/FOLDER."),
    ],
    keep: Annotated[
        int | None, typer.Option(min=1, help="Keep only so many backups in the folder or storage, the newest.")
    ] = None,
) -> None:
    """Back up database, models, datasets and what runs left, while everything goes on. A folder or a storage takes
    only what it doesn't hold yet."""
    place = place_at(target)
    if keep is not None and not place.keeps_many:
        raise Invalid("--keep is for folders and storages: a file holds one backup.")
    with database_url() as url:
        made = making.make(url, settings(), place, Progress(), kept=keep)
    print("\n".join(_made(made, place.called)))


@app.command(short_help="Put a backup back.", rich_help_panel=SITE)
def restore(
    source: Annotated[str, typer.Argument(help="The file, folder or storage that holds the backup.")],
    name: Annotated[
        str | None, typer.Option("--backup", help="Which one of a folder or storage; unset: the newest.")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="Only say which backups are there.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only read all of it and compare.")] = False,
) -> None:
    """Put a backup back onto an empty installation of the same version or a newer one."""
    place = place_at(source)
    with place.reading():
        if listed:
            print("\n".join(manifest.names_in(place)))
            return
        opened = restoring.open_backup(place, name)
        if check:
            restoring.check(place, opened, Progress())
            print(f"Backup {opened.name} is whole: {_size(opened.manifest.size_bytes)} are what they were.")
            return
        with database_url() as url:
            restoring.restore(url, settings(), place, opened, Progress())
    print("\n".join(_restored(opened)))


class Progress:
    """Lines for a person at a terminal, no more often than one reads."""

    def __init__(self) -> None:
        self._tell_at = 0.0 if sys.stderr.isatty() else math.inf

    def __call__(self, line: str) -> None:
        if time.monotonic() >= self._tell_at:
            self._tell_at = time.monotonic() + TELL_SECONDS
            print(line, file=sys.stderr, flush=True)


def _made(made: Made, place: str) -> list[str]:
    held = made.manifest
    return [
        f"Backup {made.name} is in {place}: {held.rows:,} rows, {len(held.files):,} files, "
        f"{_size(held.size_bytes)}, {_size(made.new_bytes)} of them new.",
        *(f"Not in it, because it is missing: {path}" for path in held.missing),
        *(f"In it as it is, but damaged: {path}" for path in held.damaged),
        "It holds texts, addresses and digests of passwords: keep it as you keep the installation. It does not hold "
        "sessions, nor secret.key, by which keys of served models are encrypted.",
    ]


def _restored(opened: Opened) -> list[str]:
    held = opened.manifest
    differing = restoring.differing_settings(held, settings())
    return [
        f"Restored backup {opened.name} of Plumbline {held.version}: {held.rows:,} rows, {len(held.files):,} files.",
        *(f"It was made without {path}, which was missing." for path in held.missing),
        *(f"{path} was damaged already." for path in held.damaged),
        *(f"There {name} was {value}." for name, value in differing.items()),
        "Everybody signs in again. Put secret.key of there into the home, or give the keys of served models again.",
        *([MOVE] if settings().storage_url else []),
    ]


def _size(size_bytes: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if size_bytes >= scale:
            return f"{size_bytes / scale:,.1f} {unit}"
    return f"{size_bytes / 1e3:,.1f} kB"
