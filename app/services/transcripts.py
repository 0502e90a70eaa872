"""hh-rlhf transcripts: lines of {"chosen", "rejected"}, two whole conversations that differ in their last response.

What real files hold and what becomes of it: turns of one speaker in a row are one turn (a model that wrote "Human:" or
"Assistant:" itself); a byte order mark, CRLF and empty lines are no matter; every other oddity is a `BadRow`.
"""

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from app.errors import Invalid

LONGEST_LINE = 16 * 2**20
GZIP_MAGIC = b"\x1f\x8b"
MARKER = re.compile(r"(?:\A|\n\n)(Human|Assistant):")
ROLES = {"Human": "user", "Assistant": "assistant"}

Turn = tuple[str, str]


@dataclass(frozen=True)
class Pair:
    """A conversation that ends with the user, and the two responses to it."""

    prompt: tuple[Turn, ...]
    chosen: str
    rejected: str


@dataclass(frozen=True)
class BadRow:
    line: int
    reason: str


class _RowError(ValueError):
    """Why a row can't be used, as the end of a sentence that starts with its line."""


def read_pairs(file: Path) -> Iterator[Pair | BadRow]:
    """Every row of the file, plain or gzip, one at a time. Raises Invalid when it can't be read to its end."""
    line = 0
    try:
        with _open(file) as source:
            for line, content in enumerate(_lines(source), start=1):
                if content is None or content.strip():
                    yield _row(line, content)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise Invalid(
            f"{file.name} is damaged: its compressed data break off or break down after line {line}."
        ) from None
    except OSError as error:
        raise Invalid(f"{file.name} can't be read: {error.strerror or error}.") from None


def parse_row(content: bytes) -> Pair:
    """Raises ValueError with the reason when the row can't be used."""
    row = _json(content)
    if not isinstance(row, dict):
        raise _RowError("is not a JSON object")
    chosen, rejected = _transcript(row, "chosen"), _transcript(row, "rejected")
    if chosen[:-1] != rejected[:-1]:
        raise _RowError("holds two different conversations: they differ before the last response")
    if chosen[-1] == rejected[-1]:
        raise _RowError("holds the same response twice")
    return Pair(tuple(chosen[:-1]), chosen[-1][1], rejected[-1][1])


def _row(line: int, content: bytes | None) -> Pair | BadRow:
    if content is None:
        return BadRow(line, f"is longer than {LONGEST_LINE:,} bytes")
    try:
        return parse_row(content.removeprefix(b"\xef\xbb\xbf") if line == 1 else content)
    except _RowError as error:
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


def _json(content: bytes) -> object:
    try:
        return json.loads(content.decode("utf-8"))
    except UnicodeDecodeError:
        raise _RowError("is not UTF-8") from None
    except (ValueError, RecursionError):
        raise _RowError("is not JSON") from None


def _transcript(row: dict[str, object], name: str) -> list[Turn]:
    text = row.get(name)
    if not isinstance(text, str):
        raise _RowError(f"has no text under {name!r}")
    text = text.replace("\r\n", "\n")
    if "\0" in text:
        raise _RowError(f"has a NUL character in {name!r}, which no database text can hold")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise _RowError(f"has half a surrogate pair in {name!r}, which is no text")
    return _turns(text, name)


def _turns(text: str, name: str) -> list[Turn]:
    before, *parts = MARKER.split(text)
    if not parts:
        raise _RowError(f"has no 'Human:' and 'Assistant:' in {name!r}")
    if before.strip():
        raise _RowError(f"has text before the first 'Human:' in {name!r}")
    turns: list[Turn] = []
    for speaker, said in zip(parts[::2], parts[1::2], strict=True):
        role, said = ROLES[speaker], said.strip()
        if turns and turns[-1][0] == role:
            turns[-1] = (role, f"{turns[-1][1]}\n\n{said}".strip())
        else:
            turns.append((role, said))
    if turns[0][0] != "user":
        raise _RowError(f"does not start with 'Human:' in {name!r}")
    if turns[-1][0] != "assistant":
        raise _RowError(f"does not end with a response in {name!r}")
    if not turns[-1][1]:
        raise _RowError(f"has an empty response in {name!r}")
    if not all(said for _, said in turns):
        raise _RowError(f"has an empty turn in {name!r}")
    return turns
