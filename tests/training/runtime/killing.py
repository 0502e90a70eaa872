"""A process that ends at any of the moments at which something of it reaches the disk."""

import os
from collections.abc import Callable, Iterator

import pytest


class Killed(BaseException):
    """No error that anybody catches: nothing that follows is done."""


def kills(work: Callable[[], object]) -> Iterator[int]:
    """Does `work` again and again, killed one flush to disk later each time; yields after every kill, and ends when
    it was done in full."""
    flush = os.fsync
    for survived in range(1000):
        left = survived

        def fsync(descriptor: int) -> None:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            flush(descriptor)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            try:
                work()
            except Killed:
                pass
            else:
                return
        yield survived
    raise AssertionError("it never ends")
