"""What a dataset version is exported as: rows with typed columns, made of its records or of its judgements."""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeAlias

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import DatasetVersion
from app.db.tables.lineage import DatasetKind
from app.services.data.exports.annotations import Annotations
from training.records import RecordT, Split, iterate_records

ColumnType = Literal["messages", "text", "integer", "small integer"]


@dataclass(frozen=True)
class Column:
    """`messages` are a list of {"role", "content"}. No value is ever null: who loads JSON lines infers types from the
    first ones, and what is null there can't be anything later on. An empty text or 0 says that nobody was asked.
    """

    name: str
    type: ColumnType


@dataclass(frozen=True)
class Export:
    """The rows of a version, read as they are asked for, and the columns that they have."""

    columns: tuple[Column, ...]
    rows: Iterator[Json]


@dataclass(frozen=True)
class RecordSchema(Generic[RecordT]):
    """A row for each record of a version's file; a record whose row is None is left out.

    `called` is what people read. `raw` says what a row has more where raw rows are asked for, in `raw_columns`; without
    it nobody is offered such rows.
    """

    name: str
    called: str
    kind: DatasetKind
    record: type[RecordT]
    columns: tuple[Column, ...]
    row: Callable[[RecordT], Json | None]
    raw_columns: tuple[Column, ...] = ()
    raw: Callable[[RecordT, Annotations], Json] | None = None

    def export(self, file: Path, *, annotations: Annotations | None = None, split: Split | None = None) -> Export:
        """`annotations`, by judgement, ask for raw rows."""
        columns = self.columns if annotations is None else self.columns + self.raw_columns
        return Export(columns, self._rows(file, annotations, split))

    def _rows(self, file: Path, annotations: Annotations | None, split: Split | None) -> Iterator[Json]:
        for record in iterate_records(file, self.record):
            # Records that say nothing of a split are cut from training prompts alone.
            if split is not None and getattr(record, "split", "train") != split:
                continue
            row = self.row(record)
            if row is not None:
                yield row if annotations is None or self.raw is None else row | self.raw(record, annotations)


@dataclass(frozen=True)
class JudgementSchema:
    """Rows that are read from the database, of the judgements that a version holds."""

    name: str
    called: str
    kind: DatasetKind
    rows: Callable[[AsyncSession, DatasetVersion], AsyncIterator[Json]]


Schema: TypeAlias = RecordSchema[Any] | JudgementSchema
