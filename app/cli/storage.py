"""`plumbline storage`: models and dataset versions between the home folder and the storage that PLUMBLINE_STORAGE_URL
names."""

from typing import Annotated

import typer

from app.cli import SITE, app
from app.cli.backup import Progress
from app.cli.database import in_transaction
from app.errors import Conflict
from app.services.published import moving, registered
from app.services.published.bucket import Bucket
from app.services.published.moving import Moved
from app.services.published.shelf import Shelf, shelf_of
from app.settings import settings

storage = typer.Typer(help="Models and datasets in a storage: moved, swept.", no_args_is_help=True)
app.add_typer(storage, name="storage", rich_help_panel=SITE)


@storage.command()
def move(
    back: Annotated[
        bool, typer.Option("--back", help="Out of the storage into the home, before the setting is taken away.")
    ] = False,
) -> None:
    """Put every model and dataset version into the storage that isn't in it. Each is compared while it is sent; broken
    off, it goes on where it was. People and workers go on meanwhile."""
    shelf, _ = _shelf()
    things = in_transaction(registered.things)
    done = (moving.to_home if back else moving.to_storage)(shelf, things, Progress())
    print("\n".join(_moved(done, shelf, back=back)))
    if done.problems:
        raise typer.Exit(1)


@storage.command()
def sweep(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Remove files from the storage whose model or dataset version was never finished, a day ago or longer. A worker
    does it daily. What is whole and unknown to the database is named and stays."""
    shelf, bucket = _shelf()
    unfinished = dict(bucket.unfinished()) if dry_run else shelf.remove_unfinished()
    for folder, size_bytes in sorted(unfinished.items()):
        print(f"{'Would remove' if dry_run else 'Removed'} {folder}, {size_bytes / 1e6:,.1f} MB, never finished.")
    known = {thing.path for thing in in_transaction(registered.things)}
    for path in sorted(bucket.paths() - known):
        print(f"{path} is whole, and this database doesn't know it: it stays.")


def _shelf() -> tuple[Shelf, Bucket]:
    shelf = shelf_of(settings().home)
    if shelf.bucket is None:
        raise Conflict("No storage is set: name one by PLUMBLINE_STORAGE_URL=s3://BUCKET/FOLDER.")
    return shelf, shelf.bucket


def _moved(done: Moved, shelf: Shelf, *, back: bool) -> list[str]:
    where = shelf.home if back else shelf.bucket.called if shelf.bucket else ""
    return [
        f"{done.things:,} moved to {where}, {done.size_bytes / 1e6:,.1f} MB; {done.there_before:,} were there before.",
        *(f"Not moved: {problem}" for problem in done.problems),
    ]
