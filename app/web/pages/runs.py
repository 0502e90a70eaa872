"""Runs: the list, and one run with its curves, samples, log and settings."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import JSONResponse, PlainTextResponse, Response

from app.db.base import Json
from app.db.tables import BulkChange, Gate, Metric, ModelVersion, Project, Round, Run, User
from app.errors import NotFound
from app.services.browse import changes
from app.services.browse.kinds import CHANGES, Kind
from app.services.loop.gates import hacking_report as reports
from app.services.loop.models import models
from app.services.loop.runs import runs
from app.web.pages.access import ManagedProject, OwnedProject
from app.web.rendering import render
from app.web.serving.deps import CurrentUser, Db, settings_of
from app.web.words import hacking_report, pace
from app.web.words.charts import Charts, Curves, charts_of, curves, thinned
from app.web.words.fields import decided
from app.web.words.figures import Figure
from app.web.words.hacking_report import HackingReport

router = APIRouter(prefix="/projects/{slug}/runs", include_in_schema=False)

RUNS_SHOWN = 100
LOG_BYTES = 65_536

RunId = Annotated[int, Path(ge=1, le=2**63 - 1)]


@dataclass(frozen=True)
class RunPage:
    """A run with everything that its page shows. `samples` are the newest ones and the step they are from,
    `decided` the settings that were left to the model."""

    run: Run
    progress: pace.Progress
    round: Round | None
    started_by: str | None
    made: ModelVersion | None
    gate: Gate | None
    charts: Charts
    curves: Curves
    table_rows: tuple[int, ...]
    samples: tuple[int, list[Json]] | None
    hacking: HackingReport | None
    change: BulkChange | None
    decided: tuple[Figure, ...]

    @property
    def change_kind(self) -> Kind | None:
        return CHANGES[self.change.name] if self.change else None


@router.get("")
async def list_runs(request: Request, managed: ManagedProject, db: Db) -> Response:
    """Shows owners and reviewers the newest runs, and how far those are that run now."""
    shown = await runs.list_runs(db, managed.project.id, limit=RUNS_SHOWN)
    rounds = await db.scalars(select(Round).where(Round.project_id == managed.project.id))
    numbers = {entry.id: entry.number for entry in rounds}
    active = [run for run in shown if run.state == "running"]
    progress = {run.id: await pace.of_run(db, run) for run in active}
    return render.page(
        request,
        "runs/list.html",
        managed=managed,
        runs=shown,
        round_numbers=numbers,
        progress=progress,
        limit=RUNS_SHOWN,
    )


@router.get("/{run_id}")
async def show_run(request: Request, run_id: RunId, managed: ManagedProject, db: Db) -> Response:
    """Shows owners and reviewers all of one run, as far as it has come."""
    run = await _run(db, managed.project, run_id)
    return render.page(request, "runs/show.html", managed=managed, page=await _page(request, db, run))


@router.get("/{run_id}/state")
async def show_state(request: Request, run_id: RunId, managed: ManagedProject, db: Db) -> Response:
    """The parts of the page that move while the run runs; the curves read their own figures."""
    run = await _run(db, managed.project, run_id)
    return render.partial(request, "runs/_state.html", managed=managed, page=await _page(request, db, run))


@router.get("/{run_id}/figures")
async def read_figures(
    run_id: RunId, managed: ManagedProject, db: Db, after: Annotated[int, Query(ge=-1)] = -1
) -> JSONResponse:
    """What was measured after a step, for the curves of a page that is open."""
    run = await _run(db, managed.project, run_id)
    measured = curves(list(await db.scalars(runs.metrics_since(run.id, after))))
    return JSONResponse({"steps": measured.steps, "figures": measured.figures}, headers={"Cache-Control": "no-store"})


@router.get("/{run_id}/log")
async def show_log(request: Request, run_id: RunId, managed: ManagedProject, db: Db) -> Response:
    """The end of what the training process printed: a part of the page for htmx, else plain text."""
    run = await _run(db, managed.project, run_id)
    tail = runs.log_tail(run, settings_of(request).home, LOG_BYTES)
    if render.is_htmx(request):
        return render.partial(request, "runs/_log.html", tail=tail)
    return PlainTextResponse(tail, headers={"Cache-Control": "no-store"})


@router.post("/{run_id}/cancel")
async def cancel_run(run_id: RunId, project: OwnedProject, principal: CurrentUser, db: Db) -> Response:
    """Has a run write a checkpoint and stop, for an owner. Raises Conflict if it is over."""
    run = await _run(db, project, run_id)
    await runs.request_cancel(db, principal, run)
    return render.redirect(f"/projects/{project.slug}/runs/{run.id}")


@router.post("/{run_id}/retry")
async def retry_run(run_id: RunId, project: OwnedProject, principal: CurrentUser, db: Db) -> Response:
    """Queues a failed or cancelled run again from its last checkpoint, for an owner. Raises Conflict for any other."""
    run = await runs.retry(db, principal, await _run(db, project, run_id))
    return render.redirect(f"/projects/{project.slug}/runs/{run.id}")


async def _run(db: AsyncSession, project: Project, run_id: int) -> Run:
    run = await db.scalar(select(Run).where(Run.id == run_id, Run.project_id == project.id))
    if run is None:
        raise NotFound
    return run


async def _page(request: Request, db: AsyncSession, run: Run) -> RunPage:
    metrics = list(await db.scalars(runs.metrics_since(run.id)))
    measured = curves(metrics)
    return RunPage(
        run=run,
        progress=await pace.of_run(db, run),
        round=await db.get(Round, run.round_id) if run.round_id else None,
        started_by=await db.scalar(select(User.name).where(User.id == run.started_by_id)),
        made=await models.of_run(db, run.id),
        gate=await db.scalar(select(Gate).where(Gate.run_id == run.id)),
        charts=charts_of(run.stage, measured, over=runs.is_over(run), cost_limit=_cost_limit(run)),
        curves=measured,
        table_rows=thinned(measured.steps),
        samples=_latest_samples(metrics),
        hacking=hacking_report.report(reports.report_of(run, settings_of(request).home)),
        change=await changes.of_run(db, run.id) if run.stage == "change" else None,
        decided=decided(run.stage, (run.result or {}).get("chosen_by_model") or {}),
    )


def _cost_limit(run: Run) -> float | None:
    """Of a run that is given a cost model, of the project's own or by name."""
    config = run.settings.get("config", {})
    if run.settings.get("cost_id") is None and config.get("cost") is None:
        return None
    return float(config.get("cost_limit", 0.0))


def _latest_samples(metrics: list[Metric]) -> tuple[int, list[Json]] | None:
    """The newest samples and the step that they are from."""
    return next(((metric.step, metric.samples) for metric in reversed(metrics) if metric.samples), None)
