"""Judging through the API: take a task, say what is asked of it, or hand it back."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response, status

from app.errors import DomainError
from app.services.judging import assignments, judgements, recent_judgements
from app.web.api.access import Caller, Id, MemberProject
from app.web.api.paging import Page, Paging, decode, encode
from app.web.api.schemas import AnswerOut, AssignmentOut, JudgementIn, JudgementOut, OwnJudgementOut, SkipIn, TaskOut
from app.web.serving.deps import Db

router = APIRouter(tags=["judging"])

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=200,
        description="Required. A new random key for every judgement; the same key again returns the same judgement.",
    ),
]


class KeyMissing(DomainError):
    """The header Idempotency-Key is required: a new random value for every judgement, the same one when you retry."""


@router.get(
    "/projects/{slug}/next-task",
    responses={204: {"description": "Nothing to judge right now."}},
    summary="Take the next task",
)
async def next_task(project: MemberProject, caller: Caller, db: Db, response: Response) -> TaskOut | None:
    """Leases a task to you until `lease_expires_at`. Asked again before you answer, it returns the same task."""
    response.headers["Cache-Control"] = "no-store"
    assignment = await assignments.lease_next(db, caller, project)
    if assignment is None:
        response.status_code = status.HTTP_204_NO_CONTENT
        return None
    return TaskOut.of(await assignments.view(db, caller, assignment.id))


@router.get("/projects/{slug}/my-judgements", summary="List what you said last")
async def list_own_judgements(
    project: MemberProject,
    caller: Caller,
    db: Db,
    paging: Paging,
    verdicts: Annotated[bool, Query(description="Your verdicts on divided tasks instead.")] = False,
) -> Page[OwnJudgementOut]:
    """Your current judgements, newest task first; `GET /assignments/{assignment_id}` shows what each was about."""
    before = decode(paging.cursor) if paging.cursor is not None else None
    found = await recent_judgements.of_person(db, caller, project, paging.limit + 1, verdicts=verdicts, before=before)
    shown = found[: paging.limit]
    items = [
        OwnJudgementOut(
            id=one.judgement_id,
            assignment_id=one.assignment_id,
            asked="" if one.is_erased else one.prompt_excerpt,
            said=AnswerOut.of(one.answer),
            submitted_at=one.submitted_at,
            editable=one.editable,
        )
        for one in shown
    ]
    return Page(items=items, next_cursor=encode(shown[-1].assignment_id) if len(found) > len(shown) else None)


@router.get("/assignments/{assignment_id}", summary="Read a task of yours")
async def read_assignment(assignment_id: Id, caller: Caller, db: Db) -> AssignmentOut:
    """A task that you have or had, with what you said of it; 404 for anybody else's, 409 where it was erased."""
    return AssignmentOut.of(await assignments.view(db, caller, assignment_id))


@router.post(
    "/assignments/{assignment_id}/judgements",
    status_code=status.HTTP_201_CREATED,
    responses={200: {"model": JudgementOut, "description": "This key was used before: the same body as then."}},
    summary="Say which response is better",
)
async def submit_judgement(
    assignment_id: Id,
    body: JudgementIn,
    caller: Caller,
    db: Db,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> JudgementOut:
    """201 for a new judgement, 200 with the same body when the key was used before, 422 when it was used with another
    body.

    Another key for an assignment that you have answered changes your answer, until a dataset version holds it (409).
    With `replaces` it changes that judgement and no newer one (409).
    """
    if idempotency_key is None:
        raise KeyMissing
    submission = judgements.Submission(
        answer=body.answer(),
        idempotency_key=idempotency_key,
        first_action_ms=body.first_action_ms,
        active_ms=body.active_ms,
        replaces=body.replaces,
    )
    submitted = await judgements.submit(db, caller, assignment_id, submission)
    if submitted.replayed:
        response.status_code = status.HTTP_200_OK
    answered = await assignments.view(db, caller, assignment_id) if submitted.shows_verdict else None
    return JudgementOut.of(submitted.judgement, answered)


@router.post(
    "/assignments/{assignment_id}/skip", status_code=status.HTTP_204_NO_CONTENT, summary="Hand a task back unanswered"
)
async def skip(assignment_id: Id, body: SkipIn, caller: Caller, db: Db) -> None:
    """Gives the task back for good: it never comes to you again; 409 for a task that you have judged or of a
    qualification round, 404 for anybody else's assignment.
    """
    await assignments.skip(db, caller, assignment_id, reason=body.reason)
