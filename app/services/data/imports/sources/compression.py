"""What is compressed with gzip, bzip2, xz or zstd, in one member or in many.

The standard library's own files forgive what must not be forgiven here: those of bzip2 and xz pass over whatever
follows a member and isn't one, be it the next member with a broken first byte.
"""

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable
from typing import BinaryIO, Protocol

from app.services.data.imports.sources.bytes import CHUNK, Damaged, buffered, require_bounded

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MOST_XZ_MEMORY = 256 * 2**20


class Member(Protocol):
    """What unpacks one member, as the standard library has it for most."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """zlib's object, which leaves it to its caller to keep what doesn't fit, made like the others."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        self._is_full = False

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def needs_input(self) -> bool:
        return not self._is_full and not self._inflate.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        content = self._inflate.decompress(self._inflate.unconsumed_tail + data, max_length)
        self._is_full = len(content) == max_length
        return content


def _xz() -> Member:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MOST_XZ_MEMORY)


# By name for people and first bytes.
COMPRESSIONS: tuple[tuple[str, bytes, Callable[[], Member]], ...] = (
    ("gzip", b"\x1f\x8b", _Gzip),
    ("bzip2", b"BZh", bz2.BZ2Decompressor),
    ("xz", b"\xfd7zXZ\0", _xz),
    ("zstd", b"\x28\xb5\x2f\xfd", zstd.ZstdDecompressor),
)
BROKEN = (zlib.error, lzma.LZMAError, zstd.ZstdError, OSError, EOFError)


def compression_of(head: bytes) -> str | None:
    """The compression that a file which begins like this has, if any."""
    return next((name for name, magic, _ in COMPRESSIONS if head.startswith(magic)), None)


def unpacked(packed: BinaryIO, compression: str) -> BinaryIO:
    """All members' contents in one stream, whose reader gets Damaged where they break off or down."""
    make = next(make for name, _, make in COMPRESSIONS if name == compression)
    return buffered(_Members(packed, make).read)


class _Members:
    def __init__(self, packed: BinaryIO, make: Callable[[], Member]) -> None:
        self._packed = packed
        self._make = make
        self._member: Member | None = make()
        self._input = b""
        self._packed_bytes = self._unpacked_bytes = 0

    def read(self, size: int) -> bytes:
        while (member := self._member or self._next_member()) is not None:
            content = self._decompressed(member, size)
            if member.eof:
                self._member, self._input = None, member.unused_data
            if content:
                self._unpacked_bytes += len(content)
                require_bounded(self._packed_bytes, self._unpacked_bytes)
                return content
        return b""

    def _next_member(self) -> Member | None:
        """None at the end; zeros after a member are padding."""
        while not (rest := self._input.lstrip(b"\0")) and (more := self._more()):
            self._input = more
        self._input = rest
        self._member = self._make() if rest else None
        return self._member

    def _more(self) -> bytes:
        more = self._packed.read(CHUNK)
        self._packed_bytes += len(more)
        return more

    def _decompressed(self, member: Member, size: int) -> bytes:
        data, self._input = self._input, b""
        if not data and member.needs_input:
            data = self._more()
            if not data:
                raise Damaged("%(name)s is damaged: its compressed data break off after row %(line)s.")
        try:
            return member.decompress(data, size)
        except BROKEN:
            raise Damaged("%(name)s is damaged: its compressed data break down after row %(line)s.") from None
