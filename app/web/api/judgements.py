"""Judgements read as they come, without cutting anything."""

from typing import Annotated

from fastapi import APIRouter, Query, Response, status

from app.services.data import following
from app.services.data.following import LONGEST_CURSOR, MOST
from app.web.api.access import ManagedProject
from app.web.api.schemas import NewsOut, Problem
from app.web.serving.deps import Db

router = APIRouter(tags=["datasets"])


@router.get(
    "/projects/{slug}/judgements/live",
    summary="Follow judgements",
    responses={
        status.HTTP_409_CONFLICT: {
            "model": Problem,
            "description": "`after` is older than 30 days or of another database, or what counts was set anew: begin"
            " again without it.",
        }
    },
)
async def follow_judgements(
    project: ManagedProject,
    db: Db,
    response: Response,
    after: Annotated[
        str | None,
        Query(max_length=LONGEST_CURSOR, description="`cursor` of the answer before; without it, from the beginning."),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MOST, description="How many judgements are looked at, at most.")] = 100,
) -> NewsOut:
    """What a dataset version cut now would hold, and from then on what changes of it: new and changed answers, and
    those that count no more, because they were replaced, excluded, erased or undone.

    Nothing is cut, and whoever judged can still change their answer. Keep rows by `judgement_id`, put each that comes
    in the place of the one before, drop those that are `gone`, and ask again with `cursor`: at once until
    `is_up_to_date`, then every few seconds. A row has the columns of the judgements' export of a version.
    """
    response.headers["Cache-Control"] = "no-store"
    news = await following.follow(db, project, after, most=limit)
    return NewsOut(rows=list(news.rows), gone=list(news.gone), cursor=news.cursor, is_up_to_date=news.is_up_to_date)
