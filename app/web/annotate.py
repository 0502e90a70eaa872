"""The annotator's page: one pair at a time, judged by one key and Enter.

Every step is a plain form or link that works without JavaScript; with it, the same answers arrive as the one region
`#pair`.
"""

import secrets
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Request
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.db.session import transaction
from app.db.tables import Project
from app.errors import LeaseExpired
from app.security import Principal
from app.services import assignments, judgements, projects
from app.services.assignments import TaskView
from app.services.judgements import Submission
from app.web import render
from app.web.deps import CurrentProject, CurrentUser, Db, sessions_of

router = APIRouter(prefix="/projects/{slug}", include_in_schema=False)

# A conversation of more turns or characters than this is folded to its last turn.
TURNS_SHOWN = 3
CHARACTERS_SHOWN = 1_200


class JudgementForm(BaseModel):
    """The key is made with the page, so that a form sent twice counts once. Times come from the script, if it runs."""

    choice: Annotated[int, Field(ge=1, le=7)]
    idempotency_key: Annotated[str, Field(min_length=1, max_length=200)]
    first_action_ms: Annotated[int, Field(ge=0)] | None = None
    active_ms: Annotated[int, Field(ge=0)] | None = None

    def submission(self) -> Submission:
        return Submission(self.choice, self.idempotency_key, self.first_action_ms, self.active_ms)


class SkipForm(BaseModel):
    reason: Annotated[str, Field(max_length=2000)] = ""


@dataclass(frozen=True)
class Pair:
    """A task on the desk and the key of its next submission. `is_reopened`: an earlier one, looked at again."""

    task: TaskView
    key: str
    is_reopened: bool = False

    @property
    def folded(self) -> int:
        """How many of the first turns are folded away."""
        turns = self.task.messages
        is_long = len(turns) > TURNS_SHOWN or sum(len(turn.content) for turn in turns) > CHARACTERS_SHOWN
        return len(turns) - 1 if is_long else 0


@dataclass(frozen=True)
class Done:
    """What was just done, to be said on the page; a skip has no choice."""

    choice: int | None


@router.get("/annotate")
async def show_page(
    request: Request,
    project: CurrentProject,
    principal: CurrentUser,
    db: Db,
    assignment: int | None = None,
    done: int | None = None,
) -> Response:
    """The pair that is leased to this person, or the earlier one that `assignment` names. `done` was just dealt
    with.
    """
    pair: Pair | None
    if assignment is not None:
        pair, previous_id = await _reopen(db, principal, project, assignment)
    else:
        pair, previous_id = await _current(db, principal, project), done or await _latest(db, principal, project)
    return render.page(
        request,
        "annotate/page.html",
        project=project,
        progress=await projects.annotator_progress(db, principal, project),
        pair=pair,
        previous_id=previous_id,
        done=Done((await assignments.view(db, principal, done)).choice) if done is not None else None,
    )


@router.get("/annotate/next")
async def show_next(
    request: Request, project: CurrentProject, principal: CurrentUser, db: Db, waiting: bool = False
) -> Response:
    """The region with the leased pair. A page that is `waiting` shows already that there is none, and gets 204 for
    it.
    """
    pair = await _current(db, principal, project)
    if pair is None and waiting:
        return Response(status_code=204)
    return _region(request, project, pair, await _latest(db, principal, project))


@router.get("/annotate/pairs/{assignment_id}")
async def show_earlier(
    request: Request, project: CurrentProject, principal: CurrentUser, db: Db, assignment_id: int
) -> Response:
    """The region with an earlier pair and what was said of it."""
    return _region(request, project, *await _reopen(db, principal, project, assignment_id))


@router.post("/assignments/{assignment_id}/judgement")
async def submit(
    request: Request, slug: str, assignment_id: int, form: Annotated[JudgementForm, Form()], principal: CurrentUser
) -> Response:
    try:
        async with transaction(sessions_of(request)) as db:
            await judgements.submit(db, principal, assignment_id, form.submission())
    except LeaseExpired as error:
        return await _lost(request, slug, principal, assignment_id, form.choice, error)
    return await _go_on(request, slug, principal, assignment_id, Done(form.choice))


@router.post("/assignments/{assignment_id}/skip")
async def skip(
    request: Request, slug: str, assignment_id: int, form: Annotated[SkipForm, Form()], principal: CurrentUser
) -> Response:
    async with transaction(sessions_of(request)) as db:
        await assignments.skip(db, principal, assignment_id, reason=form.reason)
    return await _go_on(request, slug, principal, assignment_id, Done(None))


async def _go_on(request: Request, slug: str, principal: Principal, done_id: int, done: Done) -> Response:
    """The next pair, in a transaction of its own: who waits for a task must hold no lock on the last one."""
    if not render.is_htmx(request):
        return render.redirect(f"/projects/{slug}/annotate?done={done_id}")
    async with transaction(sessions_of(request)) as db:
        project = await projects.get(db, principal, slug)
        pair = await _current(db, principal, project)
    return _region(request, project, pair, done_id, done)


async def _lost(
    request: Request, slug: str, principal: Principal, assignment_id: int, choice: int, error: LeaseExpired
) -> Response:
    """The lease ran out and the place went to somebody else: say so, say what was chosen, lead on."""
    async with transaction(sessions_of(request)) as db:
        project = await projects.get(db, principal, slug)
        task = await assignments.view(db, principal, assignment_id)
    answer = render.partial if render.is_htmx(request) else render.page
    template = "annotate/_lost.html" if render.is_htmx(request) else "annotate/lost.html"
    return answer(request, template, status_code=error.status, project=project, task=task, choice=choice)


def _region(
    request: Request, project: Project, pair: Pair | None, previous_id: int | None, done: Done | None = None
) -> Response:
    template = "annotate/_pair.html" if pair else "annotate/_empty.html"
    return render.partial(request, template, project=project, pair=pair, previous_id=previous_id, done=done)


async def _current(db: AsyncSession, principal: Principal, project: Project) -> Pair | None:
    assignment = await assignments.lease_next(db, principal, project)
    if assignment is None:
        return None
    return Pair(await assignments.view(db, principal, assignment.id), key=secrets.token_urlsafe(16))


async def _reopen(
    db: AsyncSession, principal: Principal, project: Project, assignment_id: int
) -> tuple[Pair, int | None]:
    """An earlier pair, and the one that was judged before it."""
    task = await assignments.view(db, principal, assignment_id)
    said = [judgement.assignment_id for judgement in await assignments.recent(db, principal, project)]
    before = said[said.index(assignment_id) + 1 :] if assignment_id in said else said
    pair = Pair(task, key=secrets.token_urlsafe(16), is_reopened=task.state != "leased")
    return pair, before[0] if before else None


async def _latest(db: AsyncSession, principal: Principal, project: Project) -> int | None:
    said = await assignments.recent(db, principal, project, limit=1)
    return said[0].assignment_id if said else None
