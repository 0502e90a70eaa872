"""Workers to race, stop and kill; each a process of its own."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.db.session import SessionFactory
from app.jobs.context import WorkerContext
from app.jobs.launch import Child, Executor, Launch, LocalProcess
from app.jobs.transactions import Database
from tests.command_line import runner
from tests.jobs import fake_training
from tests.jobs.loop import LEASE_SECONDS, Loop
from tests.jobs.worker_program import FAKE_TRAINING

ROOT = Path(__file__).parents[2]
StartWorker = Callable[[], "subprocess.Popen[bytes]"]
Command = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def context(sessions: SessionFactory, home: Path) -> WorkerContext:
    """A worker without its loops: a test calls what they would call."""
    return make_context(sessions, home)


def make_context(sessions: SessionFactory, home: Path, owner: str = "here") -> WorkerContext:
    stopping = asyncio.Event()
    return WorkerContext(
        database=Database(sessions, stopping=stopping, patience_seconds=2),
        executor=LocalProcess((sys.executable, str(FAKE_TRAINING))),
        home=home,
        owner=owner,
        lease_seconds=LEASE_SECONDS,
        cancel_grace_seconds=2,
        stopping=stopping,
    )


@dataclass(frozen=True)
class InProcess(Executor):
    """Runs the fake stage program right here: for tests of what comes of stages, not of processes."""

    async def start(self, launch: Launch) -> Child:
        return Ended(fake_training.run(launch.stage, launch.config, launch.out))


@dataclass(frozen=True)
class Ended(Child):
    code: int

    async def wait(self) -> int:
        return self.code

    def terminate(self) -> None:
        return

    def kill(self) -> None:
        return


@pytest.fixture
def loop(sessions: SessionFactory, context: WorkerContext) -> Loop:
    return Loop(sessions, context)


@pytest.fixture
def start_worker(home: Path, database_url: str) -> Iterator[StartWorker]:
    """Starts a worker process; whatever is left of them is ended with the test."""
    workers: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        home.mkdir(parents=True, exist_ok=True)
        with (home / f"worker-{len(workers)}.log").open("wb") as log:
            workers.append(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.jobs.worker_program", str(home), database_url, str(LEASE_SECONDS)],
                    cwd=ROOT,
                    stdout=log,
                    stderr=log,
                )
            )
        return workers[-1]

    yield start
    for worker in workers:
        if worker.poll() is None:
            os.kill(worker.pid, signal.SIGCONT)
            worker.kill()
        worker.wait()


@pytest.fixture
def command(
    database_url: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Runs `plumbline ARGUMENTS` on the test's database; exit code and what was printed."""
    plumbline = runner(monkeypatch, capsys)
    environment = {"DATABASE_URL": database_url, "PLUMBLINE_HOME": str(home)}

    async def execute(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        done = await asyncio.to_thread(plumbline, *arguments, **environment)
        return done.code, done.out + done.err

    return execute
