"""Runs and what was measured in them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Metric, Project, Round, Run, User
from tests.browser.seed.texts import POLICY, PROMPTS, REFERENCE


async def make_run(
    db: AsyncSession,
    project: Project,
    stage: str,
    *,
    hours: float,
    minutes: float | None,
    round_: Round | None = None,
    step: str | None = None,
    started_by: User | None = None,
    state: str = "succeeded",
    total_steps: int = 240,
    result: dict[str, Any] | None = None,
    error: str | None = None,
) -> Run:
    began = hours_ago(hours)
    run = Run(
        project_id=project.id,
        stage=stage,
        state=state,
        round_id=round_.id if round_ else None,
        round_step=step,
        settings={"seed": 0, "learning_rate": 3e-5, "batch_size": 64, "iterations": total_steps},
        attempt=1,
        started_by_id=started_by.id if started_by else None,
        queued_at=began,
        started_at=began,
        result=result,
        error=error,
        finished_at=began + timedelta(minutes=minutes) if minutes is not None else None,
        lease_expires_at=datetime.now(UTC) + timedelta(hours=24) if state == "running" else None,
        lease_owner="worker" if state == "running" else None,
        total_steps=total_steps,
    )
    db.add(run)
    await db.flush()
    run.folder = f"runs/{run.id}"
    return run


async def make_metrics(
    db: AsyncSession,
    run: Run,
    steps: int,
    figures: Any,
    *,
    total: int | None = None,
    seconds: float = 1.0,
    samples: bool = False,
) -> None:
    assert run.started_at is not None
    run.step, run.total_steps, run.phase = steps, total or steps, run.stage
    for step in range(1, steps + 1):
        wanted = samples and (step % 10 == 0 or step == 1)
        db.add(
            Metric(
                run_id=run.id,
                phase=run.stage,
                step=step,
                figures=figures(step, total or steps),
                samples=[
                    {"prompt_id": "1", "prompt": PROMPTS[0], "policy": POLICY, "reference": REFERENCE},
                    {"prompt_id": "2", "prompt": PROMPTS[3], "policy": POLICY, "reference": REFERENCE},
                ]
                if wanted
                else None,
                recorded_at=run.started_at + timedelta(seconds=seconds * step),
            )
        )
    await db.flush()


def hours_ago(hours: float) -> datetime:
    return datetime.now(UTC) - timedelta(hours=hours)
