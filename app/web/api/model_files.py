"""Models out: a version as a plain Hugging Face directory in one file, and its card."""

from typing import Any

from fastapi import APIRouter, Request, Response, status
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import PlainTextResponse

from app.db.tables.lineage import ModelKind
from app.services import audit
from app.services.loop.models import models
from app.services.loop.runs import starting
from app.services.loop.stages import model_card
from app.web.api.access import Caller, Id, ManagedProject, OwnedProject
from app.web.api.schemas import RunOut
from app.web.serving import archives
from app.web.serving.deps import Db, settings_of

router = APIRouter(tags=["models"])

_TAR: dict[str, Any] = {"content": {"application/x-tar": {"schema": {"type": "string", "format": "binary"}}}}
_MARKDOWN: dict[str, Any] = {"content": {"text/markdown": {"schema": {"type": "string"}}}}


@router.get(
    "/projects/{slug}/models/{kind}/{number}/archive",
    summary="Download a model version",
    response_class=Response,
    responses={
        200: {**_TAR, "description": "The archive."},
        206: {**_TAR, "description": "The part of it that `Range` asked for."},
        304: {"description": "`If-None-Match` has the tag of this archive."},
        416: {"description": "It isn't that long."},
    },
)
async def download_model(request: Request, project: ManagedProject, kind: ModelKind, number: Id, db: Db) -> Response:
    """A tar of the directory that `from_pretrained` opens, with its card as `README.md`; 403 for annotators.

    It is the same to the byte whenever it is asked for, until its card says more: send `Range`, with the `ETag` as
    `If-Range`, to go on with a download that broke off. Every file is compared with its manifest while it is read; the
    answer breaks off before the end of one that doesn't match. 422 where the model's files are gone.
    """
    version = await models.numbered(db, project.id, kind, number)
    archive = await model_card.archive_of(db, project, version, settings_of(request).home)
    if archives.begins(request.headers):
        await audit.note(db, "export", f"{kind} {number}", {"as": "archive"}, project_id=project.id)
    return archives.answer(archive, request.headers)


@router.get(
    "/projects/{slug}/models/{kind}/{number}/card",
    summary="Read a model's card",
    response_class=PlainTextResponse,
    responses={200: {**_MARKDOWN, "description": "Markdown that begins with YAML, as hubs read it."}},
)
async def read_model_card(request: Request, project: ManagedProject, kind: ModelKind, number: Id, db: Db) -> Response:
    """What it was made from, its figures with their intervals, what its gates decided, and what it is not for."""
    version = await models.numbered(db, project.id, kind, number)
    card = await model_card.write(db, project, version, settings_of(request).home)
    return PlainTextResponse(card, media_type="text/markdown")


class PushIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    place: str = Field(max_length=2_000, description="One of those that the site's admin has named.")


@router.post(
    "/projects/{slug}/models/{kind}/{number}/push",
    status_code=status.HTTP_202_ACCEPTED,
    summary="Push a model version",
)
async def push_model(
    project: OwnedProject, kind: ModelKind, number: Id, caller: Caller, db: Db, body: PushIn
) -> RunOut:
    """Has a worker send the directory with its card to a folder, a storage or a hub.

    422 for a place that isn't offered, which says those that are.
    """
    version = await models.numbered(db, project.id, kind, number)
    return RunOut.model_validate(await starting.push(db, caller.user_id, project, version, body.place))
