"""A small project and the handles to turn its loop: in this process, or by looking at what worker processes do."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from hashlib import sha256
from typing import Any, TypeVar

from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.session import SessionFactory, transaction
from app.db.tables import (
    Completion,
    DatasetVersion,
    Demonstration,
    Gate,
    Metric,
    ModelVersion,
    Project,
    Promotion,
    Round,
    Run,
    Task,
    TaskCompletion,
)
from app.db.tables.runs import TERMINAL_RUN_STATES
from app.jobs import execution
from app.jobs.context import WorkerContext
from app.services import dispatch
from app.services.judging import assignments, judgements
from app.services.judging.answers import Answer
from app.services.judging.judgements import Submission
from app.services.loop import round_rows
from app.services.loop.rounds import rounds
from app.services.loop.runs import leases, runs, starting
from tests.factories import make_member, make_project, make_prompt

LEASE_SECONDS = 2.0
LOOK_SECONDS = 0.02

T = TypeVar("T")


class Loop:
    def __init__(self, sessions: SessionFactory, context: WorkerContext) -> None:
        self.sessions = sessions
        self.context = context

    async def do(self, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
        async with transaction(self.sessions) as db:
            return await work(db)

    async def make_project(self, *, prompts: int = 8, **settings: Any) -> Project:
        """A project with demonstrations; `settings` are its round settings."""

        async def make(db: AsyncSession) -> Project:
            project = await make_project(db)
            project.round_settings = settings
            project.opens_next_round = False
            for number in range(prompts):
                prompt = await make_prompt(db, project, split="validation" if number % 4 == 3 else "train")
                db.add(Demonstration(prompt_id=prompt.id, text="Boil it.", source="starter"))
            return project

        return await self.do(make)

    async def queue_sft(self, project: Project, **config: Any) -> Run:
        """An SFT run whose fake stage behaves as `config` says."""

        async def queue(db: AsyncSession) -> Run:
            found = await db.get_one(Project, project.id)
            found.round_settings = {**found.round_settings, "sft": config}
            return await starting.start(db, None, found, "sft")

        return await self.do(queue)

    async def execute(self, run: Run) -> Run:
        await execution.execute(self.context, run.id)
        return await self.read(run)

    async def work_off(self) -> None:
        """What a worker would do until nothing is left to do."""
        moved = True
        while moved:
            moved = await self._advance_all()
            for run in await self.do(leases.waiting):
                await execution.execute(self.context, run.id)
                moved = True

    async def _advance_all(self) -> bool:
        """Whether a round has moved."""
        before = await self.do(_standing)
        for round_id in await self.do(round_rows.all_active):
            await self.advance(round_id)
        return await self.do(_standing) != before

    async def advance(self, round_id: int) -> None:
        await self.do(lambda db: rounds.advance(db, round_id))

    async def read(self, run: Run) -> Run:
        return await self.do(lambda db: db.get_one(Run, run.id))

    async def read_round(self, round_: Round) -> Round:
        return await self.do(lambda db: db.get_one(Round, round_.id))

    async def judge(self, project: Project, count: int, *, answer: Answer | None = None, **said: Any) -> None:
        """`count` judgements by a new person, through the doors that the pages use: `answer`, or the seven choices in
        turn, with `said` in each of them."""
        async with transaction(self.sessions) as db:
            annotator = await make_member(db, project)
        for number in range(count):
            async with transaction(self.sessions) as db:
                leased = await assignments.lease_next(db, annotator, await db.get_one(Project, project.id))
                assert leased is not None, "there is nothing left to judge"
                given = answer or Answer(1 + number % 7, **said)
                submission = Submission(given, idempotency_key=f"{annotator.user_id}-{number}")
                await judgements.submit(db, annotator, leased.id, submission)

    async def skip_the_rest(self, project: Project) -> None:
        """A new person skips whatever there is."""
        async with transaction(self.sessions) as db:
            annotator = await make_member(db, project)
        while True:
            async with transaction(self.sessions) as db:
                leased = await assignments.lease_next(db, annotator, await db.get_one(Project, project.id))
                if leased is None:
                    return
                await assignments.skip(db, annotator, leased.id, reason="unclear")

    async def start_round(self, project: Project, **settings: Any) -> Round:
        async def start(db: AsyncSession) -> Round:
            return await rounds.start(db, None, await db.get_one(Project, project.id), settings=settings)

        return await self.do(start)

    async def let_lease_expire(self, run: Run) -> None:
        """Move the lease into the past, as if its worker had been silent."""
        past = func.now() - timedelta(seconds=1)
        await self.do(lambda db: db.execute(update(Run).where(Run.id == run.id).values(lease_expires_at=past)))

    async def versions(self, project: Project, kind: str = "policy") -> list[ModelVersion]:
        async def read(db: AsyncSession) -> list[ModelVersion]:
            of_kind = (ModelVersion.project_id == project.id, ModelVersion.kind == kind)
            return list(await db.scalars(select(ModelVersion).where(*of_kind).order_by(ModelVersion.number)))

        return await self.do(read)

    async def gates(self, round_: Round) -> list[Gate]:
        """Decisions of a round's gates, in order."""

        async def read(db: AsyncSession) -> list[Gate]:
            of_round = select(Gate).join(Run, Run.id == Gate.run_id).where(Run.round_id == round_.id)
            return list(await db.scalars(of_round.order_by(Gate.id)))

        return await self.do(read)

    async def until(self, run: Run, is_so: Callable[[Run], bool]) -> Run:
        while not is_so(found := await self.read(run)):  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(LOOK_SECONDS)
        return found

    async def until_over(self, run: Run) -> Run:
        return await self.until(run, lambda found: found.state in TERMINAL_RUN_STATES)

    async def until_at_work(self, run: Run, *, step: int = 1) -> Run:
        """Until a worker has stored that the stage got to `step`."""
        return await self.until(run, lambda found: found.state == "running" and found.step >= step)

    async def until_round(self, round_: Round, is_so: Callable[[Round], bool]) -> None:
        while not is_so(await self.read_round(round_)):  # noqa: ASYNC110 - as above
            await asyncio.sleep(LOOK_SECONDS)

    async def until_idle(self) -> None:
        """Until no run waits or works."""
        unfinished = select(func.count()).where(Run.state.in_(("queued", "running")))
        while await self.do(lambda db: db.scalar(unfinished)):  # noqa: ASYNC110 - as above
            await asyncio.sleep(LOOK_SECONDS)

    async def waiting_jobs(self) -> set[str]:
        return await self.do(dispatch.waiting_jobs)

    async def forget_jobs(self) -> None:
        """Empty the queue, as if every job had been lost."""
        await self.do(lambda db: db.execute(text("DELETE FROM procrastinate_jobs")))

    async def everything(self) -> list[tuple[object, ...]]:
        """All rows that runs and rounds write."""
        tables = (Run, Round, Gate, Metric, ModelVersion, Promotion, DatasetVersion, Completion, Task, TaskCompletion)

        async def read(db: AsyncSession) -> list[tuple[object, ...]]:
            return [tuple(row) for table in tables for row in await db.execute(select(table.__table__))]

        return await self.do(read)

    async def steps_of(self, run: Run) -> list[int]:
        """Steps that the run has metrics of."""
        return [row.step for row in (await self.do(lambda db: db.scalars(runs.metrics_since(run.id)))).all()]


async def _standing(db: AsyncSession) -> list[tuple[int, str, str]]:
    rows = await db.execute(select(Round.id, Round.status, Round.step).order_by(Round.id))
    return [(round_id, status, step) for round_id, status, step in rows]


def result_of(run: Run) -> Json:
    assert run.result is not None
    return run.result


def uninterrupted(seed: int, *, steps: int) -> str:
    """The fake stage's weights, worked out in one go."""
    weights = str(seed)
    for step in range(1, steps + 1):
        weights = sha256(f"{weights} {step}".encode()).hexdigest()
    return weights
