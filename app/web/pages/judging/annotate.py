"""The annotator's page: one comparison at a time, judged by one key and Enter, and the next ones fetched ahead."""

import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.db.session import transaction
from app.db.tables import Judgement, Project
from app.db.tables.judging import LEASE_SLOTS
from app.security import Principal
from app.services.judging import assignments
from app.services.judging.assignments import Desk
from app.services.judging.check_tasks import Standing
from app.services.projects import projects, standing
from app.services.projects.standing import Progress, Unavailable
from app.web.pages.judging import board
from app.web.pages.judging.board import Done, Room, SkipForm
from app.web.rendering import render
from app.web.serving.deps import CurrentProject, CurrentUser, Db, sessions_of, utc_offset_of

router = APIRouter(prefix="/projects/{slug}", include_in_schema=False)

NUMBER = re.compile("[0-9]{1,18}")


@dataclass(frozen=True)
class Nothing:
    """Why there is no comparison: a qualification round that somebody hasn't passed, or what is left isn't for them."""

    practice: Standing | None
    unavailable: Unavailable


async def _next_id(db: AsyncSession, principal: Principal, project: Project) -> int | None:
    lease = await assignments.lease_next(db, principal, project)
    return lease.id if lease else None


async def _progress(request: Request, db: AsyncSession, principal: Principal, project: Project) -> Progress:
    return await standing.annotator_progress(db, principal, project, utc_offset=utc_offset_of(request))


async def _nothing(db: AsyncSession, principal: Principal, project: Project) -> Nothing:
    practice = await assignments.practice_of(db, principal, project.id)
    return Nothing(practice, await standing.unavailable(db, principal, project))


ROOM = Room(name="annotate", empty="annotate/_empty.html", next_id=_next_id, progress=_progress, nothing=_nothing)


@router.get("/annotate")
async def show_page(
    request: Request,
    project: CurrentProject,
    principal: CurrentUser,
    db: Db,
    assignment: int | None = None,
    done: int | None = None,
) -> Response:
    """The comparison that is leased to this person, or the earlier one that `assignment` names.

    `done` was just dealt with.
    """
    return await board.show(request, ROOM, db, principal, project, assignment_id=assignment, done_id=done)


@router.get("/annotate/next")
async def show_next(
    request: Request, project: CurrentProject, principal: CurrentUser, db: Db, waiting: bool = False
) -> Response:
    """The region with the leased comparison.

    A page that is `waiting` shows already that there is none, and gets 204 for it.
    """
    return await board.show_next(request, ROOM, db, principal, project, is_waiting=waiting)


@router.get("/annotate/pairs/{assignment_id}")
async def show_earlier(
    request: Request, project: CurrentProject, principal: CurrentUser, db: Db, assignment_id: int
) -> Response:
    """The region with an earlier comparison and what was said of it."""
    return await board.show_earlier(request, ROOM, db, principal, project, assignment_id)


@router.get("/annotate/ahead")
async def show_ahead(
    request: Request,
    project: CurrentProject,
    principal: CurrentUser,
    db: Db,
    known: Annotated[list[int], Query(max_length=LEASE_SLOTS)] = [],  # noqa: B006 - FastAPI copies it
) -> Response:
    """The first comparison after the one on the desk that a page doesn't know, to be put there without asking again."""
    desk = await assignments.lease(db, principal, project.id, ahead=True, known=known)
    return await _ahead(request, db, principal, desk)


@router.get("/annotate/recent")
async def show_recent(request: Request, project: CurrentProject, principal: CurrentUser, db: Db) -> Response:
    """What this person said last, and how far they are."""
    return await board.show_recent(request, ROOM, db, principal, project)


@router.post("/assignments/{assignment_id}/judgement")
async def submit(request: Request, slug: str, assignment_id: int, principal: CurrentUser) -> Response:
    """Save an answer.

    A page that shows the next comparison already says so in `shown`, followed by those that it has fetched ahead, and
    gets another one.
    """
    submission = await board.submission_of(request, principal)
    saved = await board.save(request, ROOM, slug, principal, assignment_id, submission)
    if isinstance(saved, Response):
        return saved
    if saved.shows_verdict:
        return await _show_verdict(request, slug, principal, assignment_id)
    form = await request.form()
    shown = [int(text) for text in form.getlist("shown") if isinstance(text, str) and NUMBER.fullmatch(text)]
    if shown:
        return await _go_on_from(request, slug, principal, saved.judgement, shown)
    return await board.go_on(request, ROOM, slug, principal, assignment_id, Done(submission.answer))


@router.post("/assignments/{assignment_id}/skip")
async def skip(
    request: Request, slug: str, assignment_id: int, form: Annotated[SkipForm, Form()], principal: CurrentUser
) -> Response:
    """Gives a task back for good and leads the annotator on to the next one."""
    return await board.skip(request, ROOM, slug, principal, assignment_id, form)


async def _go_on_from(request: Request, slug: str, principal: Principal, done: Judgement, shown: list[int]) -> Response:
    """One more comparison; if the first that is shown isn't this person's any more, a whole new region."""
    async with transaction(sessions_of(request)) as db:
        desk = await assignments.lease(db, principal, done.project_id, ahead=True, known=shown)
        if desk.current is None or desk.current.id != shown[0]:
            project = await projects.get(db, principal, slug)
            comparison = await board.lay_out(ROOM, db, principal, desk.current.id) if desk.current else None
            return await board.region(request, ROOM, db, principal, project, comparison, done.assignment_id)
        return await _ahead(request, db, principal, desk)


async def _show_verdict(request: Request, slug: str, principal: Principal, assignment_id: int) -> Response:
    """The same comparison with what was said of it, and what the project says."""
    if not render.is_htmx(request):
        return render.redirect(f"/projects/{slug}/annotate?assignment={assignment_id}")
    async with transaction(sessions_of(request)) as db:
        project = await projects.get(db, principal, slug)
        return await board.show_earlier(request, ROOM, db, principal, project, assignment_id)


async def _ahead(request: Request, db: AsyncSession, principal: Principal, desk: Desk) -> Response:
    comparison = await board.lay_out(ROOM, db, principal, desk.ahead.id) if desk.ahead else None
    previous_id = desk.before_ahead.id if desk.before_ahead else None
    return render.partial(request, "annotate/_ahead.html", comparison=comparison, previous_id=previous_id)
