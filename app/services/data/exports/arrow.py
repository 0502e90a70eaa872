"""Rows as Parquet, in groups of thousands: many small groups would be slow to read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.db.base import Json
from app.services.data.exports.schema import Column, ColumnType

ROW_GROUP = 32_768
GROUP_BYTES = 32 * 2**20


class RowGroups:
    """A Parquet file. Rows are held in columns until there are enough of them for a group."""

    def __init__(self, file: Path, columns: Sequence[Column]) -> None:
        # Here, not above: only exports pay for loading a hundred megabytes of library.
        import pyarrow
        from pyarrow import parquet

        self._arrow = pyarrow
        self._schema = pyarrow.schema([(column.name, _type(pyarrow, column.type)) for column in columns])
        self._writer = parquet.ParquetWriter(file, self._schema)
        self._held: list[Any] = []
        self._rows = self._bytes = 0

    def write(self, rows: Sequence[Json]) -> None:
        table = self._arrow.Table.from_pylist(rows, schema=self._schema)
        self._held.append(table)
        self._rows += table.num_rows
        self._bytes += table.nbytes
        if self._rows >= ROW_GROUP or self._bytes >= GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(self._arrow.concat_tables(self._held), row_group_size=self._rows)
        self._held, self._rows, self._bytes = [], 0, 0


def _type(arrow: Any, name: ColumnType) -> Any:
    text = arrow.string()
    types: dict[ColumnType, Any] = {
        "messages": arrow.list_(arrow.struct([("role", text), ("content", text)])),
        "opinions": arrow.list_(
            arrow.struct([("score", arrow.int64()), ("reasoning", text), ("feedback1", text), ("feedback2", text)])
        ),
        "text": text,
        "texts": arrow.list_(text),
        "integer": arrow.int64(),
        "small integer": arrow.int8(),
        "integers": arrow.list_(arrow.int64()),
        "number": arrow.float64(),
        "truth": arrow.bool_(),
    }
    return types[name]
