"""What a running site holds: processes by role with their memory and files, connections, temporary and shared files."""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psycopg

from app.db.orphans import servers_in
from bench.invariants import Violation

Role = Literal["web", "worker", "training"]

WORDS: dict[Role, str] = {"web": "uvicorn app.web.main", "worker": "app.jobs.worker", "training": " -m training "}
FENCE = "app.jobs.fence"  # names the training process that it is about to become
STARTERS = ("setpriv", "/bin/bash")
SHARED = re.compile(r"/dev/shm/\S+")  # noqa: S108 - looked at, not written
OUT = re.compile(r"--out (\S+)")

# How much more than after warm-up is no leak: caches fill, pools grow to their size.
MEMORY_FACTOR, MEMORY_MORE_MB = 1.5, 60
FILES_MORE = 40
CONNECTIONS_MORE = 25
TEMPORARY_MORE = 5


@dataclass(frozen=True)
class Footprint:
    """The largest process of each role counts: `memory_mb` resident, `files` open. `connections` are all of the
    database's, `temporary` entries of the folder for temporary files, `parts` files that somebody began to write."""

    memory_mb: dict[Role, float]
    files: dict[Role, int]
    connections: int
    temporary: int
    parts: int


@dataclass
class SharedMemory:
    """Files under /dev/shm that processes of the site were seen to hold."""

    seen: set[str] = field(default_factory=set)

    def look(self, home: Path) -> None:
        self.seen |= _shared_of(home)

    def left(self, home: Path) -> set[str]:
        """Those that are still there although nobody holds them."""
        held = _shared_of(home)
        return {path for path in self.seen - held if Path(path).exists()}


def processes_of(home: Path, role: Role) -> dict[int, str]:
    """Pid and command of the home's processes of a role, the fences of training left out."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            is_its = str(home) in command or f"PLUMBLINE_HOME={home}\0".encode() in (process / "environ").read_bytes()
            if is_its and WORDS[role] in command and FENCE not in command and not command.startswith(STARTERS):
                found[int(process.name)] = command
    return found


def servers_of(home: Path) -> list[int]:
    """Pids of the embedded database's processes."""
    return servers_in(home.resolve() / "postgres" / "data")


def take(home: Path, url: str) -> Footprint:
    memory: dict[Role, float] = {}
    files: dict[Role, int] = {}
    roles: tuple[Role, ...] = ("web", "worker")
    for role in roles:
        for pid in processes_of(home, role):
            with suppress(OSError):
                memory[role] = max(memory.get(role, 0.0), _resident_mb(pid))
                files[role] = max(files.get(role, 0), sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()))
    with psycopg.connect(url) as connection:
        (connections,) = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        ).fetchone() or (0,)
    return Footprint(memory, files, connections, len(list((home / "tmp").glob("*"))), len(parts_of(home)))


def parts_of(home: Path) -> list[Path]:
    """What was begun and is in no place yet: half-written files, and folders on their way."""
    names = ("*.part", ".*.part", "*.new")
    folders = [home / name for name in ("models", "runs", "datasets", "logs", "projects")]
    return [path for folder in folders for name in names for path in folder.rglob(name)]


def leaks(warm: Footprint, now: Footprint) -> Iterator[Violation]:
    """What has grown past its bound."""
    for role, memory_mb in now.memory_mb.items():
        bound = MEMORY_FACTOR * warm.memory_mb.get(role, memory_mb) + MEMORY_MORE_MB
        if memory_mb > bound:
            yield Violation("no leak", f"a {role} process holds {memory_mb:.0f} MB, bound {bound:.0f}", f"{role}.log")
    for role, files in now.files.items():
        if files > warm.files.get(role, files) + FILES_MORE:
            yield Violation("no leak", f"a {role} process has {files} files open, {warm.files[role]} before", role)
    if now.connections > warm.connections + CONNECTIONS_MORE:
        seen = f"{now.connections} connections to the database, {warm.connections} before"
        yield Violation("no leak", seen, "pg_stat_activity")
    if now.temporary > warm.temporary + TEMPORARY_MORE:
        yield Violation("no leak", f"{now.temporary} temporary entries, {warm.temporary} before", "tmp")


def doubles(home: Path) -> Iterator[Violation]:
    """Two training processes in one folder."""
    at_work: dict[str, list[int]] = {}
    for pid, command in processes_of(home, "training").items():
        out = OUT.search(command)
        if out is not None:
            at_work.setdefault(out[1], []).append(pid)
    for folder, pids in at_work.items():
        if len(pids) > 1:
            yield Violation("no stale publication", f"processes {pids} train in one folder", folder)


def _resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


def _shared_of(home: Path) -> set[str]:
    roles: tuple[Role, ...] = ("web", "worker", "training")
    pids = [*servers_of(home), *(pid for role in roles for pid in processes_of(home, role))]
    found: set[str] = set()
    for pid in pids:
        with suppress(OSError):
            found |= set(SHARED.findall(Path(f"/proc/{pid}/maps").read_text()))
    return {path for path in found if not path.endswith("(deleted)")}
