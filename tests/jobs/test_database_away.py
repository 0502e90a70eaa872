"""The database dies while a stage trains: the training process doesn't notice, and nothing that it did is lost."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.db import migrate
from app.db.embedded import EmbeddedPostgres
from tests.jobs.conftest import StartWorker
from tests.jobs.loop import LOOK_SECONDS, Loop
from tests.jobs.test_workers import assert_as_uninterrupted, child_of, is_alive

SLOW = {"steps": 12, "step_seconds": 0.4}


@pytest.fixture
def server() -> Iterator[EmbeddedPostgres]:
    """A server that this test may kill."""
    home = Path(tempfile.mkdtemp(prefix="plumbline-away-"))
    server = EmbeddedPostgres(home, durable=False)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(home)


@pytest.fixture
def database_url(server: EmbeddedPostgres) -> str:
    migrate.upgrade(server.url)
    return server.url


async def test_a_training_run_outlives_a_killed_database(
    server: EmbeddedPostgres, loop: Loop, start_worker: StartWorker, home: Path
) -> None:
    worker = start_worker()
    run = await loop.queue_sft(await loop.make_project(), **SLOW)
    before = await loop.until_at_work(run, step=2)
    child = child_of(home, run.id)
    assert server._server is not None
    os.kill(server._server.pid, signal.SIGKILL)
    while lines_of(home, run.id) < before.step + 3:  # noqa: ASYNC110 - written by another process
        await asyncio.sleep(LOOK_SECONDS)
    assert is_alive(child)
    server.restart()
    done = await loop.until_over(run)
    assert (done.state, done.attempt, done.lease_token) == ("succeeded", 1, before.lease_token)
    assert child_of(home, run.id) == child
    await assert_as_uninterrupted(loop, done, home)
    # The worker goes on taking jobs.
    following = await loop.queue_sft(await loop.make_project())
    assert (await loop.until_over(following)).state == "succeeded"
    assert worker.poll() is None


def lines_of(home: Path, run_id: int) -> int:
    return (home / f"runs/{run_id}/metrics.jsonl").read_bytes().count(b"\n")
