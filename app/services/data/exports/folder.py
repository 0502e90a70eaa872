"""Rows of a version as files: all in one, or those of each split in one of their own, as
`datasets.load_dataset(FOLDER)` takes them."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, aclosing, closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from app.db.base import Json
from app.services.data.exports.formats import FORMATS, Format, Writer
from app.services.data.exports.schema import AnySchema, Reading
from app.services.data.storing.loads import Watch

ALIVE_SECONDS = 10.0


@dataclass(frozen=True)
class Written:
    """What was written: how many `rows` by split, and the files."""

    rows: Mapping[str, int]
    files: Sequence[Path]

    @property
    def count(self) -> int:
        return sum(self.rows.values())


async def write_file(
    reading: Reading, schema: AnySchema, file: Path, *, form: Format = "parquet", watch: Watch | None = None
) -> Written:
    """All rows in one file, in the order that the schema says; it has its columns even without any row."""
    return await _write(reading, schema, lambda rows: [(file, rows)], form, watch, otherwise=file)


async def write_folder(
    reading: Reading, schema: AnySchema, folder: Path, *, form: Format = "parquet", watch: Watch | None = None
) -> Written:
    """A file for each split that has rows, of its name: `train.parquet`, `validation.parquet`. Without any row there is
    one to train on, without rows. The folder is there already.
    """

    def by_split(rows: Sequence[Json]) -> Iterator[tuple[Path, Sequence[Json]]]:
        splits = {str(row["split"]) for row in rows}
        for split in sorted(splits):
            of_split = rows if len(splits) == 1 else [row for row in rows if row["split"] == split]
            yield folder / f"{split}.{form}", of_split

    return await _write(reading, schema, by_split, form, watch, otherwise=folder / f"train.{form}")


async def rows_of(reading: Reading, schema: AnySchema) -> AsyncGenerator[list[Json]]:
    """Some at a time, in the order that the schema says."""
    async with aclosing(schema.read(reading)) as found:
        async for items in found:
            yield await asyncio.to_thread(_rows, schema, items)


def _rows(schema: AnySchema, items: Sequence[object]) -> list[Json]:
    return [row for item in items for row in schema.rows(item)]


class _Pulse:
    """The server ends transactions that are silent for a minute, and a version's file is read without it."""

    def __init__(self, reading: Reading) -> None:
        self._db = reading.db
        self._spoken = time.monotonic()

    async def beat(self) -> None:
        if time.monotonic() - self._spoken > ALIVE_SECONDS:
            await self._db.execute(select(1))
            self._spoken = time.monotonic()


async def _write(
    reading: Reading,
    schema: AnySchema,
    placed: Callable[[Sequence[Json]], Iterable[tuple[Path, Sequence[Json]]]],
    form: Format,
    watch: Watch | None,
    *,
    otherwise: Path,
) -> Written:
    """`placed` says which rows belong into which file, `otherwise` what is written where there are no rows."""
    columns = schema.columns_for(reading.votes)
    counts: Counter[str] = Counter()
    pulse = _Pulse(reading)
    writers: dict[Path, Writer] = {}
    with ExitStack() as open_files:

        def write(file: Path, rows: Sequence[Json]) -> None:
            if file not in writers:
                writers[file] = open_files.enter_context(closing(FORMATS[form].open(file, columns)))
            writers[file].write(rows)

        async with aclosing(rows_of(reading, schema)) as found:
            async for rows in found:
                for file, of_file in placed(rows):
                    await asyncio.to_thread(write, file, of_file)
                counts.update(str(row["split"]) for row in rows)
                await pulse.beat()
                if watch is not None:
                    watch.require_wanted()
                    watch.tell(min(counts.total(), reading.version.row_count), reading.version.row_count, "writing")
        if not writers:
            write(otherwise, [])
    return Written(dict(counts), list(writers))
