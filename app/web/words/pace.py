"""How long things still take, judged by how fast they went lately. No recent pace, no estimate."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Judgement, Metric, Run
from app.services import conditions

JUDGEMENT_WINDOW = timedelta(minutes=30)
FEWEST_JUDGEMENTS = 5
METRICS_WINDOW = 20
FEWEST_STEPS = 3


@dataclass(frozen=True)
class Progress:
    """So much of so much, and the seconds that are left at the recent pace, None without one."""

    done: int
    total: int
    seconds_left: float | None = None

    @property
    def share(self) -> float:
        return min(1.0, self.done / self.total) if self.total else 0.0


async def of_labelling(db: AsyncSession, project_id: int, *, done: int, target: int) -> Progress:
    """`done` new judgements of `target`, at the pace of the last half hour."""
    recent = select(func.count(), func.extract("epoch", func.now() - func.min(Judgement.submitted_at))).where(
        *conditions.labels_of(project_id),
        Judgement.kind != "imported",
        Judgement.submitted_at > func.now() - JUDGEMENT_WINDOW,
    )
    count, seconds = (await db.execute(recent)).one()
    if count < FEWEST_JUDGEMENTS or done >= target:
        return Progress(done, target)
    return Progress(done, target, (target - done) * float(seconds) / count)


async def of_run(db: AsyncSession, run: Run) -> Progress:
    """Steps of a run, at the pace of its last metrics; none for what it does after its last step."""
    last = (
        select(Metric.step, Metric.recorded_at)
        .where(Metric.run_id == run.id)
        .order_by(Metric.step.desc())
        .limit(METRICS_WINDOW)
        .subquery()
    )
    seconds = func.extract("epoch", func.max(last.c.recorded_at) - func.min(last.c.recorded_at))
    steps, elapsed = (await db.execute(select(func.max(last.c.step) - func.min(last.c.step), seconds))).one()
    left = run.total_steps - run.step
    if run.state != "running" or left <= 0 or not steps or steps < FEWEST_STEPS or not elapsed:
        return Progress(run.step, run.total_steps)
    return Progress(run.step, run.total_steps, left * float(elapsed) / steps)
