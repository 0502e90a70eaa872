"""Every way in which a stage can end, and a worker with it: what becomes of the run, and what people read of it."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.away import AWAY
from app.db.session import SessionFactory, TransactionLost, create_engine, session_factory
from app.db.tables import Completion, Run
from app.jobs import reaper, worker
from app.jobs.fence import SUPERSEDED
from app.jobs.launch import Child, Executor, Launch, LocalProcess
from app.jobs.transactions import Database
from app.services.loop.runs import leases, runs
from app.settings import PREFIX
from tests.jobs.conftest import Ended, InProcess
from tests.jobs.loop import LEASE_SECONDS, Loop

NEVER_DONE = 99
MANIFEST = b'{"format": 1, "kind": "policy", "files": {}, "lineage": {}}'


@dataclass(frozen=True)
class Ends(Executor):
    """A stage that prints, leaves files and ends with an exit code."""

    code: int
    prints: bytes = b""
    leaves: dict[str, bytes] = field(default_factory=dict)

    async def start(self, launch: Launch) -> Child:
        with launch.log.open("ab") as log:
            log.write(self.prints)
        for name, content in self.leaves.items():
            (launch.out / name).parent.mkdir(exist_ok=True)
            (launch.out / name).write_bytes(content)
        return Ended(self.code)


@dataclass
class Endless(Executor, Child):
    """A stage that works until it is killed, and heeds nobody who asks."""

    started: asyncio.Event = field(default_factory=asyncio.Event)
    killed: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self, launch: Launch) -> Child:
        self.started.set()
        return self

    async def wait(self) -> int:
        await self.killed.wait()
        return -9

    def terminate(self) -> None:
        return

    def kill(self) -> None:
        self.killed.set()


class Nowhere(Executor):
    async def start(self, launch: Launch) -> Child:
        raise FileNotFoundError("no such program")


async def ended(loop: Loop, run: Run, executor: Any) -> Run:
    loop.context = replace(loop.context, executor=executor)
    return await loop.execute(run)


async def test_every_exit_code_is_told_in_words_that_say_what_to_do(loop: Loop) -> None:
    project = await loop.make_project()
    said = b"Loading.\nno space left on device \xff\x00\n\n  \n"
    for executor, state, error in (
        (Ends(1, said), "queued", "no space left on device \ufffd\ufffd"),
        (Ends(1), "queued", "The training process failed without a word."),
        (Ends(1, b"x" * 9_999), "queued", "x" * 500),
        (Ends(-9, said), "queued", "The training process was killed (signal 9), by hand or because memory ran out."),
        (Ends(-15), "queued", "The training process was ended by signal 15."),
        (Ends(3), "queued", "The training process was stopped from outside."),
        (Ends(0), "queued", "The training process ended well and left no result."),
        (Ends(2, said), "failed", "no space left on device \ufffd\ufffd"),
        (Nowhere(), "queued", "FileNotFoundError: no such program"),
    ):
        run = await loop.queue_sft(project)
        found = await ended(loop, run, executor)
        assert (found.state, found.error, found.attempt) == (state, error, 1), executor
        await loop.do(lambda db, run=run: db.execute(update(Run).where(Run.id == run.id).values(max_attempts=2)))  # type: ignore[misc]
        if state == "queued":
            last = await ended(loop, run, executor)
            assert (last.state, last.error) == ("failed", f"Tried 2 times. The last time: {error}"), executor


async def test_the_last_words_are_those_of_this_attempt(loop: Loop, home: Path) -> None:
    run = await loop.queue_sft(await loop.make_project())
    assert (await ended(loop, run, Ends(1, b"first words\n"))).error == "first words"
    assert (await ended(loop, run, Ends(1))).error == "The training process failed without a word."
    log = (home / f"runs/{run.id}/log.txt").read_text()
    assert log == "Attempt 1 of 3\nfirst words\nAttempt 2 of 3\n"


async def test_what_can_not_be_trusted_is_thrown_away_and_made_again(loop: Loop, home: Path) -> None:
    project = await loop.make_project()
    manifest = "artifact/manifest.json"
    for result, model, reason in (
        (b"{", MANIFEST, "is not JSON."),
        (b"[]", MANIFEST, "is not a JSON object."),
        (b"{}", b"{}", "manifest"),
        (b"{}", MANIFEST.replace(b"policy", b"reward"), "holds a reward model."),
    ):
        run = await loop.queue_sft(project)
        broken = await ended(loop, run, Ends(0, leaves={"result.json": result, manifest: model}))
        assert broken.state == "queued"
        assert reason in (broken.error or "")
        assert not (home / f"runs/{run.id}/result.json").exists()
        assert not (home / f"runs/{run.id}/artifact").exists()
        assert (await ended(loop, run, InProcess())).state == "succeeded"


async def test_completions_that_break_off_are_written_again_and_none_is_lost_or_doubled(loop: Loop) -> None:
    project = await loop.make_project(prompts=2, samples_per_prompt=2)
    await ended(loop, await loop.queue_sft(project), InProcess())
    (run,) = await loop.do(leases.waiting)
    leaves = {"result.json": b"{}", "completions.jsonl": b'{"prompt_id": "1", "samp'}
    broken = await ended(loop, run, Ends(0, leaves=leaves))
    assert (broken.state, (broken.error or "").startswith("The completions can't be read:")) == ("queued", True)
    assert (await ended(loop, run, InProcess())).state == "succeeded"
    assert await loop.do(lambda db: db.scalar(select(func.count()).select_from(Completion))) == 4


async def test_a_worker_whose_run_was_given_to_another_kills_its_process_and_changes_nothing(loop: Loop) -> None:
    run = await loop.queue_sft(await loop.make_project())
    stage = Endless()
    loop.context = replace(loop.context, executor=stage)
    slow = asyncio.create_task(loop.execute(run))
    await stage.started.wait()
    await loop.let_lease_expire(run)
    token = await loop.do(lambda db: leases.claim(db, run.id, owner="another", lease_seconds=LEASE_SECONDS))
    assert token == 2
    async with asyncio.timeout(10):
        left = await slow
    assert stage.killed.is_set()
    assert (left.state, left.lease_owner, left.lease_token, left.error) == ("running", "another", 2, None)


async def test_a_process_that_was_superseded_leaves_the_run_to_whoever_has_it(loop: Loop) -> None:
    run = await ended(loop, await loop.queue_sft(await loop.make_project()), Ends(SUPERSEDED))
    assert (run.state, run.lease_owner, run.error) == ("running", "here", None)


async def test_a_run_that_is_to_be_cancelled_is_killed_when_it_does_not_heed(loop: Loop) -> None:
    run = await loop.queue_sft(await loop.make_project())
    stage = Endless()
    loop.context = replace(loop.context, executor=stage, cancel_grace_seconds=0.05)
    slow = asyncio.create_task(loop.execute(run))
    await stage.started.wait()
    await loop.do(lambda db: runs.request_cancel(db, None, run))
    async with asyncio.timeout(10):
        assert ((await slow).state, stage.killed.is_set()) == ("cancelled", True)


async def test_a_run_whose_steps_are_long_is_given_the_time_to_write_its_checkpoint(loop: Loop, home: Path) -> None:
    run = await loop.queue_sft(await loop.make_project(), steps=50, step_seconds=0.4)
    loop.context = replace(loop.context, cancel_grace_seconds=0.01)
    slow = asyncio.create_task(loop.execute(run))
    await loop.until_at_work(run)
    checkpoints = home / f"runs/{run.id}/checkpoints"
    (checkpoints / ".00000001.part").mkdir()
    (checkpoints / ".00000001.part" / "tensors.safetensors").write_text("half")
    await loop.do(lambda db: runs.request_cancel(db, None, run))
    assert (await slow).state == "cancelled"
    # Killed within a step, the process would leave the checkpoint of the one before.
    assert json.loads((checkpoints / "state.json").read_text())["step"] == (await loop.steps_of(run))[-1]
    assert [path.name for path in checkpoints.iterdir()] == ["state.json"], "half a checkpoint is of no use"
    assert (home / f"runs/{run.id}/stopped").exists(), "it ended by itself"


async def test_a_run_in_its_first_step_says_that_it_heard_and_is_given_the_time_to_end_it(
    loop: Loop, home: Path
) -> None:
    """How long a step takes is told by the one before, of which there is none."""
    run = await loop.queue_sft(await loop.make_project(), steps=50, step_seconds=1.5)
    loop.context = replace(loop.context, cancel_grace_seconds=0.3)
    slow = asyncio.create_task(loop.execute(run))
    folder = home / f"runs/{run.id}"
    async with asyncio.timeout(20):
        while "runs as" not in (log.read_text() if (log := folder / "log.txt").exists() else ""):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await loop.do(lambda db: runs.request_cancel(db, None, run))
    assert (await slow).state == "cancelled"
    assert json.loads((folder / "checkpoints" / "state.json").read_text())["step"] == 1
    assert (folder / "stopped").exists(), "it ended by itself"
    assert not (folder / "stopping").exists()


async def test_while_another_worker_looks_around_this_one_leaves_everything_alone(loop: Loop, db: AsyncSession) -> None:
    run = await loop.queue_sft(await loop.make_project())
    await loop.do(lambda own: leases.claim(own, run.id, owner="gone", lease_seconds=LEASE_SECONDS))
    await loop.let_lease_expire(run)
    await loop.forget_jobs()
    await db.execute(select(func.pg_advisory_xact_lock(reaper.REAPER_LOCK)))
    await reaper.look_around(loop.context)
    assert ((await loop.read(run)).state, await loop.waiting_jobs()) == ("running", set())
    await db.rollback()
    await reaper.look_around(loop.context)
    assert ((await loop.read(run)).state, await loop.waiting_jobs()) == ("queued", {f"run:{run.id}"})
    assert (await loop.read(run)).error == "The worker was lost."


async def test_watch_is_kept_until_the_worker_is_asked_to_stop(loop: Loop) -> None:
    run = await loop.queue_sft(await loop.make_project())
    await loop.forget_jobs()
    watch = asyncio.create_task(reaper.keep_watch(loop.context))
    async with asyncio.timeout(10):
        while not await loop.waiting_jobs():  # noqa: ASYNC110 - another task does it
            await asyncio.sleep(0.01)
        loop.context.stopping.set()
        await watch
    assert await loop.waiting_jobs() == {f"run:{run.id}"}


def broken(*, times: int, by: Exception) -> tuple[Callable[[AsyncSession], Any], list[int]]:
    """Work that fails so often, and its tries."""
    tries: list[int] = []

    async def work(db: AsyncSession) -> str:
        tries.append(len(tries))
        if len(tries) <= times:
            raise by
        return "done"

    return work, tries


@pytest.fixture
def nowhere() -> SessionFactory:
    """Sessions that never get as far as their server."""
    return session_factory(create_engine("postgresql://nobody@127.0.0.1:1/nothing"))


async def test_work_is_done_again_until_the_database_is_back(nowhere: SessionFactory) -> None:
    database = Database(nowhere, stopping=asyncio.Event(), patience_seconds=60)
    work, tries = broken(times=2, by=TransactionLost("gone"))
    assert await database.run(work) == "done"
    assert len(tries) == 3


async def test_work_is_given_up_once_patience_is_over_and_at_once_when_the_mistake_is_its_own(
    nowhere: SessionFactory,
) -> None:
    for database in (
        Database(nowhere, stopping=asyncio.Event(), patience_seconds=0.05),
        Database(nowhere, stopping=asyncio.Event(), patience_seconds=60),
    ):
        work, tries = broken(times=NEVER_DONE, by=ValueError("wrong"))
        with pytest.raises(ValueError, match="wrong"):
            await database.run(work)
        assert len(tries) == 1
    work, tries = broken(times=NEVER_DONE, by=TransactionLost("gone"))
    with pytest.raises(TransactionLost):
        await Database(nowhere, stopping=asyncio.Event(), patience_seconds=0.05).run(work)
    assert len(tries) == 2
    with pytest.raises(TransactionLost):
        await database.once(work)
    assert len(tries) == 3
    with pytest.raises(AWAY):
        await database.once(lambda db: db.execute(text("SELECT 1")))


async def test_a_stage_gets_its_words_its_threads_and_a_log_that_is_added_to(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import json, os, sys\n"
        "names = ('OMP_NUM_THREADS', 'OMP_WAIT_POLICY', 'PYTHONUNBUFFERED')\n"
        "print(json.dumps([sys.argv[1:], [os.environ[name] for name in names], sys.stdin.read()]))\n"
        "sys.exit(7)\n"
    )
    log = tmp_path / "log.txt"
    log.write_text("before\n")
    launch = Launch("sft", tmp_path / "config.json", tmp_path / "out", 1, log)
    child = await LocalProcess(("python", str(program)), threads=3).start(launch)
    assert await child.wait() == 7
    child.terminate()  # of one that has ended, nothing comes
    child.kill()
    first, said = log.read_text().splitlines()
    stage = ["sft", "--config", str(launch.config), "--out", str(launch.out)]
    assert (first, json.loads(said)) == ("before", [stage, ["3", "PASSIVE", "1"], ""])


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("PLUMBLINE_PORT", "8400", "DATABASE_URL is not set"), (f"{PREFIX}PROT", "1", "PLUMBLINE_PROT is not a setting")],
)
def test_a_worker_that_was_started_wrongly_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    assert worker.main() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(said)
