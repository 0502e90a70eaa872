"""The reviewers' page: the annotator's board with the task that divides people most, for a verdict of one's own.

Reviewers decide blind unless the project shows them what was said (`app.services.judging.reviews`).
"""

import secrets
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.db.session import transaction
from app.db.tables import Project
from app.errors import AnsweredBefore, Invalid, KeyReused, LeaseExpired, NotSignedIn
from app.security import Principal
from app.services.judging import assignments, judgements, reviews
from app.services.judging.answers import Answer
from app.services.projects import projects
from app.services.projects.question import question_of
from app.services.projects.standing import Progress
from app.web.pages import answer_form
from app.web.pages.access import ManagedProject
from app.web.pages.annotate import Comparison, Done, SkipForm, problem_of
from app.web.rendering import render
from app.web.serving.deps import CurrentUser, Db, sessions_of

router = APIRouter(prefix="/projects/{slug}/review", include_in_schema=False)

EMPTY = "annotate/_all_decided.html"


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
    project = managed.project
    comparison: Comparison | None
    if assignment is not None:
        comparison, previous_id = await _earlier(db, principal, project, assignment)
    else:
        comparison, previous_id = await _current(db, principal, project), done or await _latest(db, principal, project)
    said = Done((await assignments.view(db, principal, done)).answer) if done is not None else None
    return await _page(request, db, principal, project, comparison, previous_id, said)


@router.get("/next")
async def show_next(
    request: Request, managed: ManagedProject, principal: CurrentUser, db: Db, waiting: bool = False
) -> Response:
    """The region with the task under review; 204 for a page that is `waiting` while there is none."""
    comparison = await _current(db, principal, managed.project)
    if comparison is None and waiting:
        return Response(status_code=204)
    return _region(request, managed.project, comparison, await _latest(db, principal, managed.project))


@router.get("/pairs/{assignment_id}")
async def show_earlier(
    request: Request, managed: ManagedProject, principal: CurrentUser, db: Db, assignment_id: int
) -> Response:
    """The region with an earlier task, the verdict, and what others had said."""
    return _region(request, managed.project, *await _earlier(db, principal, managed.project, assignment_id))


@router.get("/ahead")
async def show_ahead(request: Request, managed: ManagedProject) -> Response:
    """Nothing is fetched ahead: a task that one reviewer has is kept from the others."""
    return render.partial(request, "annotate/_ahead.html", comparison=None, previous_id=None)


@router.get("/recent")
async def show_recent(request: Request, managed: ManagedProject, principal: CurrentUser, db: Db) -> Response:
    """What this reviewer decided last."""
    is_htmx = render.is_htmx(request)
    respond = render.partial if is_htmx else render.page
    return respond(
        request,
        "annotate/_recent.html" if is_htmx else "annotate/recent.html",
        project=managed.project,
        room_name="review",
        progress=await _progress(db, principal, managed.project),
        recent=await assignments.recent(db, principal, managed.project, verdicts=True),
    )


@router.post("/{assignment_id}/judgement")
async def decide(request: Request, slug: str, assignment_id: int, principal: CurrentUser) -> Response:
    """Save a verdict, or one in place of an earlier one, and lead on to the next task."""
    form = await request.form()
    if form.get("annotator", str(principal.user_id)) != str(principal.user_id):
        raise NotSignedIn  # somebody else has signed in meanwhile; the page keeps the answer until its author is back
    submission = answer_form.read(form)
    try:
        async with transaction(sessions_of(request)) as db:
            await _managed(db, principal, slug)
            await judgements.submit(db, principal, assignment_id, submission)
    except LeaseExpired as error:
        return await _lost(request, slug, principal, assignment_id, submission.answer, error)
    except KeyReused:
        raise
    except (Invalid, AnsweredBefore) as error:
        return await _refused(request, slug, principal, assignment_id, submission.answer, error)
    return await _go_on(request, slug, principal, assignment_id, Done(submission.answer))


@router.post("/{assignment_id}/skip")
async def skip(
    request: Request, slug: str, assignment_id: int, form: Annotated[SkipForm, Form()], principal: CurrentUser
) -> Response:
    """Leaves a task to another reviewer and leads on to the next."""
    async with transaction(sessions_of(request)) as db:
        await _managed(db, principal, slug)
        await assignments.skip(db, principal, assignment_id, reason=form.reason)
    return await _go_on(request, slug, principal, assignment_id, Done(None))


async def _managed(db: AsyncSession, principal: Principal, slug: str) -> Project:
    """The project, for those who may review. Raises NotFound, Forbidden."""
    project = await projects.get(db, principal, slug)
    await projects.require_role(db, principal, project, "owner", "reviewer")
    return project


async def _go_on(request: Request, slug: str, principal: Principal, done_id: int, done: Done) -> Response:
    """The next task, in a transaction of its own."""
    if not render.is_htmx(request):
        return render.redirect(f"/projects/{slug}/review?done={done_id}")
    async with transaction(sessions_of(request)) as db:
        project = await projects.get(db, principal, slug)
        return _region(request, project, await _current(db, principal, project), done_id, done)


async def _refused(
    request: Request,
    slug: str,
    principal: Principal,
    assignment_id: int,
    answer: Answer,
    error: Invalid | AnsweredBefore,
) -> Response:
    """The same form again, with all that was filled in, and what is missing."""
    async with transaction(sessions_of(request)) as db:
        project = await projects.get(db, principal, slug)
        comparison, previous_id = await _earlier(db, principal, project, assignment_id)
        comparison = replace(comparison, refused=answer, problem=problem_of(error, comparison.task))
        if render.is_htmx(request):
            return _region(request, project, comparison, previous_id, status_code=error.status)
        return await _page(request, db, principal, project, comparison, previous_id, None, status_code=error.status)


async def _lost(
    request: Request, slug: str, principal: Principal, assignment_id: int, answer: Answer, error: LeaseExpired
) -> Response:
    """The time ran out and another reviewer has the task: say so, say what was chosen, lead on."""
    async with transaction(sessions_of(request)) as db:
        project = await projects.get(db, principal, slug)
        task = await assignments.view(db, principal, assignment_id)
    is_htmx = render.is_htmx(request)
    respond = render.partial if is_htmx else render.page
    template = "annotate/_lost.html" if is_htmx else "annotate/lost.html"
    return respond(
        request, template, status_code=error.status, project=project, task=task, answer=answer, room_name="review"
    )


async def _page(
    request: Request,
    db: AsyncSession,
    principal: Principal,
    project: Project,
    comparison: Comparison | None,
    previous_id: int | None,
    done: Done | None,
    *,
    status_code: int = 200,
) -> Response:
    shown: dict[str, Any] = {"project": project, "comparison": comparison, "previous_id": previous_id, "done": done}
    return render.page(
        request,
        "annotate/page.html",
        status_code=status_code,
        room_name="review",
        nothing_page=EMPTY,
        progress=await _progress(db, principal, project),
        break_minutes=question_of(project).break_minutes,
        **shown,
    )


def _region(
    request: Request,
    project: Project,
    comparison: Comparison | None,
    previous_id: int | None,
    done: Done | None = None,
    *,
    status_code: int = 200,
) -> Response:
    return render.partial(
        request, "annotate/_comparison.html" if comparison else EMPTY, status_code=status_code,
        project=project, comparison=comparison, previous_id=previous_id, done=done,
    )  # fmt: skip


async def _current(db: AsyncSession, principal: Principal, project: Project) -> Comparison | None:
    claimed = await reviews.claim(db, principal, project)
    return None if claimed is None else await _comparison(db, principal, claimed)


async def _comparison(db: AsyncSession, principal: Principal, assignment_id: int) -> Comparison:
    task = await assignments.view(db, principal, assignment_id)
    return Comparison(
        task,
        key=secrets.token_urlsafe(16),
        is_reopened=task.state != "leased",
        room="review",
        others=await reviews.others(db, principal, assignment_id),
    )


async def _earlier(
    db: AsyncSession, principal: Principal, project: Project, assignment_id: int
) -> tuple[Comparison, int | None]:
    """A task, and the one that was decided before it."""
    recent = await assignments.recent(db, principal, project, verdicts=True)
    said = [judgement.assignment_id for judgement in recent]
    before = said[said.index(assignment_id) + 1 :] if assignment_id in said else said
    return await _comparison(db, principal, assignment_id), before[0] if before else None


async def _latest(db: AsyncSession, principal: Principal, project: Project) -> int | None:
    said = await assignments.recent(db, principal, project, limit=1, verdicts=True)
    return said[0].assignment_id if said else None


async def _progress(db: AsyncSession, principal: Principal, project: Project) -> Progress:
    waiting = await reviews.waiting(db, principal, project)
    return Progress(waiting.today, waiting.decided, waiting.tasks)
