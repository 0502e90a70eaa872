"""The memory that a process may take: what is free on the machine and in its control group."""

import os
from pathlib import Path

MEMORY_BYTES = "PLUMBLINE_MEMORY_BYTES"
"""What a process may take in all, in the place of what is found."""
_GROUPS = Path("/sys/fs/cgroup")


def free_bytes(*, groups: Path = _GROUPS, meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """What this process may take in all, what it has already included; None where nobody knows."""
    told = os.environ.get(MEMORY_BYTES, "").strip()
    if told.isdecimal():
        return int(told)
    own = _own_bytes()
    found = [free + own for free in (_of_machine(meminfo), _of_group(groups)) if free is not None]
    return min(found) if found else None


def total_bytes(*, groups: Path = _GROUPS) -> int:
    """What this process could take at most if nothing else ran."""
    told = os.environ.get(MEMORY_BYTES, "").strip()
    if told.isdecimal():
        return int(told)
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
