"""A file read into a project, all of it or nothing."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project
from app.errors import Invalid
from app.services.data.imports.files import BadRow, read_rows
from app.services.data.imports.format import BETTER, ImportFormat, RowT, Wanted

BATCH = 500
LONGEST_SOURCE = 200


@dataclass(frozen=True)
class ImportReport:
    """`imported` rows are new, `already_there` were in the project or came twice in the file, `bad` can't be used."""

    rows: int
    imported: int
    already_there: int
    bad: tuple[BadRow, ...]


class _HasBadRows(Exception):
    """Takes the savepoint back."""


async def import_file(
    db: AsyncSession,
    project: Project,
    file: Path,
    form: ImportFormat[RowT],
    *,
    skip_bad: bool,
    choice: int = BETTER,
    demonstrate: bool = False,
) -> ImportReport:
    """Read a file, plain or gzip. With a bad row and without `skip_bad` nothing at all is imported.

    `choice` and `demonstrate` are what `Wanted` says of them. Raises Invalid for a file that breaks off.
    """
    if choice not in (1, 2, 3):
        raise Invalid("An imported choice is 1 (much better), 2 (better) or 3 (slightly better).")
    wanted = Wanted(file.name[:LONGEST_SOURCE], choice, demonstrate)
    # Two imports of one file at once: the second finds what the first brought.
    await db.execute(select(Project.id).where(Project.id == project.id).with_for_update(key_share=True))
    bad: list[BadRow] = []
    rows = imported = 0
    try:
        async with db.begin_nested():
            for batch in _batches(read_rows(file, form.parse)):
                rows += len(batch)
                bad += [row for row in batch if isinstance(row, BadRow)]
                if skip_bad or not bad:
                    good = [row for row in batch if not isinstance(row, BadRow)]
                    imported += await form.maker.put(db, project, good, wanted)
            if bad and not skip_bad:
                raise _HasBadRows
    except _HasBadRows:
        return ImportReport(rows, 0, 0, tuple(bad))
    return ImportReport(rows, imported, rows - imported - len(bad), tuple(bad))


def _batches(rows: Iterable[RowT | BadRow]) -> Iterator[Sequence[RowT | BadRow]]:
    iterator = iter(rows)
    while batch := list(islice(iterator, BATCH)):
        yield batch
