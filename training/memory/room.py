"""The memory that a process may take: what is free on the machine and in its control group, and a bound on it."""

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEMORY_BYTES = "PLUMBLINE_MEMORY_BYTES"
"""What a process may take in all, in the place of what is found."""
NO_MEMORY = 6
"""Exit code of a training process that memory ran out for; 5 is that of a full disk."""
_GROUPS = Path("/sys/fs/cgroup")
# What allocates tensors is no Python and raises errors of its own, of which these are words.
_TOLD = ("can't allocate memory", "cannot allocate memory", "out of memory", "not enough memory", "bad_alloc")


def told_bytes() -> int | None:
    """What this process was told that it may take in all; None where it wasn't."""
    told = os.environ.get(MEMORY_BYTES, "").strip()
    return int(told) if told.isdecimal() else None


@contextmanager
def held_to(limit_bytes: int | None) -> Iterator[None]:
    """Let nothing be allocated past the limit: whoever tries meets an error, and neighbours never feel it.

    Counted is what is written to and is nobody else's (`RLIMIT_DATA`), which is near what is resident; addresses that
    are only reserved and files that are mapped, of which libraries have gigabytes, aren't.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if limit_bytes is not None and hard != resource.RLIM_INFINITY:
        limit_bytes = min(limit_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft if limit_bytes is None else limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def is_out(error: BaseException | None) -> bool:
    """Whether there was no memory left for what was allocated, on the host or on a device."""
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
            return True
        if isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _TOLD):
            return True
        error = error.__cause__ or error.__context__
    return False


def free_bytes(*, groups: Path = _GROUPS, meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """What this process may take in all, what it has already included; None where nobody knows."""
    told = told_bytes()
    if told is not None:
        return told
    own = _own_bytes()
    found = [free + own for free in (_of_machine(meminfo), _of_group(groups)) if free is not None]
    return min(found) if found else None


def total_bytes(*, groups: Path = _GROUPS) -> int:
    """What this process could take at most if nothing else ran."""
    told = told_bytes()
    if told is not None:
        return told
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = (groups / "memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return machine
    return min(machine, int(limit)) if limit.isdecimal() else machine


def _of_machine(meminfo: Path) -> int | None:
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _of_group(groups: Path) -> int | None:
    """By control groups of version 2, in a container of its own; what can be given back at once counts as free."""
    try:
        limit = (groups / "memory.max").read_text(encoding="ascii").strip()
        taken = int((groups / "memory.current").read_text(encoding="ascii"))
        kinds = dict(line.split() for line in (groups / "memory.stat").read_text(encoding="ascii").splitlines())
    except (OSError, ValueError):
        return None
    return int(limit) - taken + int(kinds.get("inactive_file", 0)) if limit.isdecimal() else None


def _own_bytes() -> int:
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
