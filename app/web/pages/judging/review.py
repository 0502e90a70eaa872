"""The reviewers' page: the board with the task that divides people most, for a verdict of one's own.

Reviewers decide blind unless the project shows them what was said (`app.services.judging.reviews`).
"""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.db.tables import Project
from app.security import Principal
from app.services.judging import reviews
from app.services.projects import projects
from app.services.projects.standing import Progress
from app.web.pages.access import ManagedProject
from app.web.pages.judging import board
from app.web.pages.judging.board import Done, Room, SkipForm
from app.web.rendering import render
from app.web.serving.deps import CurrentUser, Db

router = APIRouter(prefix="/projects/{slug}/review", include_in_schema=False)


async def _progress(_request: Request, db: AsyncSession, principal: Principal, project: Project) -> Progress:
    waiting = await reviews.waiting(db, principal, project)
    return Progress(waiting.today, waiting.decided, waiting.tasks)


async def _admit(db: AsyncSession, principal: Principal, slug: str) -> None:
    """Raises NotFound, and Forbidden for who may not review."""
    project = await projects.get(db, principal, slug)
    await projects.require_role(db, principal, project, "owner", "reviewer")


ROOM = Room(
    name="review",
    empty="annotate/_all_decided.html",
    next_id=reviews.claim,
    progress=_progress,
    others=reviews.others,
    admit=_admit,
)


@router.get("")
async def show_review(
    request: Request,
    managed: ManagedProject,
    principal: CurrentUser,
    db: Db,
    assignment: int | None = None,
    done: int | None = None,
) -> Response:
    """The divided task that owners and reviewers are given, or the earlier one that `assignment` names.

    `done` was just dealt with.
    """
    return await board.show(request, ROOM, db, principal, managed.project, assignment_id=assignment, done_id=done)


@router.get("/next")
async def show_next(
    request: Request, managed: ManagedProject, principal: CurrentUser, db: Db, waiting: bool = False
) -> Response:
    """The region with the task under review; 204 for a page that is `waiting` while there is none."""
    return await board.show_next(request, ROOM, db, principal, managed.project, is_waiting=waiting)


@router.get("/pairs/{assignment_id}")
async def show_earlier(
    request: Request, managed: ManagedProject, principal: CurrentUser, db: Db, assignment_id: int
) -> Response:
    """The region with an earlier task, the verdict, and what others had said."""
    return await board.show_earlier(request, ROOM, db, principal, managed.project, assignment_id)


@router.get("/ahead")
async def show_ahead(request: Request, managed: ManagedProject) -> Response:
    """Nothing is fetched ahead: a task that one reviewer has is kept from the others."""
    return render.partial(request, "annotate/_ahead.html", comparison=None, previous_id=None)


@router.get("/recent")
async def show_recent(request: Request, managed: ManagedProject, principal: CurrentUser, db: Db) -> Response:
    """What this reviewer decided last."""
    return await board.show_recent(request, ROOM, db, principal, managed.project)


@router.post("/{assignment_id}/judgement")
async def decide(request: Request, slug: str, assignment_id: int, principal: CurrentUser) -> Response:
    """Save a verdict, or one in place of an earlier one, and lead on to the next task."""
    submission = await board.submission_of(request, principal)
    saved = await board.save(request, ROOM, slug, principal, assignment_id, submission)
    if isinstance(saved, Response):
        return saved
    return await board.go_on(request, ROOM, slug, principal, assignment_id, Done(submission.answer))


@router.post("/{assignment_id}/skip")
async def skip(
    request: Request, slug: str, assignment_id: int, form: Annotated[SkipForm, Form()], principal: CurrentUser
) -> Response:
    """Leaves a task to another reviewer and leads on to the next."""
    return await board.skip(request, ROOM, slug, principal, assignment_id, form)
