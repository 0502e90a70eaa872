"""How far people agree, and what divides them, decided through the API."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Response, status
from pydantic import BaseModel, Field

from app.services.judging import assignments, reviews
from app.services.projects.review import Review
from app.services.reports import reports
from app.services.reports.agreement import AGREEMENT
from app.services.reports.agreement_figures import AGREEMENT_FIGURES
from app.web.api.access import Caller, Id, ManagedProject, OwnedProject
from app.web.api.edits import Edit, Read
from app.web.api.schemas import In, TaskOut
from app.web.serving.deps import Db

router = APIRouter(tags=["agreement"])


class AgreementOut(BaseModel):
    """Rows as the figures `agreement`, `agreement-by-pair` and `divided-tasks` have them."""

    as_of: datetime | None = Field(description="The moment that the rows tell of; null before there are any.")
    is_awaited: bool = Field(description="A newer state is being computed: ask again.")
    problem: str | None = Field(description="Why there is no newer state.")
    coefficients: list[dict[str, Any]] = Field(description="`low` and `high` bound the interval of 95 %.")
    pairs: list[dict[str, Any]]
    tasks: list[dict[str, Any]] = Field(description="The most divided first.")


class ReviewIn(In):
    shows_judgements: bool | None = Field(None, description="Reviewers see what was said before they decide.")
    prefers_verdicts: bool | None = Field(
        None, description="Where a reviewer has decided, dataset versions hold the verdict alone; else no verdict."
    )


class ReviewOut(BaseModel):
    shows_judgements: bool
    prefers_verdicts: bool


@router.get("/projects/{slug}/agreement", summary="Read how far people agree")
async def read_agreement(project: ManagedProject, db: Db) -> AgreementOut:
    """Coefficients with their intervals, the pairs of people who agree least, and the tasks that divide people, as a
    worker has computed them; 403 for annotators.
    """
    latest = await reports.current(db, project, AGREEMENT)
    coefficients, pairs, tasks = [await figure.read(db, latest.content) for figure in AGREEMENT_FIGURES]
    return AgreementOut(
        as_of=latest.written_at,
        is_awaited=latest.is_awaited,
        problem=latest.problem,
        coefficients=[dict(row) for row in coefficients],
        pairs=[dict(row) for row in pairs],
        tasks=[dict(row) for row in tasks],
    )


@router.get("/projects/{slug}/review", summary="Read how verdicts are given")
async def read_review(project: ManagedProject, db: Db, read: Read) -> ReviewOut:
    """What reviewers see and what their verdicts count; 403 for annotators."""
    await read.tell(db, project)
    return ReviewOut(**Review.of(project.review).model_dump())


@router.patch("/projects/{slug}/review", summary="Change how verdicts are given")
async def change_review(project: OwnedProject, db: Db, edit: Edit, body: ReviewIn) -> ReviewOut:
    """Changes what is given and leaves the rest."""
    await edit.require_current(db, project)
    changed = Review(**(Review.of(project.review).model_dump() | body.model_dump(exclude_none=True)))
    project.review = changed.to_json()
    await edit.tell(db, project)
    return ReviewOut(**changed.model_dump())


@router.post(
    "/projects/{slug}/tasks/{task_id}/review",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Have a task decided by a reviewer",
)
async def send_to_review(project: OwnedProject, task_id: Id, db: Db) -> None:
    """However far people agree on it; reviewers are given it before what divides people. Sent again it changes nothing.
    404 for a task that isn't one for labels, 409 where nobody has judged it, 403 for
    all but owners.
    """
    await reviews.send(db, project, task_id)


@router.post(
    "/projects/{slug}/reviews",
    responses={204: {"description": "No divided task waits for your verdict."}},
    summary="Take a divided task to decide",
)
async def take_review(project: ManagedProject, caller: Caller, db: Db, response: Response) -> TaskOut | None:
    """Reserves the most divided task for you until `lease_expires_at`; asked again before you answer, the same one.

    What you then say of its assignment is the verdict. 403 for annotators.
    """
    response.headers["Cache-Control"] = "no-store"
    claimed = await reviews.claim(db, caller, project)
    if claimed is None:
        response.status_code = status.HTTP_204_NO_CONTENT
        return None
    return TaskOut.of(await assignments.view(db, caller, claimed))
