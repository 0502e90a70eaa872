"""The page of a project: where its loop stands and what to do next."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Form, Request
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.db.tables import ModelVersion, Project, Round, Run
from app.services.hooks import deliveries
from app.services.judging import labels
from app.services.loop import round_rows
from app.services.loop.models import models
from app.services.loop.rounds import first_policy, rounds
from app.services.loop.rounds.first_policy import Refused
from app.services.loop.runs import needs, starting
from app.services.loop.runs.needs import Need
from app.services.loop.settings import round_settings
from app.services.loop.stages.registry import Startable
from app.services.projects.standing import ProjectOverview
from app.services.reports.advice import advice_on_labels
from app.services.reports.counted import Counted, counted
from app.web.locales import said
from app.web.pages.access import ManagedProject, OwnedProject
from app.web.rendering import render
from app.web.serving.deps import CurrentUser, Db, settings_of
from app.web.words import pace, round_view
from app.web.words.stages import StageButton, buttons

router = APIRouter(prefix="/projects", include_in_schema=False)

ROUNDS_SHOWN = 8


@dataclass(frozen=True)
class Now:
    """What a project is doing: its active round, or a run outside of any round, or nothing."""

    round: round_view.RoundView | None = None
    run: Run | None = None
    run_progress: pace.Progress | None = None


@dataclass(frozen=True)
class ProjectPage:
    """All that the moving part of the page shows."""

    now: Now
    steps: tuple[round_view.StepView, ...]
    shown: round_view.RoundView | None
    history: list[round_view.RoundView]
    counted: Counted
    labels_at_hand: int
    policy: ModelVersion | None
    policy_parents: dict[str, ModelVersion]
    label_target: int
    label_advice: str | None
    by_hand: tuple[StageButton, ...]
    too_large: Mapping[str, Need]
    """Of those stages the ones that would not fit into the memory that is free, by name."""
    too_few_demonstrations: str | None
    refused_policy: Refused | None
    webhook_given_up: bool

    @property
    def overview(self) -> ProjectOverview:
        return self.counted.overview


class StartRound(BaseModel):
    label_target: Annotated[int | None, Field(ge=0, le=10_000_000)] = None


class StartRun(BaseModel):
    stage: Startable


@router.get("/{slug}")
async def show_project(request: Request, managed: ManagedProject, db: Db) -> Response:
    """Shows owners and reviewers where the loop stands, its last rounds, and what can be started by hand."""
    return render.page(
        request, "projects/show.html", managed=managed, page=await _page(db, managed.project, settings_of(request).home)
    )


@router.get("/{slug}/state")
async def show_state(request: Request, managed: ManagedProject, db: Db) -> Response:
    """The part of the page that moves."""
    return render.partial(
        request,
        "projects/_state.html",
        managed=managed,
        page=await _page(db, managed.project, settings_of(request).home),
    )


@router.post("/{slug}/rounds")
async def start_round(
    project: OwnedProject, form: Annotated[StartRound, Form()], principal: CurrentUser, db: Db
) -> Response:
    """Opens the next round for an owner. Raises Conflict while one is active."""
    await rounds.start(db, principal.user_id, project, label_target=form.label_target)
    return render.redirect(f"/projects/{project.slug}")


@router.post("/{slug}/runs")
async def start_run(
    project: OwnedProject, form: Annotated[StartRun, Form()], principal: CurrentUser, db: Db
) -> Response:
    """Queues a run outside of any round for an owner. Raises Conflict where it lacks what it works on."""
    run = await starting.start(db, principal.user_id, project, form.stage.value)
    return render.redirect(f"/projects/{project.slug}/runs/{run.id}")


async def _page(db: AsyncSession, project: Project, home: Path) -> ProjectPage:
    entries = list(
        await db.scalars(
            select(Round).where(Round.project_id == project.id).order_by(Round.number.desc()).limit(ROUNDS_SHOWN)
        )
    )
    history = await round_view.views(db, entries)
    active = next((seen for seen in history if seen.round.status == "active"), None)
    shown = history[0] if history else None
    policy = await models.promoted(db, project.id, "policy")
    settings = round_settings.settings_of(project)
    by_hand = buttons(harmlessness=settings.harmlessness)
    by_name = [button.stage for button in by_hand]
    warned = None if policy else await first_policy.warning(db, project)
    return ProjectPage(
        now=await now_of(db, project, active),
        steps=shown.steps if shown else round_view.no_round(project),
        shown=shown,
        history=history,
        counted=await counted(db, project),
        labels_at_hand=await labels.labels_at_hand(db, project.id),
        policy=policy,
        policy_parents=await _parents(db, policy),
        label_target=settings.label_target,
        label_advice=said((await advice_on_labels(db, project)).sentence) if policy and active is None else None,
        by_hand=by_hand,
        too_large=await asyncio.to_thread(needs.warned, project, policy, home, by_name) if policy else {},
        too_few_demonstrations=said(warned) if warned else None,
        refused_policy=None if policy else await first_policy.refused(db, project.id),
        webhook_given_up=await deliveries.are_given_up(db, project.id),
    )


async def now_of(db: AsyncSession, project: Project, active: round_view.RoundView | None = None) -> Now:
    """What the project is doing; `active` is its round where that was read already."""
    if active is None:
        entry = await round_rows.active(db, project.id)
        active = await round_view.view(db, entry) if entry else None
    if active is not None:
        return Now(round=active)
    run = await db.scalar(
        select(Run)
        .where(Run.project_id == project.id, Run.state.in_(("queued", "running")))
        .order_by(Run.state.desc(), Run.id)
        .limit(1)
    )
    return Now(run=run, run_progress=await pace.of_run(db, run)) if run else Now()


async def _parents(db: AsyncSession, version: ModelVersion | None) -> dict[str, ModelVersion]:
    """What a version was made from, by role."""
    if version is None:
        return {}
    ids = {
        "parent": version.parent_id,
        "reference": version.reference_id,
        "reward": version.reward_id,
        "cost": version.cost_id,
    }
    wanted = [identity for identity in ids.values() if identity is not None]
    found = {entry.id: entry for entry in await db.scalars(select(ModelVersion).where(ModelVersion.id.in_(wanted)))}
    return {role: found[identity] for role, identity in ids.items() if identity is not None}
