"""A file, a pipe or an upload as rows: what it is packed in and written as is found out from its first bytes."""

import io
import os
import stat
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, cast

from app.errors import Invalid
from app.services.data.imports.rows import BadRow, Raw, RawRow
from app.services.data.imports.sources import archive, json_list, parquet, refused
from app.services.data.imports.sources.bytes import Damaged, Enough, bounded, buffered, looked_at, spooled
from app.services.data.imports.sources.compression import compression_of, unpacked
from app.services.data.imports.sources.delimited import DELIMITERS, delimited, delimiter_of
from app.services.data.imports.sources.json_lines import after_marks, json_lines

STANDARD_INPUT = Path("-")

Rows = Iterator[RawRow | BadRow]


class Source:
    """What is read once, from its beginning to its end, in bounded memory; never opened twice.

        with Source.open(path) as source:
            recognition = recognise(source.sample(50))
            for row in read(source.rows(), form, columns): ...

    `called` is its name for people; `packed` (gzip, zip, …) and `written` (JSON Lines, CSV, …) are what it turned out
    to be. `size_bytes` is what it takes as packed; None for a pipe. With `most_bytes` the rows end where so much was
    read or unpacked: for whoever looks at the first ones alone.
    """

    def __init__(
        self, stream: BinaryIO, name: str, size_bytes: int | None = None, *, most_bytes: int | None = None
    ) -> None:
        """Raises Invalid for what isn't read, with the name of what it is. The stream is closed with the source."""
        self.called = shown(name)
        self.size_bytes = size_bytes
        self.packed: str | None = None
        self.written = ""
        self._stream = stream
        self._closing = ExitStack()
        self._closing.callback(stream.close)
        self._counted_bytes = 0
        self._is_read = False
        self._left = None if most_bytes is None else [most_bytes]
        try:
            self._rows = self._guarded(self._opened())
            self._closing.callback(self._rows.close)
            self._sampled: list[RawRow | BadRow] = []
            self._look()
        except BaseException:
            self._closing.close()
            raise

    @classmethod
    def open(cls, path: Path) -> Self:
        """`-` is standard input. Raises Invalid with the reason when it can't be opened or isn't read."""
        is_standard = path == STANDARD_INPUT
        name = "standard input" if is_standard else path.name
        try:
            stream = io.FileIO(os.dup(sys.stdin.fileno()) if is_standard else path)
            about = os.fstat(stream.fileno())
            is_whole = stat.S_ISREG(about.st_mode) and stream.tell() == 0
        except OSError as error:
            raise Invalid("%(name)s can't be read: %(why)s.", name=shown(name), why=error.strerror or error) from None
        return cls(cast(BinaryIO, stream), name, about.st_size if is_whole else None)

    @property
    def read_bytes(self) -> int:
        """How much of `size_bytes` was read so far."""
        if self.size_bytes is None:
            return self._counted_bytes
        return self.size_bytes if self._is_read else min(self._stream.tell(), self.size_bytes)

    def sample(self, count: int) -> Sequence[Raw]:
        """The first good rows, for `recognise`; `rows` gives them again."""
        good = sum(isinstance(row, RawRow) for row in self._sampled)
        while good < count and (row := next(self._rows, None)) is not None:
            self._sampled.append(row)
            good += isinstance(row, RawRow)
            if len(self._sampled) >= 20 * count:
                break
        return [row.fields for row in self._sampled if isinstance(row, RawRow)][:count]

    def rows(self) -> Rows:
        """All rows, once. Raises Invalid where the file breaks off or down: nothing of it may be kept then."""
        sampled, self._sampled = self._sampled, []
        return chain(sampled, self._rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    def _look(self) -> None:
        """Read up to the first row, so that what isn't read is refused at once."""
        first = next(self._rows, None)
        if first is not None:
            self._sampled.append(first)

    def _guarded(self, rows: Rows) -> Generator[RawRow | BadRow, None, None]:
        """Rows as they come, with a reason that names the file where they don't."""
        line = 0
        try:
            for row in rows:
                line = row.line
                yield row
            self._is_read = True
        except Enough:
            return
        except Damaged as damage:
            raise Invalid(damage.template, **damage.named, name=self.called, line=f"{line:,}") from None
        except OSError as error:
            raise Invalid("%(name)s can't be read: %(why)s.", name=self.called, why=error.strerror or error) from None

    def _opened(self) -> Rows:
        head, stream = looked_at(self._bounded(buffered(self._counted)))
        compression = compression_of(head)
        if compression is not None:
            self.packed = compression
            head, stream = looked_at(self._bounded(unpacked(stream, compression)))
        if head.startswith(archive.MAGIC):
            self.packed = "zip" if compression is None else f"zip, {compression}"
            yield from self._of_archive(self._whole(stream, compression))
        else:
            yield from self._of_file(head, stream, compression)

    def _of_archive(self, file: BinaryIO) -> Rows:
        """The rows of all files, counted on from one to the next."""
        offset = 0
        for name, stream in archive.files_of(file, self.called):
            head, stream = looked_at(self._bounded(stream))
            compression = compression_of(head)
            if compression is not None:
                head, stream = looked_at(self._bounded(unpacked(stream, compression)))
            last = 0
            for row in self._of_file(head, stream, compression or "zip"):
                last = row.line
                if isinstance(row, RawRow):
                    yield RawRow(offset + last, row.fields) if offset else row
                else:
                    yield BadRow(offset + last, row.field, f"{row.reason} (row {last} of {shown(name)})")
            offset += last

    def _of_file(self, head: bytes, stream: BinaryIO, compression: str | None) -> Rows:
        if compression_of(head) is not None or head.startswith(archive.MAGIC):
            raise Invalid("%(name)s is packed twice: unpack it once.", name=self.called)
        if head.startswith(parquet.MAGIC):
            self.written = "Parquet"
            return parquet.parquet_rows(self._whole(stream, compression))
        sentence = refused.why_not(head)
        if sentence is not None:
            raise Invalid(sentence, name=self.called)
        self.written, rows = _text_rows(head, stream)
        return rows

    def _whole(self, stream: BinaryIO, compression: str | None) -> BinaryIO:
        """The same bytes, to be read in any order: the file itself, where it is one."""
        if compression is None and self.size_bytes is not None:
            self._stream.seek(0)
            return self._stream
        file = spooled(stream, self.called)
        self._closing.callback(file.close)
        return file

    def _bounded(self, stream: BinaryIO) -> BinaryIO:
        return stream if self._left is None else bounded(stream, self._left)

    def _counted(self, size: int) -> bytes:
        content = self._stream.read(size)
        self._counted_bytes += len(content)
        return content


def shown(name: str) -> str:
    """A file's name as text, which it need not be: bytes that are no UTF-8 are escaped, control characters too."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def _text_rows(head: bytes, stream: BinaryIO) -> tuple[str, Rows]:
    """How a text is written, and its rows."""
    text = after_marks(head)
    first = text.partition(b"\n")[0].strip()
    if text.startswith(b"[") or json_list.is_wrapped(head):
        return "JSON", json_list.json_list(stream)
    if first == b"{":
        return "JSON", json_list.json_list(stream, is_sequence=True)
    delimiter = None if text.startswith(b"{") else delimiter_of(head)
    if delimiter is not None:
        return DELIMITERS[delimiter], delimited(stream, delimiter)
    return "JSON Lines", json_lines(stream)
