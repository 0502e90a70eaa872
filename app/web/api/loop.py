"""The loop: rounds and the runs that they are made of."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, status
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Gate, Metric, Project, Round, Run
from app.errors import NotFound
from app.security import Principal
from app.services.loop.gates import hacking_report
from app.services.loop.rounds import rounds
from app.services.loop.runs import runs, starting
from app.services.projects import projects
from app.services.reports.advice import advice_on_labels
from app.web.api.access import Caller, Id, ManagedProject, OwnedProject
from app.web.api.paging import Page, Paging, read_page
from app.web.api.schemas import (
    GateOut,
    LabelAdviceOut,
    LogOut,
    MetricOut,
    PromoteIn,
    RoundIn,
    RoundOut,
    RunIn,
    RunOut,
)
from app.web.serving.deps import Db, settings_of

router = APIRouter()


@router.get("/projects/{slug}/rounds", tags=["rounds"], summary="List rounds")
async def list_rounds(project: ManagedProject, db: Db, paging: Paging) -> Page[RoundOut]:
    """Rounds of the project, newest first, each with its step and the versions that it made; 403 for annotators."""
    return await read_page(
        db,
        select(Round).where(Round.project_id == project.id),
        Round.id,
        paging=paging,
        out=RoundOut.model_validate,
    )


@router.post("/projects/{slug}/rounds", tags=["rounds"], status_code=status.HTTP_201_CREATED, summary="Start a round")
async def start_round(project: OwnedProject, caller: Caller, db: Db, body: RoundIn) -> RoundOut:
    """409 while another round of the project is active."""
    started = await rounds.start(db, caller.user_id, project, label_target=body.label_target)
    await db.refresh(started)
    return RoundOut.model_validate(started)


@router.get("/projects/{slug}/label-advice", tags=["rounds"], summary="Ask how many judgements are likely enough")
async def read_label_advice(project: ManagedProject, db: Db) -> LabelAdviceOut:
    """Judgements that are likely enough, by the newest reward model or by what is expected of a first one, and what
    more would be worth; 403 for annotators.
    """
    advice = await advice_on_labels(db, project)
    return LabelAdviceOut(enough=advice.enough, sentence=str(advice.sentence))


@router.get("/projects/{slug}/rounds/{number}", tags=["rounds"], summary="Read a round")
async def read_round(project: ManagedProject, number: Id, db: Db) -> RoundOut:
    """A round by its number in the project; 404 for a number that it doesn't have, 403 for annotators."""
    return RoundOut.model_validate(await _round(db, project, number))


@router.post("/projects/{slug}/rounds/{number}/cancel", tags=["rounds"], summary="Cancel a round")
async def cancel_round(project: OwnedProject, number: Id, caller: Caller, db: Db) -> RoundOut:
    """Ends the round and its runs, and keeps what they have made; 409 when it is over already."""
    entry = await _round(db, project, number)
    await rounds.cancel(db, caller, entry)
    await db.refresh(entry)
    return RoundOut.model_validate(entry)


@router.post("/projects/{slug}/rounds/{number}/continue", tags=["rounds"], summary="Go on with the judgements at hand")
async def continue_round(project: OwnedProject, number: Id, caller: Caller, db: Db) -> RoundOut:
    """Ends the wait for labels, or for votes. 409 when the round waits for nothing."""
    entry = await _round(db, project, number)
    await rounds.continue_now(db, caller, entry)
    await db.refresh(entry)
    return RoundOut.model_validate(entry)


@router.post("/projects/{slug}/rounds/{number}/override", tags=["rounds"], summary="Go on against a gate")
async def override_gate(
    request: Request, project: OwnedProject, number: Id, body: PromoteIn, caller: Caller, db: Db
) -> RoundOut:
    """Goes on from a gate's refusal, whose figures stay on record with the reason; 409 where none has refused anything
    or another round is under way, 422 without a reason and for a model whose files were changed.
    """
    entry = await _round(db, project, number)
    await rounds.override(db, caller, entry, body.reason, home=settings_of(request).home)
    await db.refresh(entry)
    return RoundOut.model_validate(entry)


@router.get("/projects/{slug}/gates", tags=["rounds"], summary="List decisions of gates")
async def list_gates(
    project: ManagedProject,
    db: Db,
    paging: Paging,
    round_: Annotated[
        int | None, Query(alias="round", ge=1, le=2**31 - 1, description="Only those of the round of this number.")
    ] = None,
) -> Page[GateOut]:
    """Each with its rules and the figure and bound of each, newest first; 403 for annotators."""
    found = select(Gate).where(Gate.project_id == project.id)
    if round_ is not None:
        of_round = select(Run.id).join(Round, Round.id == Run.round_id).where(Round.number == round_)
        found = found.where(Gate.run_id.in_(of_round.where(Round.project_id == project.id)))
    return await read_page(db, found, Gate.id, paging=paging, out=GateOut.model_validate)


@router.post("/projects/{slug}/runs", tags=["runs"], status_code=status.HTTP_201_CREATED, summary="Start a run")
async def start_run(project: OwnedProject, caller: Caller, db: Db, body: RunIn) -> RunOut:
    """Queues a run outside of any round; 409 where it lacks what it works on."""
    run = await starting.start(db, caller.user_id, project, body.stage.value)
    await db.refresh(run)
    return RunOut.model_validate(run)


@router.get("/projects/{slug}/runs", tags=["runs"], summary="List runs")
async def list_runs(project: ManagedProject, db: Db, paging: Paging) -> Page[RunOut]:
    """Runs of rounds and runs started by hand, newest first; 403 for annotators."""
    return await read_page(
        db,
        select(Run).where(Run.project_id == project.id),
        Run.id,
        paging=paging,
        out=RunOut.model_validate,
    )


@router.get("/runs/{run_id}", tags=["runs"], summary="Read a run")
async def read_run(run_id: Id, caller: Caller, db: Db) -> RunOut:
    """A run with how far it is, its result and, where it failed, its error; 404 for a run of a project that you are not
    in, 403 for annotators.
    """
    return RunOut.model_validate(await _managed_run(db, caller, run_id))


@router.get("/runs/{run_id}/metrics", tags=["runs"], summary="Read what a run measured")
async def read_metrics(
    run_id: Id,
    caller: Caller,
    db: Db,
    paging: Paging,
    after_step: Annotated[int, Query(ge=-1, description="Only what was measured after this step.")] = -1,
) -> Page[MetricOut]:
    """Figures of each step, the newest first, null where one was not finite; 404 for a run of a project that you are
    not in, 403 for annotators.
    """
    run = await _managed_run(db, caller, run_id)
    measured = runs.metrics_since(run.id, after_step)
    return await read_page(db, measured, Metric.step, paging=paging, out=MetricOut.model_validate)


@router.get("/runs/{run_id}/log", tags=["runs"], summary="Read the log of a run")
async def read_run_log(run_id: Id, caller: Caller, request: Request, db: Db) -> LogOut:
    """The end of what its process printed, 64 KiB of it; 403 for annotators."""
    run = await _managed_run(db, caller, run_id)
    return LogOut(text=runs.log_tail(run, settings_of(request).home))


@router.get("/runs/{run_id}/reward-hacking", tags=["runs"], summary="Read the report on reward hacking")
async def read_reward_hacking(run_id: Id, caller: Caller, request: Request, db: Db) -> dict[str, Any] | None:
    """Every evaluation of a PPO run with its figures and alarms, and the newest responses to judge by eye; null before
    the first evaluation.
    """
    return hacking_report.report_of(await _managed_run(db, caller, run_id), settings_of(request).home)


@router.post("/runs/{run_id}/cancel", tags=["runs"], summary="Cancel a run")
async def cancel_run(run_id: Id, caller: Caller, db: Db) -> RunOut:
    """A running run writes a checkpoint before it ends; `retry` goes on from there."""
    run = await _owned_run(db, caller, run_id)
    await runs.request_cancel(db, caller, run)
    await db.refresh(run)
    return RunOut.model_validate(run)


@router.post("/runs/{run_id}/retry", tags=["runs"], summary="Put a run back into the queue")
async def retry_run(run_id: Id, caller: Caller, db: Db) -> RunOut:
    """For a failed or cancelled run: it goes on from its last checkpoint."""
    retried = await runs.retry(db, caller, await _owned_run(db, caller, run_id))
    await db.refresh(retried)
    return RunOut.model_validate(retried)


async def _round(db: AsyncSession, project: Project, number: int) -> Round:
    found = await db.scalar(select(Round).where(Round.project_id == project.id, Round.number == number))
    if found is None:
        raise NotFound
    return found


async def _managed_run(db: AsyncSession, caller: Principal, run_id: int) -> Run:
    run = await runs.get(db, caller, run_id)
    await projects.require_role(db, caller, await _project_of(db, run), "owner", "reviewer")
    return run


async def _owned_run(db: AsyncSession, caller: Principal, run_id: int) -> Run:
    run = await runs.get(db, caller, run_id)
    await projects.require_role(db, caller, await _project_of(db, run), "owner")
    return run


async def _project_of(db: AsyncSession, run: Run) -> Project:
    return await db.get_one(Project, run.project_id)
