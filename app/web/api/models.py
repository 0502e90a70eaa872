"""Model versions: what they are made of, and which one is in use."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, status
from pydantic import BaseModel, Field
from sqlalchemy import select

from app.db.tables import ModelVersion
from app.db.tables.lineage import ModelKind
from app.services.loop.chores import bringing
from app.services.loop.models import models
from app.services.loop.rounds import promoting
from app.services.loop.runs import base_models
from app.services.reports import reports
from app.services.reports.agreement import AGREEMENT
from app.services.reports.ceiling import ceiling, said_alike
from app.services.reports.reward_model_figures import REWARD_MODEL_FIGURES
from app.services.reports.reward_models import REWARD_MODELS
from app.web.api.access import Caller, Id, ManagedProject, OwnedProject
from app.web.api.paging import Page, Paging, read_page
from app.web.api.schemas import CheckedModelOut, ModelIn, ModelOut, PromoteIn, RollBackIn, RunOut
from app.web.serving.deps import Db, settings_of

router = APIRouter(tags=["models"])


@router.get("/projects/{slug}/models", summary="List model versions")
async def list_models(
    project: ManagedProject, db: Db, paging: Paging, kind: Annotated[ModelKind | None, Query()] = None
) -> Page[ModelOut]:
    """Policies, reward models and cost models, newest first, or those of one `kind`; 403 for annotators."""
    statement = select(ModelVersion).where(ModelVersion.project_id == project.id)
    if kind is not None:
        statement = statement.where(ModelVersion.kind == kind)
    return await read_page(db, statement, ModelVersion.id, paging=paging, out=ModelOut.model_validate)


@router.post("/projects/{slug}/models", status_code=status.HTTP_202_ACCEPTED, summary="Bring a model")
async def add_model(request: Request, project: OwnedProject, caller: Caller, db: Db, body: ModelIn) -> RunOut:
    """Has a worker take a model over as it is, without training: as the project's first policy, which writes at once,
    or else as a version that waits to be promoted. 422 for a model that can't be used, or that you may not name.
    """
    checked = await base_models.check(settings_of(request), caller, body.location)
    run = await bringing.bring(db, caller.user_id, project, checked.card)
    return RunOut.model_validate(run)


@router.post("/projects/{slug}/models/check", summary="Look at a model")
async def check_model(request: Request, project: OwnedProject, caller: Caller, body: ModelIn) -> CheckedModelOut:
    """What a model's files say of it, and the memory that each stage would take; nothing is changed. 422 as above."""
    return CheckedModelOut.model_validate(await base_models.check(settings_of(request), caller, body.location))


@router.get("/projects/{slug}/models/{kind}/{number}", summary="Read a model version")
async def read_model(project: ManagedProject, kind: ModelKind, number: Id, db: Db) -> ModelOut:
    """A version with its figures and the ids of all that it was made from; 404 for a number that its kind doesn't have,
    403 for annotators.
    """
    return ModelOut.model_validate(await models.numbered(db, project.id, kind, number))


class RewardReportOut(BaseModel):
    """Rows as the figures `reward-…` have them, of this version."""

    as_of: datetime | None = Field(description="The moment that the rows tell of; null before there are any.")
    is_awaited: bool = Field(description="A newer state is being computed: ask again.")
    problem: str | None = Field(description="Why there is no newer state.")
    human_agreement: float | None = Field(description="How often two people say the same of a task; null: too few did.")
    ceiling: float | None = Field(description="The most that a model could agree with such people.")
    accuracy: list[dict[str, Any]] = Field(description="Of all pairs (`all`), and by kind of pair.")
    certainty: list[dict[str, Any]] = Field(description="Loss, Brier score and calibration error.")
    changes: list[dict[str, Any]] = Field(description="Against the model before it, on the same pairs.")
    probes: list[dict[str, Any]] = Field(description="Edits that make no response better.")
    best_of_n: list[dict[str, Any]]
    disputed_pairs: list[dict[str, Any]] = Field(description="Where it and people differ most; texts are in the tasks.")


@router.get("/projects/{slug}/models/reward/{number}/report", summary="Read the report on a reward model")
async def read_reward_report(project: ManagedProject, number: Id, db: Db) -> RewardReportOut:
    """What a worker has found out about one of the newest reward models; no rows of older ones. 404 for a number that
    there isn't, 403 for annotators.
    """
    await models.numbered(db, project.id, "reward", number)
    latest = await reports.current(db, project, REWARD_MODELS)
    people = (await reports.current(db, project, AGREEMENT)).content
    rows = [
        [dict(row) for row in await figure.read(db, latest.content) if row["version"] == number]
        for figure in REWARD_MODEL_FIGURES
    ]
    agreement = said_alike(people)
    return RewardReportOut(
        as_of=latest.written_at,
        is_awaited=latest.is_awaited,
        problem=latest.problem,
        human_agreement=agreement,
        ceiling=None if agreement is None else ceiling(agreement),
        **dict(zip(("accuracy", "certainty", "changes", "probes", "best_of_n", "disputed_pairs"), rows, strict=True)),
    )


@router.post("/projects/{slug}/models/{kind}/{number}/promote", summary="Put a model version to use")
async def promote(
    request: Request, project: OwnedProject, kind: ModelKind, number: Id, body: PromoteIn, caller: Caller, db: Db
) -> ModelOut:
    """The version in use until now is archived; `roll-back` brings it back. 422 where its gate refused the version and
    `reason` is blank, and where its files are not those that were registered.
    """
    version = await models.numbered(db, project.id, kind, number)
    await promoting.promote(db, caller.user_id, version, home=settings_of(request).home, reason=body.reason)
    await db.refresh(version)
    return ModelOut.model_validate(version)


@router.post("/projects/{slug}/roll-back", summary="Go back to the model version in use before")
async def roll_back(request: Request, project: OwnedProject, body: RollBackIn, caller: Caller, db: Db) -> ModelOut:
    """Puts the version that was in use before the present one back and returns it; 409 when there is none."""
    home = settings_of(request).home
    version = await promoting.roll_back(db, caller.user_id, project, home=home, kind=body.kind, reason=body.reason)
    await db.refresh(version)
    return ModelOut.model_validate(version)
