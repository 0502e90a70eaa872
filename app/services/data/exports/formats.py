"""What rows are written as: JSON lines and Parquet."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from app.db.base import Json
from app.services.data.exports.schema import ColumnType, Export

PARQUET_BATCH = 1_000

Format = Literal["jsonl", "parquet"]


@dataclass(frozen=True)
class FileFormat:
    """`write` puts all rows of an export into a file and says how many there were."""

    title: str
    media_type: str
    write: Callable[[Export, Path], int]


def json_lines(export: Export) -> Iterator[str]:
    return map(json_line, export.rows)


def json_line(row: Json) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def write_jsonl(export: Export, file: Path) -> int:
    """Returns the number of rows."""
    count = 0
    with file.open("w", encoding="utf-8") as lines:
        for line in json_lines(export):
            lines.write(line)
            count += 1
    return count


def write_parquet(export: Export, file: Path) -> int:
    """Returns the number of rows."""
    # Here, not above: only exports pay for loading a hundred megabytes of library.
    import pyarrow
    from pyarrow import parquet

    types: dict[ColumnType, Any] = {
        "messages": pyarrow.list_(pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())])),
        "text": pyarrow.string(),
        "integer": pyarrow.int64(),
        "small integer": pyarrow.int8(),
    }
    schema = pyarrow.schema([(column.name, types[column.type]) for column in export.columns])
    count = 0
    with parquet.ParquetWriter(file, schema) as writer:
        while batch := list(islice(export.rows, PARQUET_BATCH)):
            writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
            count += len(batch)
    return count


FORMATS: dict[Format, FileFormat] = {
    "jsonl": FileFormat("JSONL", "application/x-ndjson", write_jsonl),
    "parquet": FileFormat("Parquet", "application/vnd.apache.parquet", write_parquet),
}
