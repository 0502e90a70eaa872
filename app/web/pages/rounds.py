"""One round: its steps with their runs, and its gates with each rule's figure and bound."""

from typing import Annotated

from fastapi import APIRouter, Form, Path, Request
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.db.tables import Project, Round
from app.errors import NotFound
from app.services.loop.asking import asked as asked_in
from app.services.loop.rounds import rounds
from app.web.pages.access import ManagedProject, OwnedProject
from app.web.rendering import render
from app.web.serving.deps import CurrentUser, Db, settings_of
from app.web.words import round_view

router = APIRouter(prefix="/projects/{slug}/rounds/{number}", include_in_schema=False)

Number = Annotated[int, Path(ge=1, le=2**63 - 1)]


class Override(BaseModel):
    reason: Annotated[str, Field(max_length=2000)] = ""


@router.get("")
async def show_round(request: Request, number: Number, managed: ManagedProject, db: Db) -> Response:
    """Shows owners and reviewers the steps of a round with their runs, and its gates rule by rule."""
    entry = await _round(db, managed.project, number)
    view = await round_view.view(db, entry)
    asked = (await asked_in.in_rounds(db, [entry.id])).get(entry.id, ())
    return render.page(request, "rounds/show.html", managed=managed, view=view, asked=asked)


@router.get("/state")
async def show_state(request: Request, number: Number, managed: ManagedProject, db: Db) -> Response:
    """The part of the page that moves."""
    entry = await _round(db, managed.project, number)
    view = await round_view.view(db, entry)
    asked = (await asked_in.in_rounds(db, [entry.id])).get(entry.id, ())
    return render.partial(request, "rounds/_state.html", managed=managed, view=view, asked=asked)


@router.post("/cancel")
async def cancel_round(number: Number, project: OwnedProject, principal: CurrentUser, db: Db) -> Response:
    """Ends a round and its runs for an owner; what they have made stays. Raises Conflict if it is over."""
    entry = await _round(db, project, number)
    await rounds.cancel(db, principal, entry)
    return render.redirect(f"/projects/{project.slug}")


@router.post("/continue")
async def continue_round(number: Number, project: OwnedProject, principal: CurrentUser, db: Db) -> Response:
    """Goes on with the labels or votes at hand for an owner. Raises Conflict at any other step, and without a label."""
    entry = await _round(db, project, number)
    await rounds.continue_now(db, principal, entry)
    return render.redirect(f"/projects/{project.slug}")


@router.post("/override")
async def override_gate(
    request: Request,
    number: Number,
    project: OwnedProject,
    form: Annotated[Override, Form()],
    principal: CurrentUser,
    db: Db,
) -> Response:
    """Goes on from a gate's refusal for an owner who says why. Raises Conflict where no gate has refused anything or
    another round is under way, Invalid without a reason.
    """
    entry = await _round(db, project, number)
    await rounds.override(db, principal, entry, form.reason, home=settings_of(request).home)
    return render.redirect(f"/projects/{project.slug}/rounds/{entry.number}")


async def _round(db: AsyncSession, project: Project, number: int) -> Round:
    found = await db.scalar(select(Round).where(Round.project_id == project.id, Round.number == number))
    if found is None:
        raise NotFound
    return found
