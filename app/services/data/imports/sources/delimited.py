"""CSV and TSV: a header, then a row for each record, which may go over several lines within quotes."""

import codecs
import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO

from app.services.data.imports.rows import BadRow, RawRow
from app.services.data.imports.sources.bytes import Damaged
from app.services.data.imports.sources.json_lines import LONGEST_LINE, NOT_UTF8, lines, too_long

MARK = codecs.BOM_UTF8.decode()
DELIMITERS = {",": "CSV", "\t": "TSV", ";": "CSV", "|": "CSV"}
# What spreadsheets write before the header, to tell one another the delimiter.
TOLD = re.compile(r'"?sep=([,\t;|])"?')
# What makes messages of the objects in a list.
MESSAGE_KEYS = ({"role", "content"}, {"from", "value"})
# Columns that make a table of a file without any delimiter.
ALONE = ("prompt", "question", "instruction", "messages", "conversations")


def delimiter_of(head: bytes) -> str | None:
    """The delimiter of a file that begins like this; None if its first line is no header."""
    first = head.lstrip(b"\r\n" + codecs.BOM_UTF8).partition(b"\n")[0]
    line = first.decode("utf-8", "replace").rstrip("\r")
    if told := TOLD.fullmatch(line):
        return told.group(1)
    if line.startswith("|"):
        return None  # a table of Markdown
    outside = "".join(line.split('"')[::2])
    found, count = max(((sign, outside.count(sign)) for sign in DELIMITERS), key=lambda pair: pair[1])
    if count:
        return found
    return "," if line.strip('" ').lower() in ALONE else None


def delimited(stream: BinaryIO, delimiter: str) -> Iterator[RawRow | BadRow]:
    """Rows by column, counted by the line on which each begins. Raises Damaged for a header that is none."""
    csv.field_size_limit(LONGEST_LINE)
    text = _Text(stream)
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    written, header = _header(reader)
    if not text.is_utf8:
        raise Damaged("%(name)s has a header that is not UTF-8: save it as UTF-8.")
    size = len(header)
    while True:
        text.is_utf8 = text.fits = True
        line = text.line + 1
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield BadRow(line, None, _why(error, text.line - line))
            continue
        if not text.fits:  # its place is held by an empty line
            yield BadRow(line, None, too_long())
        elif not values or [values[0].removeprefix(MARK), *values[1:]] == written:
            continue  # the header again, where files were joined
        elif not text.is_utf8:
            yield BadRow(line, None, NOT_UTF8)
        elif len(values) != size:
            yield BadRow(line, None, f"has {len(values)} values where the header has {size}")
        else:
            yield RawRow(line, dict(zip(header, map(_cell, values), strict=True)))


def _cell(text: str) -> object:
    """What is written; messages, which a table can hold as JSON alone, as the list that they are."""
    if not text.startswith("[") or not ('"role"' in text or '"from"' in text):
        return text
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    is_messages = found and all(
        isinstance(one, dict) and any(keys <= one.keys() for keys in MESSAGE_KEYS) for one in found
    )
    return found if is_messages else text


def _why(error: csv.Error, lines_after: int) -> str:
    if "unexpected end" not in str(error):
        return f"is not CSV: {error}"
    after = "the line after it" if lines_after == 1 else f"the {lines_after} lines after it"
    return "opens a quotation mark that nothing closes" + (f", and so takes in {after}" if lines_after else "")


class _Text:
    """Lines as text, and what was wrong with those that were read since one last looked."""

    def __init__(self, stream: BinaryIO) -> None:
        self._lines = lines(stream)
        self.line = 0
        self._is_beginning = True
        self.is_utf8 = self.fits = True

    def __iter__(self) -> "_Text":
        return self

    def __next__(self) -> str:
        content = next(self._lines)
        self.line += 1
        if content is None:
            self.fits = False
            return "\n"
        while self._is_beginning and content.startswith(codecs.BOM_UTF8):
            content = content.removeprefix(codecs.BOM_UTF8)
        self._is_beginning = self._is_beginning and not content.strip()
        try:
            return content.decode()
        except UnicodeDecodeError:
            self.is_utf8 = False
            return content.decode("utf-8", "replace")


def _header(reader: Iterator[list[str]]) -> tuple[list[str], list[str]]:
    """The header as it is written, and the columns' names. Raises Damaged."""
    try:
        found = next((values for values in reader if values and not values[0].startswith("sep=")), [])
    except csv.Error as error:
        why = "its lines end with CR alone" if "new-line" in str(error) else error
        raise Damaged("%(name)s has no header that can be read: %(why)s.", why=why) from None
    header = [name.strip() or f"column {number}" for number, name in enumerate(found, 1)]
    twice = sorted(name for name, count in Counter(header).items() if count > 1)
    if twice:
        raise Damaged("%(name)s has more than one column %(column)s.", column=twice[0])
    return found, header
