"""Bytes on their way: counted, looked at before they are read, and kept in a file where they have to be read twice."""

import io
import tempfile
from collections.abc import Callable
from typing import BinaryIO, cast

from app.errors import Invalid

HEAD = 64 * 2**10
CHUNK = 256 * 2**10
LARGEST_SPOOLED = 16 * 2**30
LARGEST_UNPACKED = 64 * 2**30
# What people write packs to a tenth, tables of few values to a fiftieth. What swells more, and is large, was made to.
MOST_SWELLING = 200
MAY_SWELL_BYTES = 64 * 2**20


class Damaged(Exception):
    """A file breaks off or down. `template` is a sentence in which `%(name)s` stands for it and `%(line)s` for the last
    row that could be read; whoever knows both fills them in."""

    def __init__(self, template: str, **named: object) -> None:
        super().__init__(template)
        self.template = template
        self.named = named


class Enough(Exception):
    """So much was read as may be looked at."""


def require_bounded(packed_bytes: int, unpacked_bytes: int) -> None:
    """Raises Damaged for what was made to fill memory, disk or time: far more came out than was read."""
    if unpacked_bytes > LARGEST_UNPACKED:
        raise Damaged("%(name)s unpacks to more than %(most)s GiB.", most=LARGEST_UNPACKED // 2**30)
    if unpacked_bytes > max(MAY_SWELL_BYTES, MOST_SWELLING * packed_bytes):
        raise Damaged("%(name)s unpacks to more than %(times)s times its size.", times=MOST_SWELLING)


class Reader(io.RawIOBase):
    """A stream that comes from a function, which gives at most as many bytes as it is asked for and none at the end."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        content = self._read(len(buffer))
        buffer[: len(content)] = content
        return len(content)


def buffered(read: Callable[[int], bytes]) -> BinaryIO:
    """What `read` gives, as a file."""
    return cast(BinaryIO, io.BufferedReader(Reader(read), CHUNK))


def bounded(stream: BinaryIO, left: list[int]) -> BinaryIO:
    """A stream that ends with Enough once none of `left` bytes are left, which several streams may share."""

    def read(size: int) -> bytes:
        if left[0] <= 0:
            raise Enough
        content = stream.read(min(size, left[0]))
        left[0] -= len(content)
        return content

    return buffered(read)


def looked_at(stream: BinaryIO) -> tuple[bytes, BinaryIO]:
    """The first bytes of a stream, and a stream that has all of it still."""
    head = b""
    while len(head) < HEAD and (more := stream.read(HEAD - len(head))):
        head += more
    left = [head]

    def read(size: int) -> bytes:
        if not left[0]:
            return stream.read(size)
        content, left[0] = left[0][:size], left[0][size:]
        return content

    return head, buffered(read)


def spooled(stream: BinaryIO, name: str) -> BinaryIO:
    """A stream's bytes in a file without a name, which can be read in any order and goes when it is closed."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - its reader closes it
    left = LARGEST_SPOOLED
    try:
        while content := stream.read(min(CHUNK, left + 1)):
            left -= len(content)
            if left < 0:
                raise Invalid("%(name)s is larger than what can be kept aside to be read.", name=name)
            file.write(content)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return cast(BinaryIO, file)
