"""How the site is, for its admins: each check with what it found and what to do."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.services.backups import standing
from app.services.hooks import deliveries
from app.web.pages.access import CurrentAdmin
from app.web.rendering import render
from app.web.serving.deps import Db, settings_of
from app.web.serving.readiness import findings_of
from app.web.words import health

router = APIRouter(include_in_schema=False)


@router.get("/health")
async def show_health(request: Request, admin: CurrentAdmin, db: Db) -> Response:
    """Shows admins what `/readyz` looks at, in words, the age of the last backup, and a webhook that was given up."""
    return render.page(
        request,
        "health/show.html",
        rows=[health.row_of(found) for found in await findings_of(request)],
        standing=await standing.standing(db, settings_of(request)),
        webhook_given_up=await deliveries.are_given_up(db, None),
    )
