"""The annotator's page: one comparison at a time, judged by one key and Enter.

Every step is a plain form or link that works without JavaScript; with it, the same answers arrive as the one region
`#pair`.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.db.session import transaction
from app.db.tables import Judgement, Project
from app.db.tables.judging import LEASE_SLOTS
from app.errors import AnsweredBefore, Invalid, KeyReused, LeaseExpired, NotSignedIn
from app.security import Principal
from app.services.judging import assignments, judgements
from app.services.judging.answers import Answer
from app.services.judging.assignments import Desk, TaskView
from app.services.judging.check_tasks import Standing
from app.services.judging.reviews import OtherAnswer
from app.services.judging.statements import Lease
from app.services.projects import projects, standing
from app.services.projects.question import question_of
from app.services.projects.standing import Unavailable
from app.web.locales import gettext, translated
from app.web.pages import answer_form
from app.web.rendering import render
from app.web.serving.deps import CurrentProject, CurrentUser, Db, sessions_of, utc_offset_of
from app.web.words import choices

router = APIRouter(prefix="/projects/{slug}", include_in_schema=False)

# A conversation of more turns or characters than this is folded to its last turn.
TURNS_SHOWN = 3
CHARACTERS_SHOWN = 1_200


class SkipForm(BaseModel):
    reason: Annotated[str, Field(max_length=2000)] = ""


@dataclass(frozen=True)
class Comparison:
    """A task on the desk and the key of its next submission. `is_reopened`: an earlier one, looked at again.

    `refused` is an answer that could not be saved, and `problem` why; the form holds it still. `room` is the page that
    it lies on: of those who judge, or of those who review and may see what `others` said.
    """

    task: TaskView
    key: str
    is_reopened: bool = False
    refused: Answer | None = None
    problem: str | None = None
    room: Literal["annotate", "review"] = "annotate"
    others: Sequence[OtherAnswer] = ()

    @property
    def address(self) -> str:
        """Where an answer or a skip is sent, but for its last part."""
        below = "assignments" if self.room == "annotate" else self.room
        return f"/projects/{self.task.project}/{below}/{self.task.assignment_id}"

    @property
    def answer(self) -> Answer | None:
        return self.refused or self.task.answer

    @property
    def heading(self) -> str:
        """What is to be done, for who hears the page."""
        match self.task.answer_type:
            case "ranking":
                return gettext("Rank the responses")
            case "best":
                return gettext("Choose the best response")
            case _:
                return gettext("Compare two responses")

    @property
    def fastest_ms(self) -> int:
        """Who answers sooner than this can't have read it all; 0 where that isn't asked."""
        if not self.task.question.fastest_words_per_minute or self.task.answer:
            return 0
        words = sum(len(text.split()) for text in (self.task.messages[-1].content, *dict(self.task.panes).values()))
        return words * 60_000 // self.task.question.fastest_words_per_minute

    @property
    def folded(self) -> int:
        """How many of the first turns are folded away."""
        turns = self.task.messages
        is_long = len(turns) > TURNS_SHOWN or sum(len(turn.content) for turn in turns) > CHARACTERS_SHOWN
        return len(turns) - 1 if is_long else 0


@dataclass(frozen=True)
class Done:
    """What was just done, to be said on the page; a skip has no answer."""

    answer: Answer | None


@dataclass(frozen=True)
class Nothing:
    """Why there is no comparison: a qualification round that somebody hasn't passed, or what is left isn't for them."""

    practice: Standing | None
    unavailable: Unavailable


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
    comparison: Comparison | None
    if assignment is not None:
        comparison, previous_id = await _reopen(db, principal, project, assignment)
    else:
        comparison, previous_id = await _current(db, principal, project), done or await _latest(db, principal, project)
    return render.page(
        request,
        "annotate/page.html",
        project=project,
        progress=await standing.annotator_progress(db, principal, project, utc_offset=utc_offset_of(request)),
        break_minutes=question_of(project).break_minutes,
        comparison=comparison,
        nothing=await _nothing(db, principal, project, comparison),
        previous_id=previous_id,
        done=Done((await assignments.view(db, principal, done)).answer) if done is not None else None,
    )


@router.get("/annotate/next")
async def show_next(
    request: Request, project: CurrentProject, principal: CurrentUser, db: Db, waiting: bool = False
) -> Response:
    """The region with the leased comparison.

    A page that is `waiting` shows already that there is none, and gets 204 for it.
    """
    comparison = await _current(db, principal, project)
    if comparison is None and waiting:
        return Response(status_code=204)
    previous_id = await _latest(db, principal, project)
    nothing = await _nothing(db, principal, project, comparison)
    return _region(request, project, comparison, previous_id, nothing=nothing)


@router.get("/annotate/pairs/{assignment_id}")
async def show_earlier(
    request: Request, project: CurrentProject, principal: CurrentUser, db: Db, assignment_id: int
) -> Response:
    """The region with an earlier comparison and what was said of it."""
    return _region(request, project, *await _reopen(db, principal, project, assignment_id))


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
    respond = render.partial if render.is_htmx(request) else render.page
    return respond(
        request,
        "annotate/_recent.html" if render.is_htmx(request) else "annotate/recent.html",
        project=project,
        progress=await standing.annotator_progress(db, principal, project, utc_offset=utc_offset_of(request)),
        recent=await assignments.recent(db, principal, project),
    )


@router.post("/assignments/{assignment_id}/judgement")
async def submit(request: Request, slug: str, assignment_id: int, principal: CurrentUser) -> Response:
    """Save an answer.

    A page that shows the next comparison already says so in `shown`, followed by those that it has fetched ahead, and
    gets another one.
    """
    form = await request.form()
    if form.get("annotator", str(principal.user_id)) != str(principal.user_id):
        raise NotSignedIn  # somebody else has signed in meanwhile; the page keeps the answer until its author is back
    submission = answer_form.read(form)
    try:
        async with transaction(sessions_of(request)) as db:
            submitted = await judgements.submit(db, principal, assignment_id, submission)
    except LeaseExpired as error:
        return await _lost(request, slug, principal, assignment_id, submission.answer, error)
    except KeyReused:
        raise
    except (Invalid, AnsweredBefore) as error:
        return await _refused(request, slug, principal, assignment_id, submission.answer, error)
    if submitted.shows_verdict:
        return await _show_verdict(request, slug, principal, assignment_id)
    shown = [int(text) for text in form.getlist("shown") if isinstance(text, str) and text.isdigit()]
    if shown:
        return await _go_on_from(request, slug, principal, submitted.judgement, shown)
    return await _go_on(request, slug, principal, assignment_id, Done(submission.answer))


@router.post("/assignments/{assignment_id}/skip")
async def skip(
    request: Request, slug: str, assignment_id: int, form: Annotated[SkipForm, Form()], principal: CurrentUser
) -> Response:
    """Gives a task back for good and leads the annotator on to the next one."""
    async with transaction(sessions_of(request)) as db:
        await assignments.skip(db, principal, assignment_id, reason=form.reason)
    return await _go_on(request, slug, principal, assignment_id, Done(None))


async def _go_on(request: Request, slug: str, principal: Principal, done_id: int, done: Done) -> Response:
    """The next comparison, in a transaction of its own: who waits for a task must hold no lock on the last one."""
    if not render.is_htmx(request):
        return render.redirect(f"/projects/{slug}/annotate?done={done_id}")
    async with transaction(sessions_of(request)) as db:
        project = await projects.get(db, principal, slug)
        comparison = await _current(db, principal, project)
        nothing = await _nothing(db, principal, project, comparison)
    return _region(request, project, comparison, done_id, done, nothing=nothing)


async def _go_on_from(request: Request, slug: str, principal: Principal, done: Judgement, shown: list[int]) -> Response:
    """One more comparison; if the first that is shown isn't this person's any more, a whole new region."""
    async with transaction(sessions_of(request)) as db:
        desk = await assignments.lease(db, principal, done.project_id, ahead=True, known=shown)
        if desk.current is None or desk.current.id != shown[0]:
            project = await projects.get(db, principal, slug)
            comparison = await _comparison_of(db, principal, desk.current)
            nothing = await _nothing(db, principal, project, comparison)
            return _region(request, project, comparison, done.assignment_id, nothing=nothing)
        return await _ahead(request, db, principal, desk)


async def _show_verdict(request: Request, slug: str, principal: Principal, assignment_id: int) -> Response:
    """The same comparison with what was said of it, and what the project says."""
    if not render.is_htmx(request):
        return render.redirect(f"/projects/{slug}/annotate?assignment={assignment_id}")
    async with transaction(sessions_of(request)) as db:
        project = await projects.get(db, principal, slug)
        return _region(request, project, *await _reopen(db, principal, project, assignment_id))


async def _ahead(request: Request, db: AsyncSession, principal: Principal, desk: Desk) -> Response:
    comparison = await _comparison_of(db, principal, desk.ahead)
    previous_id = desk.before_ahead.id if desk.before_ahead else None
    return render.partial(request, "annotate/_ahead.html", comparison=comparison, previous_id=previous_id)


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
        comparison, previous_id = await _reopen(db, principal, project, assignment_id)
    comparison = replace(comparison, refused=answer, problem=problem_of(error, comparison.task))
    if render.is_htmx(request):
        return _region(request, project, comparison, previous_id, status_code=error.status)
    async with transaction(sessions_of(request)) as db:
        progress = await standing.annotator_progress(db, principal, project, utc_offset=utc_offset_of(request))
    return render.page(
        request, "annotate/page.html", status_code=error.status,
        project=project, progress=progress, break_minutes=question_of(project).break_minutes,
        comparison=comparison, previous_id=previous_id, done=None,
    )  # fmt: skip


def problem_of(error: Invalid | AnsweredBefore, task: TaskView) -> str:
    """Why an answer was not saved, and what to do about it."""
    if not isinstance(error, AnsweredBefore) or task.answer is None:
        return translated(error)
    said = gettext(
        "You have answered this already, in another window: %(said)s. To put this answer in its place, choose Change."
    )
    return said % {"said": choices.sentence(task.answer)}


async def _lost(
    request: Request, slug: str, principal: Principal, assignment_id: int, answer: Answer, error: LeaseExpired
) -> Response:
    """The lease ran out and the place went to somebody else: say so, say what was chosen, lead on."""
    async with transaction(sessions_of(request)) as db:
        project = await projects.get(db, principal, slug)
        task = await assignments.view(db, principal, assignment_id)
    respond = render.partial if render.is_htmx(request) else render.page
    template = "annotate/_lost.html" if render.is_htmx(request) else "annotate/lost.html"
    return respond(request, template, status_code=error.status, project=project, task=task, answer=answer)


def _region(
    request: Request,
    project: Project,
    comparison: Comparison | None,
    previous_id: int | None,
    done: Done | None = None,
    *,
    nothing: Nothing | None = None,
    status_code: int = 200,
) -> Response:
    template = "annotate/_comparison.html" if comparison else "annotate/_empty.html"
    return render.partial(
        request, template, status_code=status_code,
        project=project, comparison=comparison, nothing=nothing, previous_id=previous_id, done=done,
    )  # fmt: skip


async def _nothing(
    db: AsyncSession, principal: Principal, project: Project, comparison: Comparison | None
) -> Nothing | None:
    if comparison:
        return None
    practice = await assignments.practice_of(db, principal, project.id)
    return Nothing(practice, await standing.unavailable(db, principal, project))


async def _current(db: AsyncSession, principal: Principal, project: Project) -> Comparison | None:
    return await _comparison_of(db, principal, await assignments.lease_next(db, principal, project))


async def _comparison_of(db: AsyncSession, principal: Principal, lease: Lease | None) -> Comparison | None:
    if lease is None:
        return None
    return Comparison(await assignments.view(db, principal, lease.id), key=secrets.token_urlsafe(16))


async def _reopen(
    db: AsyncSession, principal: Principal, project: Project, assignment_id: int
) -> tuple[Comparison, int | None]:
    """An earlier comparison, and the one that was judged before it."""
    task = await assignments.view(db, principal, assignment_id)
    said = [judgement.assignment_id for judgement in await assignments.recent(db, principal, project)]
    before = said[said.index(assignment_id) + 1 :] if assignment_id in said else said
    comparison = Comparison(task, key=secrets.token_urlsafe(16), is_reopened=task.state != "leased")
    return comparison, before[0] if before else None


async def _latest(db: AsyncSession, principal: Principal, project: Project) -> int | None:
    said = await assignments.recent(db, principal, project, limit=1)
    return said[0].assignment_id if said else None
