"""Erasing a prompt, a response, or what a person wrote: first what it touches, then for good."""

from typing import Annotated

from fastapi import APIRouter, Form, Path, Request
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.errors import DomainError, Invalid
from app.services.erasure.targets import Kind, Target, reach_of
from app.services.erasure.touched import look
from app.services.loop.chores import erasing
from app.web.locales import translated
from app.web.pages.access import Managed, ManagedProject, OwnedProject
from app.web.rendering import render
from app.web.serving.deps import CurrentUser, Db

router = APIRouter(prefix="/projects/{slug}/erase", include_in_schema=False)

Id = Annotated[int, Path(ge=1, le=2**63 - 1)]


class Erasure(BaseModel):
    """`sure` is ticked for a text; for a person their name is typed."""

    files: bool = False
    reason: Annotated[str, Field(max_length=2000)] = ""
    sure: bool = False
    name: Annotated[str, Field(max_length=1000)] = ""


@router.get("/{kind}/{target_id}")
async def show_erasure(
    request: Request, kind: Kind, target_id: Id, managed: ManagedProject, project: OwnedProject, db: Db
) -> Response:
    """Shows an owner all that erasing this would touch."""
    return await _page(request, db, managed, Target(kind, target_id))


@router.post("/{kind}/{target_id}")
async def erase(
    request: Request,
    kind: Kind,
    target_id: Id,
    managed: ManagedProject,
    project: OwnedProject,
    form: Annotated[Erasure, Form()],
    principal: CurrentUser,
    db: Db,
) -> Response:
    """Has a worker erase it for good, for an owner who is sure, and leads to where that can be watched."""
    target = Target(kind, target_id)
    try:
        await erasing.require_sure(db, project, target, sure=form.sure, name=form.name)
        run = await erasing.start(db, principal.user_id, project, target, files=form.files, reason=form.reason)
    except Invalid as error:
        return await _page(request, db, managed, target, error, form)
    return render.redirect(f"/projects/{project.slug}/runs/{run.id}")


async def _page(
    request: Request,
    db: AsyncSession,
    managed: Managed,
    target: Target,
    error: DomainError | None = None,
    form: Erasure | None = None,
) -> Response:
    reach = await reach_of(db, managed.project, target)
    return render.page(
        request,
        "erasure/show.html",
        status_code=error.status if error else 200,
        managed=managed,
        target=target,
        reach=reach,
        touched=await look(db, managed.project, reach),
        failed=await erasing.failed(db, managed.project, target),
        problem=translated(error) if error else None,
        form=form or Erasure(),
    )
