"""Backups, for admins of the site: how old the last one is, and what came of every try."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.services.backups import standing
from app.web.pages.access import CurrentAdmin
from app.web.rendering import render
from app.web.serving.deps import Db, settings_of

router = APIRouter(include_in_schema=False)

SHOWN = 30


@router.get("/backups")
async def list_backups(request: Request, admin: CurrentAdmin, db: Db) -> Response:
    """Shows admins the last tries, newest first."""
    return render.page(
        request,
        "backups/list.html",
        standing=await standing.standing(db, settings_of(request)),
        backups=await standing.latest(db, limit=SHOWN),
        hours=settings_of(request).backup_hours,
    )
