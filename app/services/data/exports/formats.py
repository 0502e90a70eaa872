"""What rows are written as: JSON lines, Parquet and CSV."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from app.db.base import Json
from app.services.data.exports.arrow import RowGroups
from app.services.data.exports.schema import Column
from app.spreadsheets import harmless

Format = Literal["jsonl", "parquet", "csv"]


class Writer(Protocol):
    """A file while it is written."""

    def write(self, rows: Sequence[Json]) -> None:
        """Some more rows, each with all the columns in their order."""

    def close(self) -> None:
        """Write what is left; without it the file isn't whole."""


@dataclass(frozen=True)
class FileFormat:
    """`open` begins a file of these columns."""

    title: str
    media_type: str
    open: Callable[[Path, Sequence[Column]], Writer]


_as_json = json.JSONEncoder(ensure_ascii=False).encode  # `json.dumps` makes an encoder for each call


def json_line(row: Json) -> str:
    return _as_json(row) + "\n"


class JsonLines:
    """One object a line."""

    def __init__(self, file: Path, _columns: Sequence[Column]) -> None:
        self._file = file.open("w", encoding="utf-8")

    def write(self, rows: Sequence[Json]) -> None:
        self._file.writelines(map(json_line, rows))

    def close(self) -> None:
        self._file.close()


class Csv:
    """RFC 4180 with a line of names. Lists and messages are JSON, truths `true` and `false`, and a text that a
    spreadsheet would take for a formula has an apostrophe before it."""

    def __init__(self, file: Path, columns: Sequence[Column]) -> None:
        self._file = file.open("w", encoding="utf-8", newline="")
        self._cells = [(column.name, _CELLS.get(column.type, _as_json)) for column in columns]
        self._writer = csv.writer(self._file)
        self._writer.writerow(column.name for column in columns)

    def write(self, rows: Sequence[Json]) -> None:
        self._writer.writerows([cell(row[name]) for name, cell in self._cells] for row in rows)

    def close(self) -> None:
        self._file.close()


def _as_it_is(value: object) -> object:
    return value


_CELLS: Mapping[str, Callable[[Any], object]] = {
    "text": harmless,
    "integer": _as_it_is,
    "small integer": _as_it_is,
    "number": _as_it_is,
}

FORMATS: dict[Format, FileFormat] = {
    "jsonl": FileFormat("JSONL", "application/x-ndjson", JsonLines),
    "parquet": FileFormat("Parquet", "application/vnd.apache.parquet", RowGroups),
    "csv": FileFormat("CSV", "text/csv", Csv),
}
