"""Where a training stage runs: today a child process, behind the interface that a cluster will fill."""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from app.jobs.child_environment import allowed
from app.processes import bound_to_us


@dataclass(frozen=True)
class Launch:
    """One attempt of a stage. Everything it prints is appended to `log`; `token` orders attempts in the same folder."""

    stage: str
    config: Path
    out: Path
    token: int
    log: Path


class Child(Protocol):
    """A stage at work. Exit codes are those of `python -m training`, or minus the signal that ended it."""

    async def wait(self) -> int: ...

    def terminate(self) -> None:
        """Ask it to write a checkpoint and exit with 3."""

    def kill(self) -> None: ...


class Executor(Protocol):
    async def start(self, launch: Launch) -> Child: ...


@dataclass(frozen=True)
class LocalProcess:
    """Runs stages as child processes that never outlive the worker, without its secrets and unable to gain rights.

    PASSIVE lets a waiting thread sleep, because a spinning one starves the web server and the database beside it.
    """

    program: tuple[str, ...] = (sys.executable, "-m", "training")
    threads: int | None = None
    device: str = "auto"
    memory_bytes: int | None = None
    environment: tuple[str, ...] = ()
    reward_functions: str = ""

    async def start(self, launch: Launch) -> Child:
        stage = (*self.program, launch.stage, "--config", str(launch.config), "--out", str(launch.out))
        fence = (sys.executable, "-m", "app.jobs.fence", str(launch.out), str(launch.token), "--", *stage)
        with launch.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *bound_to_us(fence, gains_rights=False),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment_of_child(),
                # Ctrl-C in a terminal reaches every process of the group; this one is told by its worker.
                start_new_session=True,
            )
        return _LocalChild(process)

    def environment_of_child(self) -> dict[str, str]:
        """What a process that loads torch gets to see of ours."""
        threads = self.threads or os.cpu_count() or 1
        return {
            **allowed(os.environ, self.environment),
            "PYTHONUNBUFFERED": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "OMP_NUM_THREADS": str(threads),
            "PLUMBLINE_DEVICE": self.device,
            "PLUMBLINE_MEMORY_BYTES": str(self.memory_bytes or ""),
            "PLUMBLINE_REWARD_FUNCTIONS": self.reward_functions,
        }


class _LocalChild:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def wait(self) -> int:
        return await self._process.wait()

    def terminate(self) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
