"""Model versions: which one is in use, how good each is, what it was made from; promotion and roll-back."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Annotated, get_args

from fastapi import APIRouter, Form, Path, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.db.tables import DatasetVersion, Gate, ModelVersion, Project, Promotion, Round, Run, User
from app.db.tables.lineage import ModelKind
from app.errors import Conflict, DomainError, Invalid
from app.services.loop.chores import bringing
from app.services.loop.comparisons import side_by_side, writers
from app.services.loop.comparisons.writers import Writer
from app.services.loop.models import models
from app.services.loop.rounds import promoting
from app.services.loop.runs import base_models, needs
from app.services.loop.runs.base_models import CheckedModel
from app.services.loop.runs.needs import Need
from app.services.reports import reports
from app.services.reports.dashboard import DASHBOARD
from app.services.reports.leaderboard import LEADERBOARD
from app.web.locales import translated
from app.web.pages.access import Managed, ManagedProject, OwnedProject
from app.web.rendering import render
from app.web.serving.deps import CurrentUser, Db, settings_of
from app.web.words.versions import comparison, writer_name
from training.memory.room import total_bytes

router = APIRouter(prefix="/projects/{slug}/models", include_in_schema=False)

PAGE_SIZE = 50


@dataclass(frozen=True)
class VersionView:
    """A model version with everything it was made from, by its rows."""

    version: ModelVersion
    run: Run | None
    round: Round | None
    dataset: DatasetVersion | None
    parent: ModelVersion | None
    reference: ModelVersion | None
    reward: ModelVersion | None
    cost: ModelVersion | None
    gate: Gate | None
    needs: tuple[Need, ...] = ()
    """What stages take with it on this machine, told of a model that was brought."""

    @property
    def is_adopted(self) -> bool:
        """Taken as it was brought: nothing was learnt here."""
        return self.run is not None and self.run.stage == "adopt"


@dataclass(frozen=True)
class PromotionView:
    promotion: Promotion
    version: ModelVersion
    previous: ModelVersion | None
    actor: User | None


class Promote(BaseModel):
    """`instead_of` is the version in use that the person saw, so that two people don't undo each other unawares."""

    reason: Annotated[str, Field(max_length=2000)] = ""
    instead_of: Annotated[int | None, Field(ge=1, le=2**63 - 1)] = None


class RollBack(BaseModel):
    kind: ModelKind = "policy"
    reason: Annotated[str, Field(max_length=2000)] = ""
    away_from: Annotated[int | None, Field(ge=1, le=2**63 - 1)] = None


class Bring(BaseModel):
    """`check` is sent by a button that looks at the model, and changes nothing."""

    location: Annotated[str, Field(max_length=4096)] = ""
    check: bool = False


@router.get("")
async def list_models(
    request: Request,
    managed: ManagedProject,
    db: Db,
    before: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
) -> Response:
    """Shows owners and reviewers the newest versions or those `before` one, each kind's that is in use among them, what
    each was made from, and what was in use when.
    """
    return await _page(request, db, managed, before=before)


@router.post("")
async def bring(
    request: Request,
    managed: ManagedProject,
    project: OwnedProject,
    form: Annotated[Bring, Form()],
    principal: CurrentUser,
    db: Db,
) -> Response:
    """Has a model taken over as it is for an owner, or only looks at it."""
    try:
        checked = await base_models.check(settings_of(request), principal, form.location)
        if form.check:
            return await _page(request, db, managed, bring=form, checked=checked)
        run = await bringing.bring(db, principal.user_id, project, checked.card)
    except (Invalid, Conflict) as error:
        return await _page(request, db, managed, error, bring=form)
    return render.redirect(f"/projects/{project.slug}/runs/{run.id}")


async def _page(
    request: Request,
    db: AsyncSession,
    managed: Managed,
    error: DomainError | None = None,
    *,
    bring: Bring | None = None,
    checked: CheckedModel | None = None,
    before: int | None = None,
) -> Response:
    listed = await models.list_versions(db, managed.project.id, most=PAGE_SIZE + 1, before=before)
    shown = {version.id: version for version in listed[:PAGE_SIZE] + await models.all_promoted(db, managed.project.id)}
    views = await _views(db, sorted(shown.values(), key=lambda version: -version.id), settings_of(request).home)
    latest = await reports.current(db, managed.project, LEADERBOARD)
    board = latest.content
    in_use = {view.version.kind: view for view in views if view.version.state == "promoted"}
    by_kind = {kind: [view for view in views if view.version.kind == kind] for kind in get_args(ModelKind)}
    return render.page(
        request,
        "models/list.html",
        status_code=error.status if error else 200,
        managed=managed,
        bring=bring,
        checked=checked,
        problem=translated(error) if error else None,
        views=by_kind,
        comparisons={
            kind: comparison([view.version for view in found], in_use[kind].version if kind in in_use else None)
            for kind, found in by_kind.items()
            if found
        },
        machine_memory_bytes=total_bytes(),
        judged_tasks=await _judged_tasks(db, managed.project),
        in_use=in_use,
        latest=latest,
        board=board,
        called=[writer_name(entry.kind, entry.name) for entry in board.entries] if board is not None else [],
        earlier=await _earlier(db, in_use),
        history=await _promotions(db, managed.project),
        before=before,
        older=listed[PAGE_SIZE - 1].id if len(listed) > PAGE_SIZE else None,
        shown=shown,
    )


@router.get("/duel")
async def show_duel(
    request: Request,
    managed: ManagedProject,
    db: Db,
    first: Annotated[str, Query(max_length=100)] = "",
    second: Annotated[str, Query(max_length=100)] = "",
    place: Annotated[int, Query(ge=1, le=2**31 - 1)] = 1,
) -> Response:
    """Shows owners and reviewers what two writers wrote to one prompt, side by side. Raises Invalid."""
    options = await side_by_side.written(db, managed.project)
    chosen = [Writer.parse(text) for text in (first, second) if text]
    chosen += [option.writer for option in options if option.writer not in chosen][: 2 - len(chosen)]
    await writers.require(db, managed.project, chosen)
    shown = await side_by_side.shown(db, managed.project, chosen, place)
    names = {option.writer: writer_name(option.writer.kind, option.name) for option in options}
    return render.page(
        request,
        "models/duel.html",
        managed=managed,
        options=options,
        called=list(names.values()),
        chosen=[str(writer) for writer in chosen],
        shown=shown,
        names=[names.get(writer, str(writer)) for writer in chosen],
    )


@router.post("/{kind}/{number}/promote")
async def promote(
    request: Request,
    kind: ModelKind,
    number: Annotated[int, Path(ge=1, le=2**31 - 1)],
    project: OwnedProject,
    form: Annotated[Promote, Form()],
    principal: CurrentUser,
    db: Db,
) -> Response:
    """Puts a version into use for an owner. Raises Conflict if another is in use by now than the page showed, Invalid
    where its gate refused it and no reason is given, and ArtifactBroken if its files are not what was registered.
    """
    version = await models.numbered(db, project.id, kind, number)
    await promoting.promote(
        db,
        principal.user_id,
        version,
        home=settings_of(request).home,
        reason=form.reason,
        instead_of=form.instead_of,
    )
    return render.redirect(f"/projects/{project.slug}/models")


@router.post("/roll-back")
async def roll_back(
    request: Request, project: OwnedProject, form: Annotated[RollBack, Form()], principal: CurrentUser, db: Db
) -> Response:
    """Puts the version before back into use for an owner. Raises Conflict if there is none, or if another is in use by
    now than the page showed.
    """
    await promoting.roll_back(
        db,
        principal.user_id,
        project,
        home=settings_of(request).home,
        kind=form.kind,
        reason=form.reason,
        away_from=form.away_from,
    )
    return render.redirect(f"/projects/{project.slug}/models")


async def _views(db: AsyncSession, versions: Sequence[ModelVersion], home: FilePath) -> list[VersionView]:
    """What these were made from is read by its ids alone, however much the project has."""
    made_from = {
        number
        for v in versions
        for number in (v.parent_id, v.reference_id, v.reward_id, v.cost_id)
        if number is not None
    }
    by_id = await models.by_id(db, made_from)
    runs = {run.id: run for run in await db.scalars(select(Run).where(Run.id.in_([v.run_id for v in versions])))}
    of_runs = [run.round_id for run in runs.values()]
    rounds = {entry.id: entry for entry in await db.scalars(select(Round).where(Round.id.in_(of_runs)))}
    learnt_from = [v.dataset_version_id for v in versions]
    datasets = {
        dataset.id: dataset
        for dataset in await db.scalars(select(DatasetVersion).where(DatasetVersion.id.in_(learnt_from)))
    }
    decisions = select(Gate).where(Gate.model_version_id.in_([v.id for v in versions])).order_by(Gate.id)
    gates = {gate.model_version_id: gate for gate in await db.scalars(decisions)}
    views = []
    for version in versions:
        run = runs.get(version.run_id or 0)
        views.append(
            VersionView(
                version=version,
                run=run,
                round=rounds.get(run.round_id or 0) if run else None,
                dataset=datasets.get(version.dataset_version_id or 0),
                parent=by_id.get(version.parent_id or 0),
                reference=by_id.get(version.reference_id or 0),
                reward=by_id.get(version.reward_id or 0),
                cost=by_id.get(version.cost_id or 0),
                gate=gates.get(version.id),
                needs=await asyncio.to_thread(needs.of_version, version, home) if "report" in version.figures else (),
            )
        )
    return views


async def _judged_tasks(db: AsyncSession, project: Project) -> dict[int, int]:
    """In how many tasks people judged what a policy wrote, by its number, as the figures of the project know it."""
    known = (await reports.current(db, project, DASHBOARD)).content
    policies = [version for version in known.versions if version.kind == "policy"] if known is not None else []
    return {version.number: version.judged_tasks for version in policies}


async def _promotions(db: AsyncSession, project: Project) -> list[PromotionView]:
    promotions = await models.promotions(db, project.id)
    concerned = {number for p in promotions for number in (p.model_version_id, p.previous_id) if number is not None}
    versions = await models.by_id(db, concerned)
    actors = {
        user.id: user for user in await db.scalars(select(User).where(User.id.in_([p.actor_id for p in promotions])))
    }
    return [
        PromotionView(
            promotion,
            versions[promotion.model_version_id],
            versions.get(promotion.previous_id or 0),
            actors.get(promotion.actor_id or 0),
        )
        for promotion in promotions
    ]


async def _earlier(db: AsyncSession, in_use: dict[str, VersionView]) -> dict[str, ModelVersion]:
    """Per kind, the version that a roll-back would bring back; a kind without one is missing."""
    earlier = {kind: await models.before(db, view.version) for kind, view in in_use.items()}
    return {kind: version for kind, version in earlier.items() if version is not None}
