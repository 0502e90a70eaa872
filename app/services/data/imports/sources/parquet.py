"""Parquet, by pyarrow, which is loaded only for it: it takes a hundred megabytes.

A column keeps a value that many rows share once, in its dictionary: a file of 500 bytes can hold rows of 2 MB without
end. So how many rows are unpacked at once goes by the longest of these values.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from app.services.data.imports.rows import RawRow
from app.services.data.imports.sources.bytes import Damaged, require_bounded

if TYPE_CHECKING:
    from pyarrow import RecordBatch
    from pyarrow.parquet import ParquetFile

MAGIC = b"PAR1"
BATCH = 500
BATCH_BYTES = 64 * 2**20


def parquet_rows(file: BinaryIO) -> Iterator[RawRow]:
    """The rows of a file that can be read in any order. Raises Damaged."""
    import pyarrow
    from pyarrow import parquet

    line = 0
    try:
        with parquet.ParquetFile(file, pre_buffer=False) as table:
            _require_bounded(table, file)
            _require_different(table.schema_arrow.names)
            texts = _texts(table)
            with parquet.ParquetFile(file, pre_buffer=False, read_dictionary=texts) as shared:
                for group in range(table.num_row_groups):
                    size = _rows_at_once(shared, group)
                    for batch in table.iter_batches(size, row_groups=[group], use_threads=False):
                        for fields in _as_texts(batch).to_pylist():
                            line += 1
                            yield RawRow(line, fields)
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        why = " ".join(str(error).split())[:200].rstrip(".")
        raise Damaged("%(name)s is damaged after row %(line)s: %(why)s.", why=why) from None


def _require_bounded(table: "ParquetFile", file: BinaryIO) -> None:
    groups = [table.metadata.row_group(group) for group in range(table.num_row_groups)]
    packed = file.seek(0, 2)
    require_bounded(packed, sum(group.total_byte_size for group in groups))


def _require_different(columns: Sequence[str]) -> None:
    twice = sorted(name for name, count in Counter(columns).items() if count > 1)
    if twice:
        raise Damaged("%(name)s has more than one column %(column)s.", column=twice[0])


def _as_texts(batch: "RecordBatch") -> "RecordBatch":
    """With texts for times and decimals, of which Python holds fewer than a file may, and for texts that whoever wrote
    the file didn't call so."""
    from pyarrow import types

    for number, field in enumerate(batch.schema):
        kind = field.type
        is_bytes = types.is_binary(kind) or types.is_large_binary(kind)
        if is_bytes or types.is_decimal(kind) or (types.is_temporal(kind) and not types.is_duration(kind)):
            batch = batch.set_column(number, field.name, _text(batch.column(number)))
    return batch


def _text(array: Any) -> Any:
    import pyarrow

    if pyarrow.types.is_timestamp(array.type) and array.type.tz:
        # Where nobody knows its zone, it is a moment still.
        array = array.cast(pyarrow.int64()).cast(pyarrow.timestamp(array.type.unit))
    try:
        return array.cast(pyarrow.string())
    except pyarrow.ArrowInvalid:
        return array  # bytes, a picture perhaps


def _texts(table: "ParquetFile") -> list[str]:
    columns = [table.metadata.schema.column(number) for number in range(table.metadata.num_columns)]
    return [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]


def _rows_at_once(shared: "ParquetFile", group: int) -> int:
    """How many rows of a group are at most BATCH_BYTES, if each has the longest shared value of every column, as often
    as rows of the group have values on average. `shared` reads dictionaries as such."""
    first = next(shared.iter_batches(1, row_groups=[group], use_threads=False), None)
    if first is None:
        return BATCH
    about = shared.metadata.row_group(group)
    values: int = max((about.column(number).num_values for number in range(about.num_columns)), default=0)
    a_row: int = sum(_longest_shared(column) for column in first.columns) * max(1, values // max(1, about.num_rows))
    return max(1, min(BATCH, BATCH_BYTES // max(1, a_row)))


def _longest_shared(array: Any) -> int:
    """Bytes of the longest value in the dictionaries of a column, those of its parts added up."""
    import pyarrow
    from pyarrow import compute

    if pyarrow.types.is_dictionary(array.type):
        longest: int | None = compute.max(compute.binary_length(array.dictionary)).as_py()
        return longest or 0
    if pyarrow.types.is_struct(array.type):
        return sum(_longest_shared(array.field(number)) for number in range(array.type.num_fields))
    if pyarrow.types.is_map(array.type):
        return _longest_shared(array.keys) + _longest_shared(array.items)
    if pyarrow.types.is_list(array.type) or pyarrow.types.is_large_list(array.type):
        return _longest_shared(array.values)
    return 0
