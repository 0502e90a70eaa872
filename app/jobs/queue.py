"""The worker's side of the queue: a small port over procrastinate, which only dispatches.

What procrastinate doesn't promise, our rows do: it lets a paused worker finish a job that is another's by now (a stale
token changes nothing), takes up nothing that a killed worker had (the reaper does), and its worker returns as if all
were well when the database restarts (it is started again here).
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
from procrastinate import App, PsycopgConnector
from procrastinate.jobs import Status

from app import traces
from app.db.away import AWAY
from app.db.session import SEARCH_PATH, plain_url
from app.jobs.pausing import first_of, pause
from app.services.dispatch import (
    ERRAND_TASK,
    ERRANDS_QUEUE,
    REPORT_TASK,
    ROUND_TASK,
    RUN_TASK,
    STEPS_QUEUE,
    TRAINING_QUEUE,
    WAKE_TASK,
)

Handler = Callable[[int], Awaitable[None]]
ReportHandler = Callable[[int, str], Awaitable[None]]

# A training run takes the whole machine, unless it is elsewhere; of the short steps two at a time, so that a slow one
# holds up nobody.
CONCURRENCY = {TRAINING_QUEUE: 1, STEPS_QUEUE: 2, ERRANDS_QUEUE: 4}
RESTART_SECONDS = 0.5
# A worker tells that it lives every 10 s. The jobs of one that doesn't are removed; what they were for is in our rows.
STALLED_SECONDS = 60
TIDY_SECONDS = 60

log = structlog.get_logger(__name__)


class Queue:
    def __init__(
        self,
        database_url: str,
        *,
        queues: tuple[str, ...],
        run_handler: Handler,
        round_handler: Handler,
        report_handler: ReportHandler,
        training_at_once: int = 1,
        errand_handler: Handler | None = None,
        wake_handler: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._queues = queues
        self._concurrency = CONCURRENCY | {TRAINING_QUEUE: training_at_once}
        self._app = App(
            connector=PsycopgConnector(
                conninfo=plain_url(database_url),
                kwargs={"options": f"-c search_path={SEARCH_PATH}"},
                min_size=1,
                max_size=4,
            )
        )

        @self._app.task(name=RUN_TASK)
        async def run(run_id: int) -> None:
            with traces.span(f"job {RUN_TASK}", "consumer", plumbline__run_id=run_id):
                await run_handler(run_id)

        @self._app.task(name=ROUND_TASK)
        async def round_(round_id: int) -> None:
            with traces.span(f"job {ROUND_TASK}", "consumer", plumbline__round_id=round_id):
                await round_handler(round_id)

        @self._app.task(name=ERRAND_TASK)
        async def errand(errand_id: int) -> None:
            with traces.span(f"job {ERRAND_TASK}", "consumer", plumbline__errand_id=errand_id):
                assert errand_handler is not None, "who serves this queue has one"
                await errand_handler(errand_id)

        @self._app.task(name=WAKE_TASK)
        async def wake() -> None:
            assert wake_handler is not None, "who serves this queue has one"
            await wake_handler()

        @self._app.task(name=REPORT_TASK)
        async def report(project_id: int, name: str) -> None:
            job = traces.span(
                f"job {REPORT_TASK}", "consumer", plumbline__project_id=project_id, plumbline__report=name
            )
            with job:
                await report_handler(project_id, name)

    async def serve(self, stopping: asyncio.Event) -> None:
        """Hand out jobs until `stopping` is set and the handlers have returned."""
        async with self._app.open_async(), asyncio.TaskGroup() as group:
            for queue in self._queues:
                group.create_task(self._serve(queue, stopping))
            group.create_task(self._tidy(stopping))

    async def _serve(self, queue: str, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            worker = asyncio.create_task(self._work(queue), name=f"queue {queue}")
            try:
                await first_of(stopping, worker)
            finally:
                worker.cancel()  # which only asks it to take no more jobs
                await asyncio.wait([worker])
            if not worker.cancelled() and (error := worker.exception()) is not None:
                if not isinstance(error, AWAY):
                    raise error
                log.warning("queue_away", queue=queue, error=type(error).__name__)
            await pause(stopping, RESTART_SECONDS)

    async def _work(self, queue: str) -> None:
        await self._app.run_worker_async(
            name=queue,
            queues=[queue],
            concurrency=self._concurrency[queue],
            delete_jobs="always",
            install_signal_handlers=False,
        )

    async def _tidy(self, stopping: asyncio.Event) -> None:
        """Remove the jobs that a killed worker left behind as being worked on."""
        jobs = self._app.job_manager
        while not stopping.is_set():
            with suppress(*AWAY):
                for job in await jobs.get_stalled_jobs(seconds_since_heartbeat=STALLED_SECONDS):
                    await jobs.finish_job(job=job, status=Status.FAILED, delete_job=True)
            await pause(stopping, TIDY_SECONDS)
