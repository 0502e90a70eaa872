"""JSON Lines: an object in each line. A byte order mark, CRLF and empty lines are no matter."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import BinaryIO

from pydantic_core import from_json

from app.services.data.imports.rows import BadRow, RawRow

LONGEST_LINE = 16 * 2**20
MARKS = re.compile(rb"(?:[\s\x1e]|%s)+" % codecs.BOM_UTF8)
NOT_UTF8 = "is not UTF-8 (Latin-1 or Windows-1252, perhaps)"


def json_lines(stream: BinaryIO) -> Iterator[RawRow | BadRow]:
    """Each line that isn't empty."""
    line = 0
    for content in lines(stream):
        line += 1
        try:
            fields = from_json(content or b"", cache_strings="keys")
        except ValueError:
            # What the quick parser refuses: empty lines, marks, half characters, and what is wrong.
            row = _unusual(line, content)
            if row is not None:
                yield row
            continue
        yield RawRow(line, fields) if type(fields) is dict else BadRow(line, None, "is not a JSON object")


def lines(stream: BinaryIO) -> Iterator[bytes | None]:
    """Lines with their ends, and None for one that is too long to hold in memory."""
    while content := stream.readline(LONGEST_LINE):
        if len(content) < LONGEST_LINE or content.endswith(b"\n"):
            yield content
            continue
        while content and not content.endswith(b"\n"):
            content = stream.readline(LONGEST_LINE)
        yield None


def after_marks(content: bytes) -> bytes:
    """Without what may stand before a row and says nothing: blanks, byte order marks of files that were joined, and the
    record separators of JSON text sequences."""
    start = MARKS.match(content)
    return content[start.end() :] if start else content


def too_long() -> str:
    """Why a row isn't held."""
    return f"is longer than {LONGEST_LINE:,} bytes"


def _unusual(line: int, content: bytes | None) -> RawRow | BadRow | None:
    if content is None:
        return BadRow(line, None, too_long())
    content = after_marks(content.strip())
    if not content:
        return None
    try:
        fields = json.loads(content.decode())
    except UnicodeDecodeError:
        return BadRow(line, None, NOT_UTF8)
    except (ValueError, RecursionError):
        return BadRow(line, None, "is not JSON")
    return RawRow(line, fields) if isinstance(fields, dict) else BadRow(line, None, "is not a JSON object")
