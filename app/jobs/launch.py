"""Where a training stage runs: as a child process here, or by the same contract on an engine elsewhere."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from app.jobs.child_environment import allowed
from app.processes import bound_to_us
from training.ending import JOB

Living = Callable[[], Awaitable[Collection[str]]]


class EngineAway(Exception):
    """What runs stages can't be reached, or must not be used as it is; why, in words. What it had may work on."""


@dataclass(frozen=True)
class Launch:
    """One attempt of a stage. Everything it prints is appended to `log`; `token` orders attempts in the same folder.

    `job` names it for whoever looks for it later: the same name until its end was seen, however many attempts that is.
    """

    stage: str
    config: Path
    out: Path
    token: int
    log: Path
    job: str = ""
    gpus: int = 0

    def command(self, program: Sequence[str], *, fence_seconds: float | None = None) -> tuple[str, ...]:
        """What to run: `program` with this stage as the only one in its folder."""
        waits = () if fence_seconds is None else (f"{fence_seconds:g}",)
        fence = ("-m", "app.jobs.fence", str(self.out), str(self.token), *waits, "--")
        return (*fence, *program, self.stage, "--config", str(self.config), "--out", str(self.out))


class Child(Protocol):
    """A stage at work. Exit codes are those of `python -m training`, or minus the signal that ended it; where the
    engine loses them, the stage's own file knows better."""

    is_waiting: bool = False
    """Whether it hasn't begun, for want of room in a cluster."""

    async def wait(self) -> int:
        """Raises EngineAway. Ends soon once this was left, with no meaning."""

    def terminate(self) -> None:
        """Ask it to write a checkpoint and exit with 3."""

    def kill(self) -> None: ...

    def leave(self) -> None:
        """Look away from it: what can't outlive this process ends, else it works on for whoever attaches to it."""
        self.kill()


class Executor(Protocol):
    """`lag_seconds`: how much later than it happened an end is seen, at most."""

    outlives_worker: ClassVar[bool] = False
    lag_seconds: ClassVar[float] = 0.0

    async def start(self, launch: Launch) -> Child:
        """Start it, or attach to what is there under its name. Raises EngineAway."""

    async def sweep(self, prefix: str, living: Living) -> None:
        """End what is called by `prefix` and isn't among the living, who are asked for once all that is there is known:
        what begins meanwhile is none of them. Raises EngineAway."""
        return


@dataclass(frozen=True)
class LocalProcess(Executor):
    """Runs stages as child processes that never outlive the worker, without its secrets and unable to gain rights.

    PASSIVE lets a waiting thread sleep, because a spinning one starves the web server and the database beside it.
    """

    program: tuple[str, ...] = (sys.executable, "-m", "training")
    threads: int | None = None
    processes: int = 1
    device: str = "auto"
    memory_bytes: int | None = None
    environment: tuple[str, ...] = ()
    reward_functions: str = ""

    async def start(self, launch: Launch) -> Child:
        fence = (sys.executable, *launch.command(self.program))
        with launch.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *bound_to_us(fence, gains_rights=False),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment_of_child() | {JOB: launch.job},
                # Ctrl-C in a terminal reaches every process of the group; this one is told by its worker.
                start_new_session=True,
            )
        return _LocalChild(process)

    def environment_of_child(self) -> dict[str, str]:
        """What a process that loads torch gets to see of ours."""
        return {
            **allowed(os.environ, self.environment),
            "PYTHONUNBUFFERED": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "OMP_NUM_THREADS": str(self.threads or os.cpu_count() or 1),
            "PLUMBLINE_PROCESSES": str(self.processes),
            "PLUMBLINE_DEVICE": self.device,
            "PLUMBLINE_MEMORY_BYTES": str(self.memory_bytes or ""),
            "PLUMBLINE_REWARD_FUNCTIONS": self.reward_functions,
        }


class _LocalChild(Child):
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
