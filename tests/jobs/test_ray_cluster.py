"""A real cluster on loopback, which `make ray` installs: what the fake is believed for is true of it."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp

import httpx
import pytest

from app.db.session import SessionFactory
from app.jobs import execution, orphans
from app.jobs.context import WorkerContext
from app.jobs.launch import LocalProcess
from app.jobs.ray import RayJobs
from app.services import cluster
from app.services.loop.runs import launches, leases, runs
from tests.jobs import fake_ray
from tests.jobs.conftest import ROOT, make_context
from tests.jobs.loop import LEASE_SECONDS, Loop
from tests.jobs.test_executors import WAITS, at_work, let_go, processes_of
from tests.jobs.test_runs_on_one_worker import retry
from tests.jobs.test_workers import assert_as_uninterrupted, child_of, is_alive, until_gone
from tests.jobs.worker_program import FAKE_TRAINING

RAY = ROOT / "build/peers/ray/bin/ray"
UP_SECONDS = 300.0
TRIES = 5
AGENTS = ("dashboard-agent-grpc", "dashboard-agent-listen", "metrics-export", "runtime-env-agent")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not RAY.exists(), reason="make ray")]


@dataclass
class Head:
    """A cluster of one node. Its folder is in the command line or the environment of every process of it."""

    folder: Path
    token_file: Path
    port: int
    dashboard: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.dashboard}"

    def start(self) -> None:
        environment = os.environ | {
            # Without this it listens on all interfaces, whatever its address is said to be.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token_file),
            "RAY_TMPDIR": str(self.folder),
            "RAY_USAGE_STATS_ENABLED": "0",
            # On a machine that does other things, too.
            "RAY_DASHBOARD_STARTUP_TIMEOUT_S": f"{UP_SECONDS:.0f}",
            "RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT": f"{UP_SECONDS:.0f}",
            "RAY_agent_register_timeout_ms": f"{1000 * UP_SECONDS:.0f}",
        }
        here = ["--node-ip-address=127.0.0.1", f"--port={self.port}", f"--temp-dir={self.folder}"]
        shown = ["--dashboard-host=127.0.0.1", f"--dashboard-port={self.dashboard}", "--num-cpus=2"]
        # A port that nobody named is waited for, 15 s.
        agents = [f"--{name}-port={free_port()}" for name in AGENTS]
        with (self.folder / "start.log").open("ab") as log:
            command = [str(RAY), "start", "--head", *here, *shown, *agents]
            told = {"env": environment, "stdout": log, "stderr": log, "start_new_session": True}
            # It gives its node 30 s, which a machine that does other things may not keep.
            for _ in range(TRIES):
                if subprocess.run(command, check=False, **told).returncode == 0:  # type: ignore[call-overload]
                    break
                self.kill()
        self.wait_until_up()

    def wait_until_up(self) -> None:
        """Until it has done a job, for which an agent starts after all else."""
        headers = {"Authorization": f"Bearer {self.token_file.read_text()}"}
        deadline = time.monotonic() + UP_SECONDS
        with httpx.Client(base_url=f"{self.url}/api/jobs/", headers=headers, timeout=30, trust_env=False) as client:
            while time.monotonic() < deadline:
                with suppress(httpx.HTTPError):
                    if client.post("", json={"entrypoint": "true"}).is_success:
                        return
                time.sleep(1)
        raise TimeoutError(self.folder)

    def kill(self, *names: str) -> None:
        """The processes whose command line has one of these in it; without names all that there are."""
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                ours = str(self.folder).encode() in (process / "environ").read_bytes() or str(self.folder) in line
                if ours and (not names or any(name in line for name in names)):
                    os.kill(int(process.name), signal.SIGKILL)


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    folder = Path(mkdtemp(prefix="ray-", dir="/tmp"))
    token_file = folder / "token"
    token_file.write_text(fake_ray.TOKEN * 2)
    token_file.chmod(0o600)
    found = Head(folder, token_file, free_port(), free_port())
    try:
        found.start()
        yield found
    finally:
        found.kill()


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@pytest.fixture
def context(head: Head, sessions: SessionFactory, home: Path, monkeypatch: pytest.MonkeyPatch) -> WorkerContext:
    monkeypatch.setattr(execution, "WAIT_SECONDS", 0.0)
    return placed(head, make_context(sessions, home))


def placed(head: Head, context: WorkerContext) -> WorkerContext:
    here = LocalProcess((sys.executable, str(FAKE_TRAINING)))
    return replace(context, elsewhere={"sft": RayJobs(head.url, head.token_file, here, stop_seconds=20)})


@pytest.fixture
def another(head: Head, sessions: SessionFactory, home: Path) -> Loop:
    return Loop(sessions, placed(head, make_context(sessions, home, "another")))


def told(what: str, since: float) -> None:
    sys.stderr.write(f"\n{what}: {time.monotonic() - since:.1f} s\n")


async def test_a_job_is_started_left_at_work_found_again_and_its_model_published(
    loop: Loop, another: Loop, head: Head, home: Path
) -> None:
    assert await cluster.standing(head.url) == "closed"
    run = await loop.queue_sft(await loop.make_project(), **WAITS)
    began = time.monotonic()
    executing = await at_work(loop, run)
    told("from the claim to the second step", began)
    loop.context.stopping.set()
    left = await executing
    assert (left.state, left.attempt, left.launch) == ("queued", 0, 0)
    assert is_alive(child_of(home, run.id))
    let_go(home, run)
    began = time.monotonic()
    done = await another.execute(run)
    told("from the next claim to the end", began)
    assert (done.state, done.attempt) == ("succeeded", 1)
    await assert_as_uninterrupted(loop, done, home)
    assert processes_of(home, run) == 1
    await orphans.look(loop.context)
    (jobs,) = set(loop.context.elsewhere.values())
    assert isinstance(jobs, RayJobs)
    assert await jobs.find(f"{await loop.do(launches.prefix)}{run.id}-0") is None, "nothing of it is kept"


async def test_a_worker_that_lost_the_run_leaves_the_job_to_who_has_it(loop: Loop, another: Loop, home: Path) -> None:
    run = await loop.queue_sft(await loop.make_project(), **WAITS)
    executing = await at_work(loop, run)
    await loop.let_lease_expire(run)
    await loop.do(lambda db: leases.claim(db, run.id, owner="third", lease_seconds=LEASE_SECONDS))
    assert (await executing).lease_owner == "third"
    assert is_alive(child_of(home, run.id))
    await loop.let_lease_expire(run)
    let_go(home, run)
    assert (await another.execute(run)).state == "succeeded"
    assert processes_of(home, run) == 1


async def test_a_cancelled_job_leaves_a_checkpoint_and_goes_on_to_equal_weights(loop: Loop, home: Path) -> None:
    run = await loop.queue_sft(await loop.make_project(), **WAITS)
    executing = await at_work(loop, run)
    began = time.monotonic()
    await loop.do(lambda db: runs.request_cancel(db, None, run))
    assert (await executing).state == "cancelled"
    told("from the wish to cancel to the end", began)
    assert (home / f"runs/{run.id}/stopped").exists(), "it ended by itself"
    await loop.do(lambda db: retry(db, run.id))
    done = await loop.execute(run)
    assert done.state == "succeeded"
    await assert_as_uninterrupted(loop, done, home)


async def test_a_head_that_is_killed_loses_the_job_and_a_new_one_is_given_it_again(
    loop: Loop, head: Head, home: Path
) -> None:
    run = await loop.queue_sft(await loop.make_project(), **WAITS)
    executing = await at_work(loop, run)
    began = time.monotonic()
    head.kill("gcs_server", "dashboard.py")
    await until_gone(child_of(home, run.id))
    told("from the head's end to the stage's", began)
    head.kill()
    head.start()
    left = await executing
    assert (left.state, left.attempt) == ("queued", 0)
    assert "knows nothing of the job any more" in (left.error or "")
    let_go(home, run)
    done = await asyncio.wait_for(loop.execute(run), timeout=300)
    assert (done.state, done.attempt, done.launch) == ("succeeded", 1, 1)
    await assert_as_uninterrupted(loop, done, home)
