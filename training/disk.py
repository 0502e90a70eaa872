"""A disk that is full, as both sides recognise it. Standard library only."""

import errno
import re
from collections.abc import Iterator

NO_ROOM = 5
"""Exit code of a training process that the disk left no room for; 4 is taken by the fence before it."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# What writes tensors is no Python and raises errors of its own, in which the number stands.
_TOLD = re.compile(r"\b(?:code: |os error )(\d+)\b")


def is_full(error: BaseException) -> bool:
    """Whether there was no room for what was written: on the disk, by a quota, or for a file of that size."""
    return any(_number(each) in _FULL for each in _chain(error))


def _number(error: BaseException) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    told = _TOLD.search(str(error))
    return int(told[1]) if told else None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
