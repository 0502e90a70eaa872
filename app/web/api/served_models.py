"""Served models: endpoints that write responses, tried and asked; and pairs of what several writers wrote."""

from fastapi import APIRouter, Request, status
from sqlalchemy import select

from app.db.tables import ServedModel
from app.services.loop.comparisons.comparisons import comparisons
from app.services.loop.comparisons.writers import Writer, writers_of
from app.services.loop.runs import starting
from app.services.served import served_models
from app.web.api.access import Caller, Id, ManagedProject, OwnedProject
from app.web.api.edits import Edit, Read
from app.web.api.paging import Page, Paging, read_page
from app.web.api.schemas import RunOut
from app.web.api.served_schemas import (
    AskIn,
    ComparisonOut,
    PairsIn,
    ServedAnswerOut,
    ServedModelChange,
    ServedModelIn,
    ServedModelOut,
    TestIn,
    WriterOut,
)
from app.web.serving.deps import Db, settings_of

router = APIRouter(prefix="/projects/{slug}", tags=["served models"])


@router.get("/served-models", summary="List served models")
async def list_served_models(project: ManagedProject, db: Db, paging: Paging) -> Page[ServedModelOut]:
    """Newest first, without those that were removed; 403 for annotators."""
    there = select(ServedModel).where(ServedModel.project_id == project.id, ServedModel.removed_at.is_(None))
    return await read_page(db, there, ServedModel.id, paging=paging, out=ServedModelOut.of)


@router.post("/served-models", status_code=status.HTTP_201_CREATED, summary="Add a served model")
async def add_served_model(project: OwnedProject, body: ServedModelIn, request: Request, db: Db) -> ServedModelOut:
    """409 for a name that is taken. The address isn't tried: `test` does that."""
    home = settings_of(request).home
    return ServedModelOut.of(await served_models.create(db, project, body.description(), key=body.key, home=home))


@router.get("/writers", summary="List whose responses can be compared")
async def list_writers(project: ManagedProject, db: Db) -> list[WriterOut]:
    """The policy in use and the served models, removed ones that have written among them; 403 for annotators."""
    return [WriterOut.of(found) for found in await writers_of(db, project)]


@router.get("/comparisons", summary="Read how writers do against each other")
async def read_comparisons(project: ManagedProject, db: Db) -> list[ComparisonOut]:
    """Every two writers that people compared, a served model among them, who is ahead first; 403 for annotators."""
    return [ComparisonOut.of(found) for found in await comparisons(db, project)]


@router.post("/pairs", status_code=status.HTTP_202_ACCEPTED, summary="Make pairs of what writers wrote")
async def make_pairs(project: OwnedProject, body: PairsIn, caller: Caller, db: Db) -> RunOut:
    """A run that makes pairs of responses to one prompt that are in no pair yet, open for people when it is done."""
    compared = [Writer.parse(text) for text in body.compared]
    return RunOut.model_validate(await starting.compare(db, caller.user_id, project, compared, pairs=body.pairs))


@router.post("/served-models/{served_model_id}/test", summary="Ask a served model for one response")
async def try_served_model(
    project: OwnedProject, served_model_id: Id, body: TestIn, request: Request, db: Db
) -> ServedAnswerOut:
    """Once, within 20 seconds; nothing is stored. 400 with the reason where no usable response comes."""
    served = await served_models.get(db, project, served_model_id)
    endpoint = served_models.endpoint_of(served, served_models.described(served), settings_of(request).home)
    await db.commit()  # no connection is held while somebody else's machine thinks
    return ServedAnswerOut.model_validate(await served_models.try_out(endpoint, body.prompt))


@router.post(
    "/served-models/{served_model_id}/runs",
    status_code=status.HTTP_202_ACCEPTED,
    summary="Have a served model write responses",
)
async def ask_served_model(project: OwnedProject, served_model_id: Id, body: AskIn, caller: Caller, db: Db) -> RunOut:
    """A run that asks it and then makes pairs of what `compared` wrote; 409 in a project without prompts."""
    served = await served_models.get(db, project, served_model_id)
    compared = [Writer.parse(text) for text in body.compared]
    run = await starting.ask(db, caller.user_id, project, served, prompts=body.prompts, compared=compared)
    return RunOut.model_validate(run)


@router.get("/served-models/{served_model_id}", summary="Read a served model")
async def read_served_model(project: ManagedProject, served_model_id: Id, db: Db, read: Read) -> ServedModelOut:
    """How it is reached and asked; 403 for annotators."""
    served = await served_models.get(db, project, served_model_id)
    await read.tell(db, served)
    return ServedModelOut.of(served)


@router.patch("/served-models/{served_model_id}", summary="Change a served model")
async def change_served_model(
    project: OwnedProject, served_model_id: Id, body: ServedModelChange, request: Request, db: Db, edit: Edit
) -> ServedModelOut:
    """Runs that are queued already ask as they were told. 422 for another host without its key."""
    served = await served_models.get(db, project, served_model_id)
    await edit.require_current(db, served)
    home = settings_of(request).home
    await served_models.change(db, project, served, body.description(served), body.new_key(), home=home)
    await edit.tell(db, served)
    return ServedModelOut.of(served)


@router.delete(
    "/served-models/{served_model_id}", status_code=status.HTTP_204_NO_CONTENT, summary="Remove a served model"
)
async def remove_served_model(project: OwnedProject, served_model_id: Id, db: Db) -> None:
    """It is asked no more and its key is forgotten; what it wrote stays."""
    await served_models.remove(db, await served_models.get(db, project, served_model_id))
