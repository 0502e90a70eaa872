"""What is done to a site: each blow heals what it does, so that what is left is the site's own to mend.

Nothing here needs rights that the site's own account hasn't. The database's clock is not moved, nor are those that only
count on.
"""

import os
import random
import resource
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psycopg

from bench.footprint import Role, processes_of, servers_of
from bench.soak_crowd import Line
from bench.soak_site import LEASE_SECONDS, SoakedSite

CHILD_SECONDS = 30
"""How long a blow waits for a training process to be there."""
SMALL_FILE_BYTES = 20_000
_HOUR, _DAY = 3_600, 86_400
FAR = {"an hour on": _HOUR, "an hour back": -_HOUR, "forty days on": 40 * _DAY, "forty days back": -40 * _DAY}


@dataclass(frozen=True)
class Arm:
    """What blows are dealt with."""

    soaked: SoakedSite
    line: Line
    draw: random.Random


Blow = Callable[[Arm], str | None]
"""Deals a blow and says what was done, None where there was nothing to hit."""


def _killer(role: Role) -> Blow:
    def kill(arm: Arm) -> str | None:
        pid = _one(arm, role)
        return None if pid is None else _sent(pid, signal.SIGKILL)

    return kill


def _pauser(role: Role, shortest: float, longest: float) -> Blow:
    def pause(arm: Arm) -> str | None:
        pid, seconds = _one(arm, role), arm.draw.uniform(shortest, longest)
        if pid is None:
            return None
        with _stopped([pid]):
            time.sleep(seconds)
        return f"process {pid} for {seconds:.0f} s"

    return pause


def _kill_database(arm: Arm) -> str | None:
    """Kill the server, or one of its processes, after which it recovers by itself."""
    servers = sorted(servers_of(arm.soaked.home))
    if not servers:
        return None
    pid = servers[0] if arm.draw.random() < 0.5 else arm.draw.choice(servers)
    return _sent(pid, signal.SIGKILL)


def _pause_database(arm: Arm) -> str | None:
    seconds = arm.draw.uniform(3, 12)
    servers = servers_of(arm.soaked.home)
    if not servers:
        return None
    with _stopped(servers):
        time.sleep(seconds)
    return f"{len(servers)} processes for {seconds:.0f} s"


def _end_connections(arm: Arm) -> str:
    ended = arm.soaked.asked(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    return f"{len(ended)} connections to the database"


def _cut_line(arm: Arm) -> str:
    cut = 0
    for _ in range(20):
        cut += arm.line.cut()
        time.sleep(arm.draw.uniform(0.05, 0.5))
    return f"{cut} sockets of people"


def _shorten_disk(arm: Arm) -> str:
    """Take so much of the disk that less than the reserve is free."""
    ballast, seconds = arm.soaked.home / "ballast", arm.draw.uniform(8, 20)
    with ballast.open("wb") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, arm.soaked.ballast_bytes)
            time.sleep(seconds)
        finally:
            ballast.unlink()
    return f"{arm.soaked.ballast_bytes / 1e9:.0f} GB for {seconds:.0f} s"


def _fill_disk(arm: Arm) -> str | None:
    """No file of a worker or of a training process grows past a few kB: the kernel refuses."""
    seconds = arm.draw.uniform(5, 15)
    pids = [*processes_of(arm.soaked.home, "worker"), *processes_of(arm.soaked.home, "training")]
    with _no_room(pids):
        time.sleep(seconds)
    # Those that were started meanwhile have their starter's limit.
    _give_room([*processes_of(arm.soaked.home, "worker"), *processes_of(arm.soaked.home, "training")])
    return f"{len(pids)} processes for {seconds:.0f} s"


def _move_clock(arm: Arm) -> str | None:
    if arm.soaked.clock.file is None:
        return None
    far, seconds = arm.draw.choice(list(FAR)), arm.draw.uniform(8, 20)
    with arm.soaked.clock.off_by(FAR[far]):
        time.sleep(seconds)
        date = arm.soaked.date()
    return f"{far}, {date}, for {seconds:.0f} s"


BLOWS: Mapping[str, Blow] = {
    "web killed": _killer("web"),
    "web paused": _pauser("web", 3, 15),
    "worker killed": _killer("worker"),
    "worker paused": _pauser("worker", 5, 2.5 * LEASE_SECONDS),
    "training killed": _killer("training"),
    "training paused": _pauser("training", 3, 15),
    "database killed": _kill_database,
    "database paused": _pause_database,
    "connections ended": _end_connections,
    "line cut": _cut_line,
    "disk short": _shorten_disk,
    "disk full": _fill_disk,
    "clock moved": _move_clock,
}


def order(draw: random.Random) -> Iterator[str]:
    """All kinds in turn, each turn in an order of its own."""
    while True:
        yield from draw.sample(list(BLOWS), len(BLOWS))


def _one(arm: Arm, role: Role) -> int | None:
    """A process of the role; of workers rather the one that has a run."""
    deadline = time.monotonic() + (CHILD_SECONDS if role == "training" else 0)
    while not (found := sorted(processes_of(arm.soaked.home, role))) and time.monotonic() < deadline:
        time.sleep(0.1)
    if role == "worker" and found and arm.draw.random() < 0.7:
        with suppress(psycopg.Error):
            owners = arm.soaked.asked("SELECT lease_owner FROM runs WHERE state = 'running'")
            busy = [pid for pid in found if any(str(owner).endswith(f":{pid}") for (owner,) in owners)]
            found = busy or found
    if role == "training":
        time.sleep(arm.draw.uniform(0, 4))
        found = sorted(processes_of(arm.soaked.home, role)) or found
    return arm.draw.choice(found) if found else None


def _sent(pid: int, number: signal.Signals) -> str | None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return None
    return f"process {pid}"


@contextmanager
def _stopped(pids: list[int]) -> Iterator[None]:
    try:
        for pid in pids:
            _sent(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            _sent(pid, signal.SIGCONT)


@contextmanager
def _no_room(pids: list[int]) -> Iterator[None]:
    try:
        for pid in pids:
            _limit(pid, SMALL_FILE_BYTES)
        yield
    finally:
        _give_room(pids)


def _give_room(pids: list[int]) -> None:
    for pid in pids:
        _limit(pid, None)


def _limit(pid: int, size_bytes: int | None) -> None:
    with suppress(ProcessLookupError):
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if size_bytes is None else size_bytes, hard))
