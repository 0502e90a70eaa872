"""A JSON list of objects, on one line or on many, alone or as all that an object holds; or objects one after the other.

It is parsed item by item from a window of text, which the standard library's decoder does at the speed of a whole file:
packages that parse events (ijson) are several times slower and give the same.
"""

import codecs
import json
import re
from collections.abc import Iterator
from typing import BinaryIO

from app.services.data.imports.rows import BadRow, RawRow
from app.services.data.imports.sources.bytes import CHUNK, Damaged
from app.services.data.imports.sources.json_lines import LONGEST_LINE, NOT_UTF8, after_marks

BREAKS_OFF = "%(name)s is damaged: its list breaks off after item %(line)s."
# What such an object calls its list.
WRAPPERS = ("data", "rows", "records", "items", "examples", "instances", "train", "results", "annotations")
_WRAPPED = re.compile(rb'\s*\{\s*"(?:%s)"\s*:\s*(?=\[\s*[\]{])' % "|".join(WRAPPERS).encode())
_BLANK = re.compile(r"[ \t\r\n\x1e\ufeff]*")
_SURROGATE = re.compile("[\ud800-\udfff]")


def is_wrapped(head: bytes) -> bool:
    """Whether a file that begins like this is an object around a list."""
    return _WRAPPED.match(after_marks(head)) is not None


def json_list(stream: BinaryIO, *, is_sequence: bool = False) -> Iterator[RawRow | BadRow]:
    """The items, counted from 1; with `is_sequence` objects that nothing but blanks separates. Raises Damaged."""
    window = _Window(stream)
    wrapped = window.pass_by(r'\s*\{\s*"\w+"\s*:\s*(?=\[)') if not is_sequence else False
    if not is_sequence:
        window.pass_by(r"\[")
    number = 0
    while (sign := window.next_sign()) not in ("", "]"):
        number += 1
        yield window.item(number, ends=None if is_sequence else ",]")
        if not is_sequence and (sign := window.next_sign()) != "]":
            if sign != ",":
                raise Damaged(BREAKS_OFF)
            window.position += 1
            if window.next_sign() in ("", "]"):
                raise Damaged(BREAKS_OFF)
    if is_sequence and not sign:
        return
    if sign != "]":
        raise Damaged(BREAKS_OFF)
    window.position += 1
    if wrapped and window.next_sign() == "}":
        window.position += 1
        wrapped = False
    if wrapped or window.next_sign():
        raise Damaged("%(name)s goes on after the end of its list, which has %(line)s items.")


class _Window:
    """The part of the text that is being parsed."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._decode = json.JSONDecoder().raw_decode
        self._text = ""
        self._is_at_end = False
        self.position = 0

    def pass_by(self, pattern: str) -> bool:
        """Go on behind the pattern if it comes next."""
        self.next_sign()
        found = re.compile(pattern).match(self._text, self.position)
        self.position = found.end() if found else self.position
        return found is not None

    def next_sign(self) -> str:
        """What comes next and is no blank, still to be read; empty at the end."""
        while True:
            self.position = _end_of_blanks(self._text, self.position)
            if self.position < len(self._text):
                return self._text[self.position]
            if not self._more():
                return ""

    def item(self, number: int, ends: str | None) -> RawRow | BadRow:
        """The value that comes next; one that the end of the window cuts is parsed again with more of it."""
        while True:
            try:
                value, end = self._decode(self._text, self.position)
            except (ValueError, RecursionError):
                value, end = None, len(self._text)
            else:
                after = _end_of_blanks(self._text, end)
                if after < len(self._text) or self._is_at_end:
                    break
            if len(self._text) - self.position > LONGEST_LINE or not self._more():
                raise Damaged("%(name)s is damaged: what follows item %(line)s of its list is no JSON, or breaks off.")
        if ends is not None and self._text[after : after + 1] not in ends:
            raise Damaged(BREAKS_OFF)
        is_utf8 = self._text.isascii() or not _SURROGATE.search(self._text, self.position, end)
        self.position = end
        if not is_utf8:
            return BadRow(number, None, NOT_UTF8)
        return RawRow(number, value) if isinstance(value, dict) else BadRow(number, None, "is not a JSON object")

    def _more(self) -> bool:
        """Read on, as much as is left over again, so that a long item is not parsed once for every piece of it."""
        if self._is_at_end:
            return False
        self._text = self._text[self.position :]
        self.position = 0
        content = self._stream.read(max(CHUNK, len(self._text)))
        self._is_at_end = not content
        self._text += self._decoder.decode(content, final=self._is_at_end)
        return True


def _end_of_blanks(text: str, position: int) -> int:
    found = _BLANK.match(text, position)
    return found.end() if found else position
