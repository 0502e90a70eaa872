"""The real stages of training, each in a process of its own that finds torch already loaded."""

import asyncio
from dataclasses import dataclass
from multiprocessing.process import BaseProcess

from app.jobs.launch import Child, Executor, Launch
from tests.training import toy


@dataclass(frozen=True)
class Forked(Executor):
    """The real stages without the seconds that each of their commands takes to load torch."""

    async def start(self, launch: Launch) -> Child:
        return ForkedChild(toy.child(launch.stage, launch.config, launch.out))


@dataclass(frozen=True)
class ForkedChild(Child):
    process: BaseProcess

    async def wait(self) -> int:
        code = await asyncio.to_thread(toy.exit_code, self.process)
        assert code is not None
        return code

    def terminate(self) -> None:
        self.process.terminate()

    def kill(self) -> None:
        self.process.kill()
