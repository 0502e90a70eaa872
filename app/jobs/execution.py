"""One run from claim to end. The run's row says what is true; this does the work and writes only with its token."""

import asyncio
import os
import shutil
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app import traces
from app.db.away import AWAY
from app.db.tables import Project, Run
from app.errors import DomainError, NoRoom
from app.jobs import inputs, needed, outcomes
from app.jobs.attendance import attend
from app.jobs.context import WorkerContext
from app.jobs.fence import SUPERSEDED
from app.jobs.held_lease import HeldLease
from app.jobs.launch import EngineAway, Launch
from app.jobs.long_stages import RunHold
from app.jobs.metrics_tail import MetricsTail
from app.jobs.outcomes import BrokenOutcome
from app.jobs.room import WAIT_SECONDS, WAITING
from app.jobs.transactions import at_length
from app.jobs.watched import Unwanted, Watched
from app.jobs.work import work_of
from app.services.loop.runs import launches, leases
from app.services.loop.runs.leases import LeaseLost
from app.services.loop.runs.runs import LOG
from app.services.loop.stages.registry import STAGES
from app.services.loop.stages.stage import End, LongStage, Outcome, WatchedStage, WorkerStage
from app.services.loop.storable import storable
from app.services.published.bucket import Away
from training.disk import NO_ROOM, is_full
from training.ending import Ending
from training.memory.room import NO_MEMORY

METRICS = "metrics.jsonl"
DONE, BAD_INPUT, STOPPED = 0, 2, 3
KILLED = -9

STOPPED_WORKER = "The worker was stopped."
ERROR_BYTES = 500
LAST_WORDS_BYTES = 65_536

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Claimed:
    """A run that this worker holds, as it was when it was claimed."""

    run: Run
    project: Project
    token: int


async def execute(context: WorkerContext, run_id: int) -> None:
    """Claim the run and bring it as far as it goes. Does nothing when it is over or somebody else's."""
    claimed = await context.database.run(lambda db: _claim_or_put_off(db, context, run_id))
    if claimed is None:
        return
    run = claimed.run
    stage = traces.span(
        f"stage {run.stage}", plumbline__run_id=run.id, plumbline__stage=run.stage, plumbline__attempt=run.attempt
    )
    with structlog.contextvars.bound_contextvars(run_id=run.id, stage=run.stage, attempt=run.attempt):
        try:
            with stage:
                await _perform(context, claimed)
        except LeaseLost:
            log.warning("lease_lost")
        except AWAY:
            raise  # the lease runs out, and whoever is there then takes the run up again
        except Away as error:
            await _wait_for_storage(context, claimed, error.message)
        except NoRoom:
            await _wait_for_room(context, claimed, WAITING)
        except DomainError as error:
            await _finish(context, claimed, "failed", error=error.message)
        except Exception as error:
            if is_full(error):
                await _wait_for_room(context, claimed, WAITING)
                return
            log.exception("run_broke")
            await _give_back(context, claimed, error=f"{type(error).__name__}: {error}")


async def _claim_or_put_off(db: AsyncSession, context: WorkerContext, run_id: int) -> Claimed | None:
    """None, too, for a run that there is no room for."""
    if context.short_of_room.is_set():
        stage = await db.scalar(select(Run.stage).where(Run.id == run_id))
        if stage is not None and STAGES[stage].fills_disk:
            await leases.put_off(db, run_id, error=WAITING, wait_seconds=WAIT_SECONDS)
            return None
    return await _claim(db, context, run_id)


async def _claim(db: AsyncSession, context: WorkerContext, run_id: int) -> Claimed | None:
    token = await leases.claim(db, run_id, owner=context.owner, lease_seconds=context.lease_seconds)
    if token is None:
        return None
    run = await db.get_one(Run, run_id, populate_existing=True)
    return Claimed(run, await db.get_one(Project, run.project_id), token)


async def _perform(context: WorkerContext, claimed: Claimed) -> None:
    stage = STAGES[claimed.run.stage]
    if isinstance(stage, WorkerStage):
        await context.database.run(at_length(lambda db: _do(db, context, claimed, stage)))
    elif isinstance(stage, WatchedStage):
        await _do_watched(context, claimed, stage)
    elif isinstance(stage, LongStage):
        await _do_for_long(context, claimed, stage)
    else:
        await _train(context, claimed)


async def _do(db: AsyncSession, context: WorkerContext, claimed: Claimed, stage: WorkerStage) -> None:
    """In the transaction that also finishes the run, so that it happens once and in full or not at all."""
    work = await work_of(db, context.home, await leases.hold(db, claimed.run.id, claimed.token))
    result = await stage.perform(work)
    await leases.finish(db, claimed.run.id, claimed.token, "succeeded", result=result)


async def _do_watched(context: WorkerContext, claimed: Claimed, stage: WatchedStage) -> None:
    assert claimed.run.folder is not None
    progress = context.home / claimed.run.folder / "metrics.jsonl"
    progress.parent.mkdir(parents=True, exist_ok=True)
    lease = HeldLease(context, claimed.run.id, claimed.token, MetricsTail(progress))
    try:
        async with lease.kept(), needed.at_hand(context, claimed.run.id, lease):
            watch = Watched(context, lease, progress, fills_disk=stage.fills_disk)
            work = at_length(lambda db: _do_in_view(db, context, claimed, stage, watch))
            end = await context.database.run(work)
        for leftover in end.leftovers:
            (context.home / leftover).unlink(missing_ok=True)
    except Unwanted:
        wanted = not (lease.cancel_requested.is_set() or context.stopping.is_set())
        if wanted and stage.fills_disk and context.short_of_room.is_set():
            await _wait_for_room(context, claimed, WAITING)
        else:
            await _leave(context, claimed, lease)


async def _do_in_view(
    db: AsyncSession, context: WorkerContext, claimed: Claimed, stage: WatchedStage, watch: Watched
) -> End:
    """In one transaction; the row of the run is locked only at its end, so that the lease can be kept until then."""
    run = await db.get_one(Run, claimed.run.id, populate_existing=True)
    end = await stage.perform(await work_of(db, context.home, run), watch)
    await leases.hold(db, run.id, claimed.token)
    state: leases.FinalState = "succeeded" if end.error is None else "failed"
    await leases.finish(db, run.id, claimed.token, state, result=end.result, error=end.error)
    return end


async def _do_for_long(context: WorkerContext, claimed: Claimed, stage: LongStage) -> None:
    """Over many transactions, each of which moves the run on for good."""
    assert claimed.run.folder is not None
    folder = context.home / claimed.run.folder
    folder.mkdir(parents=True, exist_ok=True)
    lease = HeldLease(context, claimed.run.id, claimed.token, MetricsTail(folder / METRICS))
    try:
        async with lease.kept(), needed.at_hand(context, claimed.run.id, lease):
            hold = RunHold(context, claimed.run, claimed.token, lease)
            ending = await stage.perform(hold)
            if ending is None:
                await _leave(context, claimed, lease)
            else:
                await hold.end(ending)
    except Unwanted:
        await _leave(context, claimed, lease)


async def _train(context: WorkerContext, claimed: Claimed) -> None:
    assert claimed.run.folder is not None
    folder = context.home / claimed.run.folder
    folder.mkdir(parents=True, exist_ok=True)
    lease = HeldLease(context, claimed.run.id, claimed.token, MetricsTail(folder / METRICS))
    try:
        async with lease.kept(), AsyncExitStack() as held:
            # An earlier attempt may have got as far as the result and no further.
            found = await outcomes.read(context.home, claimed.project, claimed.run)
            found = found or await _made(context, claimed, lease, folder, held)
            if found is not None:
                await _take_over(context, claimed, lease, found)
    except Unwanted:
        await _leave(context, claimed, lease)
    except BrokenOutcome as error:
        reason = error.message
        await context.database.run(lambda db: _throw_away(db, context, claimed, reason))


async def _take_over(context: WorkerContext, claimed: Claimed, lease: HeldLease, outcome: Outcome) -> None:
    """Raises LeaseLost, BrokenOutcome, Away."""
    await lease.catch_up()
    await asyncio.to_thread(outcomes.publish, context.home, outcome)
    if outcome.manifest is not None:
        context.storage_waits.end()
    await context.database.run(lambda db: outcomes.take_over(db, context.home, claimed.run.id, claimed.token, outcome))


async def _leave(context: WorkerContext, claimed: Claimed, lease: HeldLease) -> None:
    """What becomes of a run that wasn't to go on before its stage began. Raises LeaseLost."""
    if lease.cancel_requested.is_set():
        await _finish(context, claimed, "cancelled")
    elif context.stopping.is_set():
        await _give_back(context, claimed, error=STOPPED_WORKER, counts=False)
    else:
        raise LeaseLost


async def _made(
    context: WorkerContext, claimed: Claimed, lease: HeldLease, folder: Path, held: AsyncExitStack
) -> Outcome | None:
    """What the stage left, None where it didn't do what it was for and that is settled. Raises BrokenOutcome."""
    await held.enter_async_context(needed.at_hand(context, claimed.run.id, lease))
    config = await inputs.prepare(context, claimed.run, claimed.token)
    await held.enter_async_context(needed.at_hand(context, claimed.run.id, lease))  # what was cut by now
    job = await context.database.run(lambda db: launches.name_of(db, claimed.run))
    stage = claimed.run.stage
    launch = Launch(stage, config, folder, claimed.token, folder / LOG, job, gpus=context.gpus)
    log_start = _announce_attempt(launch.log, claimed.run)
    try:
        ending = await attend(context, lease, launch)
    except EngineAway as away:
        await _let_go(context, claimed, lease, str(away), wait_seconds=WAIT_SECONDS)
        return None
    await lease.catch_up()
    if ending is None:
        await _let_go(context, claimed, lease, STOPPED_WORKER)
        return None
    if ending.code != DONE:
        await asyncio.to_thread(_sweep, folder)
    if ending.code != DONE or lease.cancel_requested.is_set():
        await _settle(context, claimed, lease, ending, log_start)
        return None
    outcome = await outcomes.read(context.home, claimed.project, claimed.run)
    if outcome is None:
        raise BrokenOutcome("The training process ended well and left no result.")
    return outcome


async def _throw_away(db: AsyncSession, context: WorkerContext, claimed: Claimed, reason: str) -> None:
    """Remove a result that can't be trusted and let the stage run again; under the run's lock, so that it is ours."""
    await leases.hold(db, claimed.run.id, claimed.token)
    await asyncio.to_thread(outcomes.discard, context.home, claimed.project, claimed.run)
    wait_seconds = context.wait_after(claimed.run.attempt)
    await leases.give_back(db, claimed.run.id, claimed.token, error=reason, has_ended=True, wait_seconds=wait_seconds)


async def _let_go(
    context: WorkerContext, claimed: Claimed, lease: HeldLease, reason: str, *, wait_seconds: float = 0
) -> None:
    """Let go of a run whose process may work on: who claims it next finds that by its name, and if nobody may, it is
    swept."""
    if lease.cancel_requested.is_set():
        await _finish(context, claimed, "cancelled")
    else:
        await _give_back(context, claimed, error=reason, counts=False, wait_seconds=wait_seconds)


async def _settle(context: WorkerContext, claimed: Claimed, lease: HeldLease, ending: Ending, log_start: int) -> None:
    """What becomes of a run whose process didn't do what it was for."""
    code = ending.code
    said = storable(ending.error) if ending.error else _last_words(context, claimed, log_start)
    if lease.cancel_requested.is_set():
        await _finish(context, claimed, "cancelled")
    elif context.stopping.is_set():
        await _give_back(context, claimed, error=STOPPED_WORKER, counts=False, has_ended=True)
    elif code == SUPERSEDED:
        raise LeaseLost
    elif code == NO_ROOM:
        await _wait_for_room(context, claimed, said, has_ended=True)
    elif code == STOPPED and context.short_of_room.is_set():
        await _wait_for_room(context, claimed, WAITING, has_ended=True)
    elif code in (BAD_INPUT, NO_MEMORY):  # another attempt would end alike
        if await _finish(context, claimed, "failed", error=said):
            inputs.discard(context, claimed.run)
    else:
        await _give_back(context, claimed, error=_why(code, said), has_ended=True)


def _sweep(folder: Path) -> None:
    """Remove what a process that was killed was writing: half a checkpoint is as large as a whole one."""
    for part in list(folder.rglob(".*.part")):
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def _why(code: int, last_words: str) -> str:
    if code == KILLED:
        return "The training process was killed (signal 9), by hand or because memory ran out."
    if code < 0:
        return f"The training process was ended by signal {-code}."
    if code == STOPPED:
        return "The training process was stopped from outside."
    return last_words


def _announce_attempt(path: Path, run: Run) -> int:
    """Where this attempt's part of the log begins."""
    with path.open("ab") as file:
        file.write(f"Attempt {run.attempt} of {run.max_attempts}\n".encode())
        return file.tell()


def _last_words(context: WorkerContext, claimed: Claimed, log_start: int) -> str:
    """The last line that the attempt printed."""
    assert claimed.run.folder is not None
    with (context.home / claimed.run.folder / LOG).open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(log_start, end - LAST_WORDS_BYTES))
        lines = [line for line in file.read().splitlines() if line.strip()]
    if not lines:
        return "The training process failed without a word."
    return storable(lines[-1][-ERROR_BYTES:].decode(errors="replace").strip())


async def _finish(
    context: WorkerContext, claimed: Claimed, state: leases.FinalState, *, error: str | None = None
) -> bool:
    log.info("run_finished", state=state)  # the error is in its row: it may be a line that the stage printed
    return await context.database.run(lambda db: leases.finish(db, claimed.run.id, claimed.token, state, error=error))


async def _give_back(
    context: WorkerContext,
    claimed: Claimed,
    *,
    error: str,
    counts: bool = True,
    has_ended: bool = False,
    wait_seconds: float = 0,
) -> None:
    """`wait_seconds` is for an attempt that doesn't count."""
    pause_seconds = context.wait_after(claimed.run.attempt) if counts else wait_seconds
    await context.database.run(
        lambda db: leases.give_back(
            db,
            claimed.run.id,
            claimed.token,
            error=storable(error),
            counts=counts,
            has_ended=has_ended,
            wait_seconds=pause_seconds,
        )
    )
    log.info("run_given_back")


async def _wait_for_room(context: WorkerContext, claimed: Claimed, reason: str, *, has_ended: bool = False) -> None:
    """No attempt is used up by a disk that is full."""
    await _give_back(context, claimed, error=reason, counts=False, has_ended=has_ended, wait_seconds=WAIT_SECONDS)


async def _wait_for_storage(context: WorkerContext, claimed: Claimed, reason: str) -> None:
    """Nor by a storage that is away, which is asked ever more rarely."""
    wait_seconds = context.storage_waits.next_seconds()
    await _give_back(context, claimed, error=reason, counts=False, wait_seconds=wait_seconds)
