"""A disk that has no room, on any machine and without rights: the kernel refuses to let a file grow."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = Path("/dev/full")
"""Takes no byte, for want of room."""


@contextmanager
def no_room_beyond(size_bytes: int) -> Iterator[None]:
    """No file that this process writes grows past `size_bytes` meanwhile; the log of a test stays far below."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
