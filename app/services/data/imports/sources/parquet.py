"""Parquet, by pyarrow, which is loaded only for it: it takes a hundred megabytes."""

from collections.abc import Iterator
from typing import BinaryIO

from app.services.data.imports.rows import RawRow
from app.services.data.imports.sources.bytes import Damaged

MAGIC = b"PAR1"
BATCH = 500


def parquet_rows(file: BinaryIO) -> Iterator[RawRow]:
    """The rows of a file that can be read in any order. Raises Damaged."""
    import pyarrow
    from pyarrow import parquet

    line = 0
    try:
        with parquet.ParquetFile(file, pre_buffer=False) as table:
            for batch in table.iter_batches(BATCH, use_threads=False):
                for fields in batch.to_pylist():
                    line += 1
                    yield RawRow(line, fields)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        why = " ".join(str(error).split())[:200].rstrip(".")
        raise Damaged("%(name)s is damaged after row %(line)s: %(why)s.", why=why) from None
