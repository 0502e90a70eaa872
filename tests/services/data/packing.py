"""Rows as files: written in every shape and packed in every way that is read."""

import bz2
import csv
import gzip
import io
import json
import lzma
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow
from pyarrow import parquet

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Rows = Sequence[Mapping[str, Any]]


def json_lines(rows: Rows) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def json_list(rows: Rows) -> bytes:
    return json.dumps(rows).encode()


def pretty_list(rows: Rows) -> bytes:
    return json.dumps(rows, indent=2, ensure_ascii=False).encode()


def wrapped_list(rows: Rows) -> bytes:
    return json.dumps({"data": rows}, indent=1).encode()


def objects(rows: Rows) -> bytes:
    return b"\n".join(json.dumps(row, indent=2).encode() for row in rows)


def delimited(rows: Rows, delimiter: str = ",") -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def tabbed(rows: Rows) -> bytes:
    return delimited(rows, "\t")


def with_semicolons(rows: Rows) -> bytes:
    return b"\xef\xbb\xbf" + delimited(rows, ";")


def parquet_of(rows: Rows) -> bytes:
    file = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), file)
    return file.getvalue()


def zipped(*files: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("rows")
        archive.writestr("__MACOSX/rows/._0", b"\0\1")
        for number, content in enumerate(files):
            archive.writestr(f"rows/{number}", content)
    return file.getvalue()


OF_ANY_VALUES = (json_lines, json_list, pretty_list, wrapped_list, objects)
OF_TEXTS = (delimited, tabbed, with_semicolons, parquet_of)
SHAPES: dict[Callable[[Rows], bytes], str] = {
    json_lines: "JSON Lines",
    json_list: "JSON",
    pretty_list: "JSON",
    wrapped_list: "JSON",
    objects: "JSON",
    delimited: "CSV",
    tabbed: "TSV",
    with_semicolons: "CSV",
    parquet_of: "Parquet",
}
PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd.compress,
    "zip": zipped,
}
