"""A stage from its start to its end, watched beside its run: it is asked to stop, ended, or left at work."""

import asyncio
import time
from contextlib import suppress
from pathlib import Path

import structlog

from app.jobs.context import WorkerContext
from app.jobs.fence import newest
from app.jobs.held_lease import HeldLease
from app.jobs.launch import Child, EngineAway, Launch
from app.services.loop.runs.leases import LeaseLost
from training import ending
from training.ending import Ending

STOPPING = "stopping"
METRICS = "metrics.jsonl"
FAILED = 1

# Whoever stops the worker waits 6 s for it, database work included; a stage that is slower goes back to its checkpoint.
STOP_GRACE_SECONDS = 4.0
# A step may have just begun, and writing the checkpoint takes its time, too.
GRACE_STEPS = 3
# For a process that says that it heard and is within a step: the first one, of which nobody knows how long it takes.
HEARD_GRACE_SECONDS = 600.0

log = structlog.get_logger(__name__)


async def attend(context: WorkerContext, lease: HeldLease, launch: Launch) -> Ending | None:
    """Run the stage until it ends or has to be ended; None where it is left at work. Raises LeaseLost, EngineAway."""
    executor = context.executor_of(launch.stage)
    child = await executor.start(launch)
    ended = asyncio.create_task(child.wait())
    hung = asyncio.Event()
    watching = asyncio.create_task(_tell_hung(context, launch, hung))
    try:
        await _first_of(ended, lease.lost, lease.cancel_requested, context.stopping, context.short_of_room, hung)
        if lease.lost.is_set():
            raise LeaseLost
        is_left = executor.outlives_worker and context.stopping.is_set() and not lease.cancel_requested.is_set()
        if not ended.done() and not is_left:
            await _stop(context, lease, launch, child, ended, is_hung=hung.is_set())
        if not ended.done():
            return None
        code = await ended
        told = await asyncio.to_thread(ending.read, launch.out, launch.job) or Ending(code)
        return Ending(FAILED, _hung_for(context)) if hung.is_set() and told.code else told
    finally:
        watching.cancel()
        if not ended.done():
            child.leave()
            with suppress(EngineAway):
                await ended


async def _tell_hung(context: WorkerContext, launch: Launch, hung: asyncio.Event) -> None:
    """Set `hung` once the stage, after it began or was found at work, has told no step for as long as it may take."""
    size, since = -1, time.monotonic()
    while context.hang_seconds and time.monotonic() - since < context.hang_seconds:
        await asyncio.sleep(min(context.pulse_seconds, context.hang_seconds))
        found = await asyncio.to_thread(_told_bytes, launch)
        if found != size or found is None:
            size, since = found or 0, time.monotonic()
    if context.hang_seconds:
        log.warning("stage_hung", stage=launch.stage)
        hung.set()


def _told_bytes(launch: Launch) -> int | None:
    """None before it began: it may wait for room in a cluster."""
    if newest(launch.out) < launch.token:
        return None
    try:
        return (launch.out / METRICS).stat().st_size
    except OSError:
        return 0


def _hung_for(context: WorkerContext) -> str:
    minutes = f"{context.hang_seconds / 60:g}"
    return f"The training process told no step for {minutes} min and was ended (PLUMBLINE_RUN_HANG_MINUTES)."


async def _first_of(ended: "asyncio.Task[int]", *events: asyncio.Event) -> None:
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait([ended, *waits], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def _stop(
    context: WorkerContext,
    lease: HeldLease,
    launch: Launch,
    child: Child,
    ended: "asyncio.Task[int]",
    *,
    is_hung: bool,
) -> None:
    """Let the stage write a checkpoint, if that doesn't take too long. One that outlives the worker may be at work
    still when this returns."""
    child.terminate()
    executor = context.executor_of(launch.stage)
    others = (lease.lost, context.stopping) if executor.outlives_worker else ()
    with suppress(TimeoutError):
        async with asyncio.timeout(_grace_seconds(context, lease) + executor.lag_seconds):
            await _first_of(ended, *others)
    if not ended.done() and not is_hung:
        await _stop_later(context, lease, ended, launch.out / STOPPING)
    if not ended.done():
        log.warning("stage_did_not_stop", stage=launch.stage)
        child.kill()
        await _first_of(ended, *others)


async def _stop_later(context: WorkerContext, lease: HeldLease, ended: "asyncio.Task[int]", heard: Path) -> None:
    """Let a stage that says that it heard end its step, unless the worker has to stop or the run is another's."""
    if context.stopping.is_set() or not await asyncio.to_thread(heard.exists):
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(HEARD_GRACE_SECONDS):
            await _first_of(ended, lease.lost, context.stopping)


def _grace_seconds(context: WorkerContext, lease: HeldLease) -> float:
    """How long a stage may take to stop: what a worker that is stopped itself has left, else a step and its checkpoint,
    of which a model of some size makes more than the setting allows for."""
    if context.stopping.is_set():
        return STOP_GRACE_SECONDS
    return max(context.cancel_grace_seconds, GRACE_STEPS * lease.tail.slowest_step_seconds)
