"""Files of JSON lines from elsewhere, plain or gzip: every row as what it was meant to be, or why it can't be used.

A byte order mark, CRLF and empty lines are no matter.
"""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from app.errors import Invalid

LONGEST_LINE = 16 * 2**20
GZIP_MAGIC = b"\x1f\x8b"

RowT = TypeVar("RowT")


@dataclass(frozen=True)
class BadRow:
    line: int
    reason: str


class RowError(ValueError):
    """Why a row can't be used, as the end of a sentence that starts with its line."""


def read_rows(file: Path, parse: Callable[[bytes], RowT]) -> Iterator[RowT | BadRow]:
    """One at a time; `parse` raises RowError. Raises Invalid when the file can't be read to its end."""
    line = 0
    try:
        with _open(file) as source:
            for line, content in enumerate(_lines(source), start=1):
                if content is None or content.strip():
                    yield _row(line, content, parse)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise Invalid(
            f"{file.name} is damaged: its compressed data break off or break down after line {line}."
        ) from None
    except OSError as error:
        raise Invalid(f"{file.name} can't be read: {error.strerror or error}.") from None


def json_object(content: bytes) -> dict[str, object]:
    """Raises RowError."""
    try:
        row = json.loads(content.decode("utf-8"))
    except UnicodeDecodeError:
        raise RowError("is not UTF-8") from None
    except (ValueError, RecursionError):
        raise RowError("is not JSON") from None
    if not isinstance(row, dict):
        raise RowError("is not a JSON object")
    return row


def text_of(value: object, name: str) -> str:
    """With LF at the ends of lines. Raises RowError for what no database text can hold."""
    if not isinstance(value, str):
        raise RowError(f"has no text under {name!r}")
    text = value.replace("\r\n", "\n")
    if "\0" in text:
        raise RowError(f"has a NUL character in {name!r}, which no database text can hold")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise RowError(f"has half a surrogate pair in {name!r}, which is no text")
    return text


def _row(line: int, content: bytes | None, parse: Callable[[bytes], RowT]) -> RowT | BadRow:
    if content is None:
        return BadRow(line, f"is longer than {LONGEST_LINE:,} bytes")
    try:
        return parse(content.removeprefix(b"\xef\xbb\xbf") if line == 1 else content)
    except RowError as error:
        return BadRow(line, str(error))


def _open(file: Path) -> BinaryIO:
    with file.open("rb") as start:
        is_gzip = start.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    return cast(BinaryIO, gzip.open(file, "rb")) if is_gzip else file.open("rb")


def _lines(source: BinaryIO) -> Iterator[bytes | None]:
    """Lines, and None for one that is too long to hold in memory."""
    while content := source.readline(LONGEST_LINE):
        if len(content) < LONGEST_LINE or content.endswith(b"\n"):
            yield content
            continue
        while content and not content.endswith(b"\n"):
            content = source.readline(LONGEST_LINE)
        yield None
