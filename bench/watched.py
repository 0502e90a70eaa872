"""A training program watched from outside: what each of its updates took, by the lines that it appends to a file."""

import ctypes
import itertools
import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

POLL_SECONDS = 0.005
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Update:
    """From the line before to its own."""

    seconds: float
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Watched:
    updates: Sequence[Update]
    """All but the first, which holds the start and the warming up."""
    lines: Sequence[Mapping[str, object]]
    peak_mib: float
    other_cores: float
    """Of the machine, that something else kept busy from the first line to the last."""


@dataclass(frozen=True, slots=True)
class _Moment:
    seconds: float
    cpu_seconds: float
    machine_seconds: float
    peak_mib: float


def watch(command: Sequence[str], environment: Mapping[str, str], lines: Path, log: Path) -> Watched:
    """Run the command to its end. Raises `SystemExit` with what it said last, if it fails."""
    with log.open("wb") as said:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=said)
        try:
            moments = _moments(process, lines)
            if process.wait() != 0:
                raise SystemExit(log.read_text(errors="replace")[-2000:])
        finally:
            process.kill()
            process.wait()
    first, last = moments[0], moments[-1]
    machine, own = last.machine_seconds - first.machine_seconds, last.cpu_seconds - first.cpu_seconds
    return Watched(
        updates=[
            Update(after.seconds - before.seconds, after.cpu_seconds - before.cpu_seconds)
            for before, after in itertools.pairwise(moments)
        ],
        lines=[json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()],
        peak_mib=last.peak_mib,
        other_cores=max(0.0, machine - own) / (last.seconds - first.seconds),
    )


def _moments(process: subprocess.Popen[bytes], lines: Path) -> list[_Moment]:
    clock = _cpu_clock(process.pid)
    moments: list[_Moment] = []
    size = 0
    while process.poll() is None:
        now = lines.stat().st_size if lines.exists() else 0
        if now > size:
            size = now
            moments.append(
                _Moment(time.perf_counter(), time.clock_gettime(clock), _machine_seconds(), _peak_mib(process.pid))
            )
        time.sleep(POLL_SECONDS)
    return moments


def _cpu_clock(pid: int) -> int:
    """The clock of all threads of a process, in nanoseconds where /proc counts hundredths."""
    clock = ctypes.c_int()
    error = ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock))
    if error:
        raise OSError(error, os.strerror(error))
    return clock.value


def _machine_seconds() -> float:
    """Of all cores, neither idle nor waiting for a disk; what the host took away counts as busy."""
    user, nice, system, _idle, _iowait, interrupts, soft, stolen = (
        int(field) for field in Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")


def _peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
