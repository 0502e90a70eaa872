"""Servers that still work on data whose owner was killed."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

ORPHAN_SECONDS = 7


def end_orphans(data: Path) -> None:
    """Ends what an owner that was killed left running on these data, and removes its pid file.

    PostgreSQL itself would trust that file: the pid of a zombie, or one that a restart of the machine gave to
    somebody else, keeps it from starting. We go by who really works in the data directory.
    """
    pid_file = data / "postmaster.pid"
    with suppress(FileNotFoundError, ValueError, IndexError):
        postmaster = int(pid_file.read_text().splitlines()[0])
        if postmaster in servers_in(data):
            _signal(postmaster, signal.SIGINT)
    deadline = time.monotonic() + ORPHAN_SECONDS
    while (left := servers_in(data)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in left:
        _signal(pid, signal.SIGKILL)
    while servers_in(data):
        time.sleep(0.05)
    pid_file.unlink(missing_ok=True)


def servers_in(data: Path) -> list[int]:
    """Processes of PostgreSQL that work in `data`. A zombie works nowhere."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").readlink() == data and (process / "exe").readlink().name.startswith("postgres"):
                found.append(int(process.name))
    return found


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
