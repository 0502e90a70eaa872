"""The board: one task, the form of its answer, and what is said once that is sent. Annotators and reviewers share it.

Every step is a plain form or link that works without JavaScript; with it, the same answers arrive as the one region
`#pair`.
"""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from fastapi import Request
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.db.session import transaction
from app.db.tables import Project
from app.errors import AnsweredBefore, Invalid, KeyReused, LeaseExpired, NotSignedIn
from app.security import Principal
from app.services.judging import assignments, judgements, recent_judgements
from app.services.judging.answers import Answer
from app.services.judging.assignments import TaskView
from app.services.judging.judgements import Submission, Submitted
from app.services.judging.reviews import OtherAnswer
from app.services.projects import projects
from app.services.projects.question import question_of
from app.services.projects.standing import Progress
from app.web.locales import gettext, translated
from app.web.pages.judging import answer_form
from app.web.rendering import render
from app.web.serving.deps import sessions_of
from app.web.words import choices

# A conversation of more turns or characters than this is folded to its last turn.
TURNS_SHOWN = 3
CHARACTERS_SHOWN = 1_200

RoomName = Literal["annotate", "review"]


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
    room: RoomName = "annotate"
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


async def _nobody(_db: AsyncSession, _principal: Principal, _assignment_id: int) -> Sequence[OtherAnswer]:
    return ()


async def _everybody(_db: AsyncSession, _principal: Principal, _slug: str) -> None:
    return


@dataclass(frozen=True, kw_only=True)
class Room:
    """What differs between those who judge and those who decide what divides people.

    `next_id` is the assignment that comes next, None where there is none; then the region is the template `empty`, with
    what `nothing` finds out. `others`: what others said of a task, as far as it may be seen. `admit` raises for who has
    no business here, in the transaction of what they send.
    """

    name: RoomName
    empty: str
    next_id: Callable[[AsyncSession, Principal, Project], Awaitable[int | None]]
    progress: Callable[[Request, AsyncSession, Principal, Project], Awaitable[Progress]]
    nothing: Callable[[AsyncSession, Principal, Project], Awaitable[Any]] | None = None
    others: Callable[[AsyncSession, Principal, int], Awaitable[Sequence[OtherAnswer]]] = _nobody
    admit: Callable[[AsyncSession, Principal, str], Awaitable[None]] = _everybody

    @property
    def gives_verdicts(self) -> bool:
        return self.name == "review"


async def show(
    request: Request,
    room: Room,
    db: AsyncSession,
    principal: Principal,
    project: Project,
    *,
    assignment_id: int | None,
    done_id: int | None,
) -> Response:
    """The whole page: the task on the desk, or the earlier one that is asked for. `done_id` was just dealt with."""
    comparison: Comparison | None
    if assignment_id is not None:
        comparison, previous_id = await earlier(room, db, principal, project, assignment_id)
    else:
        comparison = await current(room, db, principal, project)
        previous_id = done_id or await latest(room, db, principal, project)
    done = Done((await assignments.view(db, principal, done_id)).answer) if done_id is not None else None
    return await _page(request, room, db, principal, project, comparison, previous_id, done)


async def show_next(
    request: Request, room: Room, db: AsyncSession, principal: Principal, project: Project, *, is_waiting: bool
) -> Response:
    """The region with the task on the desk; 204 for a page that is waiting while there is none."""
    comparison = await current(room, db, principal, project)
    if comparison is None and is_waiting:
        return Response(status_code=204)
    previous_id = await latest(room, db, principal, project)
    return await region(request, room, db, principal, project, comparison, previous_id)


async def show_earlier(
    request: Request, room: Room, db: AsyncSession, principal: Principal, project: Project, assignment_id: int
) -> Response:
    """The region with an earlier task and what was said of it."""
    comparison, previous_id = await earlier(room, db, principal, project, assignment_id)
    return await region(request, room, db, principal, project, comparison, previous_id)


async def show_recent(
    request: Request, room: Room, db: AsyncSession, principal: Principal, project: Project
) -> Response:
    """What this person said last, and how far they are."""
    return _part_or_page(
        request,
        "recent",
        project=project,
        room_name=room.name,
        progress=await room.progress(request, db, principal, project),
        recent=await recent_judgements.of_person(db, principal, project, verdicts=room.gives_verdicts),
    )


async def submission_of(request: Request, principal: Principal) -> Submission:
    """What the form says. Raises NotSignedIn for an answer of somebody else, Invalid."""
    form = await request.form()
    if form.get("annotator", str(principal.user_id)) != str(principal.user_id):
        raise NotSignedIn  # somebody else has signed in meanwhile; the page keeps the answer until its author is back
    return answer_form.read(form)


async def save(
    request: Request, room: Room, slug: str, principal: Principal, assignment_id: int, submission: Submission
) -> Submitted | Response:
    """Save an answer, or say why that can't be, with the answer still there."""
    try:
        async with transaction(sessions_of(request)) as db:
            await room.admit(db, principal, slug)
            return await judgements.submit(db, principal, assignment_id, submission)
    except LeaseExpired as error:
        return await _lost(request, room, slug, principal, assignment_id, submission.answer, error)
    except KeyReused:
        raise
    except (Invalid, AnsweredBefore) as error:
        return await _refused(request, room, slug, principal, assignment_id, submission.answer, error)


async def skip(
    request: Request, room: Room, slug: str, principal: Principal, assignment_id: int, form: SkipForm
) -> Response:
    """Give a task back and go on to the next."""
    async with transaction(sessions_of(request)) as db:
        await room.admit(db, principal, slug)
        await assignments.skip(db, principal, assignment_id, reason=form.reason)
    return await go_on(request, room, slug, principal, assignment_id, Done(None))


async def go_on(request: Request, room: Room, slug: str, principal: Principal, done_id: int, done: Done) -> Response:
    """The next task, in a transaction of its own: who waits for a task must hold no lock on the last one."""
    if not render.is_htmx(request):
        return render.redirect(f"/projects/{slug}/{room.name}?done={done_id}")
    async with transaction(sessions_of(request)) as db:
        project = await projects.get(db, principal, slug)
        comparison = await current(room, db, principal, project)
        return await region(request, room, db, principal, project, comparison, done_id, done)


async def region(
    request: Request,
    room: Room,
    db: AsyncSession,
    principal: Principal,
    project: Project,
    comparison: Comparison | None,
    previous_id: int | None,
    done: Done | None = None,
    *,
    status_code: int = 200,
) -> Response:
    """The part of the page that is exchanged from task to task."""
    return render.partial(
        request,
        "annotate/_comparison.html" if comparison else room.empty,
        status_code=status_code,
        **await _shown(room, db, principal, project, comparison, previous_id, done),
    )


async def current(room: Room, db: AsyncSession, principal: Principal, project: Project) -> Comparison | None:
    """What is on the desk, or comes next."""
    assignment_id = await room.next_id(db, principal, project)
    return None if assignment_id is None else await lay_out(room, db, principal, assignment_id)


async def lay_out(room: Room, db: AsyncSession, principal: Principal, assignment_id: int) -> Comparison:
    """A task as it lies on the board. Raises NotFound for one of somebody else."""
    task = await assignments.view(db, principal, assignment_id)
    return Comparison(
        task,
        key=secrets.token_urlsafe(16),
        is_reopened=task.state != "leased",
        room=room.name,
        others=await room.others(db, principal, assignment_id),
    )


async def earlier(
    room: Room, db: AsyncSession, principal: Principal, project: Project, assignment_id: int
) -> tuple[Comparison, int | None]:
    """An earlier task, and the one that was dealt with before it."""
    comparison = await lay_out(room, db, principal, assignment_id)
    recent = await recent_judgements.of_person(db, principal, project, verdicts=room.gives_verdicts)
    said = [judgement.assignment_id for judgement in recent]
    before = said[said.index(assignment_id) + 1 :] if assignment_id in said else said
    return comparison, before[0] if before else None


async def latest(room: Room, db: AsyncSession, principal: Principal, project: Project) -> int | None:
    """The task that was dealt with last."""
    said = await recent_judgements.of_person(db, principal, project, limit=1, verdicts=room.gives_verdicts)
    return said[0].assignment_id if said else None


async def _refused(
    request: Request,
    room: Room,
    slug: str,
    principal: Principal,
    assignment_id: int,
    answer: Answer,
    error: Invalid | AnsweredBefore,
) -> Response:
    """The same form again, with all that was filled in, and what is missing."""
    async with transaction(sessions_of(request)) as db:
        project = await projects.get(db, principal, slug)
        comparison, previous_id = await earlier(room, db, principal, project, assignment_id)
        comparison = replace(comparison, refused=answer, problem=_problem(error, comparison.task))
        respond = region if render.is_htmx(request) else _page
        return await respond(request, room, db, principal, project, comparison, previous_id, status_code=error.status)


def _problem(error: Invalid | AnsweredBefore, task: TaskView) -> str:
    """Why an answer was not saved, and what to do about it."""
    if not isinstance(error, AnsweredBefore) or task.answer is None:
        return translated(error)
    said = gettext(
        "You have answered this already, in another window: %(said)s. To put this answer in its place, choose Change."
    )
    return said % {"said": choices.sentence(task.answer)}


async def _lost(
    request: Request,
    room: Room,
    slug: str,
    principal: Principal,
    assignment_id: int,
    answer: Answer,
    error: LeaseExpired,
) -> Response:
    """The time ran out and the place went to somebody else: say so, say what was chosen, lead on."""
    async with transaction(sessions_of(request)) as db:
        project = await projects.get(db, principal, slug)
        task = await assignments.view(db, principal, assignment_id)
    return _part_or_page(
        request, "lost", status_code=error.status, project=project, task=task, answer=answer, room_name=room.name
    )


async def _page(
    request: Request,
    room: Room,
    db: AsyncSession,
    principal: Principal,
    project: Project,
    comparison: Comparison | None,
    previous_id: int | None,
    done: Done | None = None,
    *,
    status_code: int = 200,
) -> Response:
    return render.page(
        request,
        "annotate/page.html",
        status_code=status_code,
        nothing_page=room.empty,
        progress=await room.progress(request, db, principal, project),
        break_minutes=question_of(project).break_minutes,
        **await _shown(room, db, principal, project, comparison, previous_id, done),
    )


async def _shown(
    room: Room,
    db: AsyncSession,
    principal: Principal,
    project: Project,
    comparison: Comparison | None,
    previous_id: int | None,
    done: Done | None,
) -> dict[str, Any]:
    """What the templates of the region need, alone or within the page."""
    return {
        "project": project,
        "room_name": room.name,
        "comparison": comparison,
        "nothing": await room.nothing(db, principal, project) if room.nothing and comparison is None else None,
        "previous_id": previous_id,
        "done": done,
    }


def _part_or_page(request: Request, name: str, **context: Any) -> Response:
    """A template of the board alone for its script, and within a page of its own for who has none."""
    if render.is_htmx(request):
        return render.partial(request, f"annotate/_{name}.html", **context)
    return render.page(request, f"annotate/{name}.html", **context)
