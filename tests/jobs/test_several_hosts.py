"""What workers on machines of their own can't do to one another, and do all the same."""

import asyncio
import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.db.session import create_engine, session_factory
from app.jobs.fence import take
from app.jobs.held_lease import HeldLease
from app.jobs.metrics_tail import Look, MetricsTail
from app.jobs.pausing import first_of
from app.jobs.room import keep_watch
from app.services import disk
from app.services.disk import Room
from tests.jobs.conftest import make_context
from tests.jobs.loop import Loop
from training.records import Message, PromptRecord, read_records, write_records

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
SECONDS = 20


async def test_a_worker_that_alone_has_lost_the_database_gives_its_run_up_once_another_wants_the_folder(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "runs/1"
    folder.mkdir(parents=True)
    context = make_context(session_factory(create_engine(NOWHERE)), tmp_path)
    lease = HeldLease(context, run_id=1, token=1, tail=MetricsTail(folder / "metrics.jsonl"))
    async with lease.kept():
        await asyncio.sleep(3 * context.pulse_seconds)
        assert not lease.lost.is_set(), "the database alone is no reason"
        await asyncio.to_thread(take, folder, 2)
        async with asyncio.timeout(SECONDS):
            await lease.lost.wait()


async def test_a_folder_of_the_network_that_is_away_for_a_moment_ends_neither_run_nor_worker(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, away = MetricsTail.look, [OSError(errno.ESTALE, "Stale file handle") for _ in range(2)]

    def away_at_first(tail: MetricsTail) -> Look:
        if away:
            raise away.pop()
        return look(tail)

    monkeypatch.setattr(MetricsTail, "look", away_at_first)
    run = await loop.execute(await loop.queue_sft(await loop.make_project(), steps=4, step_seconds=0.5))
    assert (run.state, run.attempt, run.step, away) == ("succeeded", 1, 4, [])
    found = iter([OSError(errno.ESTALE, "Stale file handle"), Room(0, 1)])

    def seen(*_: object) -> Room:
        if isinstance(room := next(found), OSError):
            raise room
        return room

    monkeypatch.setattr(disk, "look", seen)
    monkeypatch.setattr("app.jobs.room.LOOK_SECONDS", 0.01)
    watching = asyncio.create_task(keep_watch(loop.context))
    await first_of(watching, loop.context.short_of_room)
    loop.context.stopping.set()
    await watching


def test_two_processes_of_the_same_number_write_one_file_without_mixing_it(tmp_path: Path) -> None:
    """Both may be process 1, each of its own container; here both are this one."""
    path = tmp_path / "prompts.jsonl"
    slow, quick = (
        [PromptRecord(f"{name} {n}", (Message("user", "Why?"),)) for n in range(3)] for name in ("slow", "quick")
    )

    def while_another_writes() -> Iterator[PromptRecord]:
        yield slow[0]
        write_records(path, quick)
        yield from slow[1:]

    write_records(path, while_another_writes())
    assert read_records(path, PromptRecord) == slow
    assert [entry.name for entry in tmp_path.iterdir()] == ["prompts.jsonl"]
