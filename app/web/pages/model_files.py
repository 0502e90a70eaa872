"""The page of a model's card, from which the model is taken out."""

from typing import Annotated

from fastapi import APIRouter, Form, Path, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from app.db.tables.lineage import ModelKind
from app.services import audit
from app.services.loop.models import models, pushing
from app.services.loop.models.artifacts import ArtifactBroken
from app.services.loop.runs import starting
from app.services.loop.stages import model_card
from app.web.locales import translated
from app.web.pages.access import ManagedProject, OwnedProject
from app.web.rendering import render
from app.web.serving import archives
from app.web.serving.deps import CurrentUser, Db, settings_of

router = APIRouter(prefix="/projects/{slug}/models/{kind}/{number}", include_in_schema=False)

Number = Annotated[int, Path(ge=1, le=2**31 - 1)]


class Push(BaseModel):
    place: Annotated[str, Field(max_length=2_000)] = ""


@router.get("/card")
async def show_card(request: Request, kind: ModelKind, number: Number, managed: ManagedProject, db: Db) -> Response:
    """Shows owners and reviewers what leaves with a model, and how large it is."""
    version = await models.numbered(db, managed.project.id, kind, number)
    archive, problem = None, None
    try:
        archive = await model_card.archive_of(db, managed.project, version, settings_of(request).home)
    except ArtifactBroken as error:
        problem = translated(error)
    return render.page(
        request,
        "models/card.html",
        managed=managed,
        version=version,
        card=model_card.body_of(archive.card) if archive is not None else None,
        archive=archive,
        problem=problem,
        places=[place.called for place in pushing.destinations(settings_of(request))],
    )


@router.post("/push")
async def push(
    kind: ModelKind,
    number: Number,
    project: OwnedProject,
    form: Annotated[Push, Form()],
    principal: CurrentUser,
    db: Db,
) -> Response:
    """Queues the sending of a model to one of the site's places, for an owner, and leads to its run. Raises Invalid."""
    version = await models.numbered(db, project.id, kind, number)
    run = await starting.push(db, principal.user_id, project, version, form.place)
    return render.redirect(f"/projects/{project.slug}/runs/{run.id}")


@router.get("/archive")
async def download_archive(
    request: Request, kind: ModelKind, number: Number, managed: ManagedProject, db: Db
) -> Response:
    """Sends owners and reviewers a model's directory as one file. Raises ArtifactBroken."""
    version = await models.numbered(db, managed.project.id, kind, number)
    archive = await model_card.archive_of(db, managed.project, version, settings_of(request).home)
    if archives.begins(request.headers):
        await audit.note(db, "export", f"{kind} {number}", {"as": "archive"}, project_id=managed.project.id)
    return archives.answer(archive, request.headers)
