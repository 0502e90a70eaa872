"""The worker: hands out jobs, keeps watch over what stands still, and stops when it is asked to.

`python -m app.jobs.worker` with DATABASE_URL set, or `plumbline worker`. Exit code 0 only after a request to stop.
"""

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import structlog

from app import figures_server, logs, traces
from app.acting import Actor, acting
from app.db import migrate, pool_figures
from app.db.away import AWAY
from app.db.session import create_engine, session_factory
from app.errors import DomainError
from app.jobs import backups, copies, errands, execution, hooks, models_in_use, orphans, reading, reaper, room, uploads
from app.jobs.context import WorkerContext
from app.jobs.launch import EngineAway, Executor, LocalProcess
from app.jobs.queue import Queue
from app.jobs.ray import RayJobs, token_of
from app.jobs.resident import Resident
from app.jobs.site_figures import site_figures_of
from app.jobs.transactions import Database, at_length
from app.services.dispatch import ERRANDS_QUEUE, TRAINING_QUEUE
from app.services.loop.rounds import rounds
from app.services.loop.stages.registry import TRAINING
from app.services.published import standing
from app.services.published.bucket import Away, Disobedient
from app.services.reports import reports
from app.settings import Settings, SettingsError, load_settings

log = structlog.get_logger(__name__)


class CannotWork(DomainError):
    """The worker can't do its work here; whoever supervises it may start it again."""


async def work(settings: Settings, database_url: str, *, executor: LocalProcess | None = None) -> None:
    """Work until SIGTERM or SIGINT. Raises CannotWork, WrongRevision."""
    logs.configure(settings.log_level, settings.log_format)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    await _require_head(database_url)
    here = executor or local_executor(settings)
    elsewhere = elsewhere_of(settings, here)
    engine = create_engine(database_url)
    pool_figures.tell_of(engine)
    context = WorkerContext(
        database=Database(session_factory(engine), stopping=stopping),
        executor=here,
        home=settings.home,
        owner=f"{socket.gethostname()}:{os.getpid()}",
        lease_seconds=settings.run_lease_seconds,
        cancel_grace_seconds=settings.cancel_grace_seconds,
        stopping=stopping,
        retry_seconds=settings.run_retry_seconds,
        hang_seconds=60 * settings.run_hang_minutes,
        reserve_bytes=settings.disk_reserve_bytes,
        elsewhere=elsewhere,
        gpus=settings.ray_gpus,
    )
    try:
        with acting(Actor("worker")), traces.sent(settings, "worker"), _figures_told(settings, database_url):
            await _serve(context, database_url, settings)
    finally:
        await engine.dispose()


def local_executor(settings: Settings) -> LocalProcess:
    interpreter = sys.executable if settings.training_python is None else str(Path(settings.training_python))
    return LocalProcess(
        (interpreter, "-m", "training"),
        threads=settings.training_threads,
        processes=settings.training_processes,
        device=settings.device,
        memory_bytes=settings.memory_bytes,
        environment=settings.training_variables,
        reward_functions=settings.reward_functions,
    )


def elsewhere_of(settings: Settings, here: LocalProcess) -> dict[str, Executor]:
    """The stages that this worker has on a cluster, and where. Raises CannotWork."""
    if settings.ray_url is None or TRAINING_QUEUE not in settings.queues:
        return {}
    unknown = set(settings.ray_stage_names) - TRAINING.keys()
    if unknown:
        raise CannotWork(f"PLUMBLINE_RAY_STAGES names {', '.join(sorted(unknown))}; stages: {', '.join(TRAINING)}.")
    if settings.ray_token_file is None:
        raise CannotWork("PLUMBLINE_RAY_TOKEN_FILE is not set: a cluster that asks for no token isn't used.")
    try:
        token_of(settings.ray_token_file)
    except EngineAway as refusal:
        raise CannotWork(f"PLUMBLINE_RAY_TOKEN_FILE: {refusal}") from refusal
    jobs = RayJobs(
        settings.ray_url,
        settings.ray_token_file,
        replace(here, threads=settings.training_threads or settings.ray_cpus),
        cpus=settings.ray_cpus,
        stop_seconds=settings.cancel_grace_seconds,
        patience_seconds=settings.cluster_patience_seconds,
    )
    return dict.fromkeys(settings.ray_stage_names or TRAINING, jobs)


def resident_of(settings: Settings) -> Resident:
    """The process beside this worker that answers errands; it starts with the first one."""
    executor = local_executor(settings)
    program = (executor.program[0], "-m", "training.answering")
    return Resident(program, executor.environment_of_child(), settings.home / "logs")


def queues_of(settings: Settings) -> tuple[str, ...]:
    """Who trains has what it takes to answer errands, too."""
    named = tuple(settings.queues.split(","))
    return (*named, ERRANDS_QUEUE) if TRAINING_QUEUE in named else named


@contextmanager
def _figures_told(settings: Settings, database_url: str) -> Iterator[None]:
    told = figures_server.told_at(settings.metrics_host, figures_server.worker_ports(settings))
    with site_figures_of(database_url, settings.home), told:
        yield


async def _require_head(database_url: str) -> None:
    try:
        await asyncio.to_thread(migrate.require_head, database_url)
    except AWAY as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise CannotWork(f"The database doesn't answer: {reason}") from error


async def _serve(context: WorkerContext, database_url: str, settings: Settings) -> None:
    resident = resident_of(settings)
    queue = Queue(
        database_url,
        queues=queues_of(settings),
        training_at_once=settings.ray_runs if context.elsewhere.keys() == TRAINING.keys() else 1,
        run_handler=lambda run_id: execution.execute(context, run_id),
        round_handler=lambda round_id: context.database.run(lambda db: rounds.advance(db, round_id)),
        report_handler=lambda project_id, name: context.database.run(
            at_length(lambda db: reports.write(db, project_id, name))
        ),
        errand_handler=lambda errand_id: errands.perform(context, resident, errand_id),
        wake_handler=resident.wake,
    )
    await asyncio.to_thread(_require_storage, settings)
    room.look(context)  # before the first run is taken
    log.info("worker_started", owner=context.owner)
    try:
        async with asyncio.TaskGroup() as group:
            for part in (
                queue.serve(context.stopping),
                reaper.keep_watch(context),
                orphans.keep_watch(context),
                reading.keep_reading(context),
                backups.keep_backing_up(context, settings, database_url),
                hooks.keep_telling(context, settings),
                room.keep_watch(context),
                models_in_use.keep_watch(context),
                copies.keep_watch(context),
                uploads.keep_watch(context),
                resident.keep_watch(context.stopping),
            ):
                group.create_task(_stopping_all(part, context.stopping))
    except BaseExceptionGroup as errors:
        if errors.split(AWAY)[1] is not None:
            raise
        raise CannotWork("The database has been away for too long.") from errors
    log.info("worker_stopped", owner=context.owner)


def _require_storage(settings: Settings) -> None:
    """Raises CannotWork for a storage that is not to be trusted; one that is away may come back."""
    try:
        standing.require_obedient(settings.home)
    except Disobedient as error:
        raise CannotWork(error.message) from error
    except Away as error:
        log.warning("storage_away", reason=error.message)


async def _stopping_all(part: Coroutine[None, None, None], stopping: asyncio.Event) -> None:
    """No part works without the others: when one ends, however it does, all stop in good order."""
    try:
        await part
    finally:
        stopping.set()


def main() -> int:
    try:
        settings = load_settings()
        if settings.database_url is None:
            raise CannotWork("DATABASE_URL is not set; `plumbline worker` finds the embedded database by itself.")
        gc.freeze()  # what was loaded stays, and needn't be looked through again and again
        asyncio.run(work(settings, settings.database_url))
    except (DomainError, SettingsError) as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
