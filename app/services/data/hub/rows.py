"""The rows of a version as Parquet files, one for each split."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import DatasetVersion
from app.errors import Conflict
from app.services.data.exports import writing
from app.services.data.exports.asked import Asked
from app.services.data.storing.loads import Watch
from app.services.places.files import sha256_of
from training.records import Split

SPLITS: tuple[Split, ...] = tuple(split for split in get_args(Split) if split != "held_out")


@dataclass(frozen=True)
class Column:
    """A column as the file types it: `parts` are the columns of what it holds several of, none for a plain value."""

    name: str
    type: str
    is_several: bool = False
    parts: tuple["Column", ...] = ()


@dataclass(frozen=True)
class SplitFile:
    """`path` is relative to the folder."""

    split: str
    path: str
    rows: int
    size_bytes: int
    sha256: str
    columns: tuple[Column, ...]


async def write_rows(
    db: AsyncSession, version: DatasetVersion, home: Path, folder: Path, watch: Watch | None = None
) -> Sequence[SplitFile]:
    """Write `data/SPLIT.parquet` for each split that has rows.

    Raises ErasedFrom, BrokenDataset, and Conflict without any row: `load_dataset` takes no dataset without one.
    """
    schema = "raw" if version.kind == "preferences" else None
    asked = Asked(schema_name=schema, form="parquet", files="splits")
    written = await writing.write_splits(db, version, home, asked, folder / "data", watch=watch)
    if not written.count:
        raise Conflict("All that this version holds are ties, which have no better side: there is no row to write.")
    return await asyncio.to_thread(_described, folder, written.rows)


def _described(folder: Path, rows: Mapping[str, int]) -> list[SplitFile]:
    found = [(split, f"data/{split}.parquet") for split in SPLITS if rows.get(split)]
    return [
        SplitFile(split, path, rows[split], file.stat().st_size, sha256_of(file), _columns(file))
        for split, path in found
        for file in (folder / path,)
    ]


def _columns(file: Path) -> tuple[Column, ...]:
    # Here, not above: only exports pay for loading a hundred megabytes of library.
    from pyarrow import parquet

    return tuple(_column(field.name, field.type) for field in parquet.read_schema(file))


def _column(name: str, found: Any) -> Column:
    from pyarrow import types

    if types.is_list(found):
        return replace(_column(name, found.value_type), is_several=True)
    if types.is_struct(found):
        return Column(name, "struct", parts=tuple(_column(part.name, part.type) for part in found))
    return Column(name, str(found))
