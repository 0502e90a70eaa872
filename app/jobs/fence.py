"""`python -m app.jobs.fence FOLDER TOKEN [SECONDS] -- COMMAND …`: become COMMAND, as the only process that works in
FOLDER.

A worker that was paused and is taken for dead leaves a training process that is alive. Two of them in one folder would
mix their checkpoints, so a training process holds a lock on its folder for as long as it lives (a record lock, which an
exec keeps and any kind of death frees), and whoever comes with a newer token kills the holder. A process whose token
is older than one that has been here steps aside. A holder on another machine can't be killed from here: it is waited
for, SECONDS at most.
"""

import fcntl
import os
import resource
import signal
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path

from app.processes import give_way
from training.disk import NO_ROOM, is_full

SUPERSEDED = 4
"""Exit code of a process whose token is out of date."""

LOCK = "lock"
NICENESS = 5
FIRST_TO_GO = "500"
"""Added to what the kernel makes of a process when memory runs out: before the site, the worker and the database."""
PATIENCE_SECONDS = 30.0
POLL_SECONDS = 0.01

# struct flock: type, whence, start, length, process.
_FLOCK = struct.Struct("hhqqi")

# Two bytes of the lock file, far behind its content. At the door it is decided who is next; who has the room works.
_DOOR = 1_000
_ROOM = 1_001


class Superseded(Exception):
    """A newer attempt of the same run has the folder."""


class FolderBusy(Exception):
    """Whoever holds the folder can't be ended from here."""


def main(arguments: list[str]) -> int:
    """Returns an exit code only when the command could not be become."""
    end = arguments.index("--")
    (folder, token, *seconds), command = arguments[:end], arguments[end + 1 :]
    try:
        take(Path(folder), int(token), *map(float, seconds))
    except Superseded:
        return SUPERSEDED
    except FolderBusy:
        sys.stderr.write(f"{folder} is in use by a process that can't be ended from here\n")
        return 1
    except OSError as error:
        if not is_full(error):
            raise
        sys.stderr.write("No room on the disk for the run's folder\n")
        return NO_ROOM
    give_way(NICENESS)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO, encoding="ascii")
    # A core file would hold a model and people's texts.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return os.execvp(command[0], command)  # noqa: S606 - becoming the command is the point


def newest(folder: Path) -> int:
    """The newest token of those that have been in `folder` or wait at its door; 0 where none has."""
    try:
        return int((folder / LOCK).read_bytes() or b"0")
    except OSError:
        return 0


def take(folder: Path, token: int, patience_seconds: float = PATIENCE_SECONDS) -> None:
    """Lock `folder` for the life of this process. Raises Superseded, FolderBusy."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    os.set_inheritable(lock, True)  # closing it, on exec too, would give the lock away
    deadline = time.monotonic() + patience_seconds
    while not _take_byte(lock, _DOOR):
        _wait(deadline)
    try:
        _register(lock, token)
        while not _take_byte(lock, _ROOM):
            _end_holder(lock)
            _wait(deadline)
    finally:
        fcntl.lockf(lock, fcntl.LOCK_UN, 1, _DOOR)


def _take_byte(lock: int, byte: int) -> bool:
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _wait(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise FolderBusy
    time.sleep(POLL_SECONDS)


def _register(lock: int, token: int) -> None:
    if int(os.pread(lock, 20, 0) or b"0") > token:
        raise Superseded
    os.pwrite(lock, f"{token:020}".encode(), 0)


def _end_holder(lock: int) -> None:
    """Kill whoever has the room, if it is of this machine. The handle makes sure that it is still the same process."""
    holder = _holder(lock)
    with suppress(ProcessLookupError, PermissionError):
        if holder > 0:
            handle = os.pidfd_open(holder)
            try:
                if _holder(lock) == holder:
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
            finally:
                os.close(handle)


def _holder(lock: int) -> int:
    """Process id of the room's holder as the kernel knows it; 0 for none or one beyond this machine."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _ROOM, 1, 0)
    kind, _, _, _, process = _FLOCK.unpack(fcntl.fcntl(lock, fcntl.F_GETLK, asked))
    return 0 if kind == fcntl.F_UNLCK else int(process)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
