"""How far people agree, as a worker has computed it, and how what divides them is decided."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from pydantic import BaseModel
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.db.tables import Judgement, Prompt, Task
from app.services.judging import reviews
from app.services.judging.agreement.bootstrap import FEWEST_TASKS
from app.services.projects.review import Review
from app.services.reports import reports
from app.services.reports.agreement import AGREEMENT
from app.services.reports.agreement_figures import AGREEMENT_FIGURES
from app.web.pages.access import Managed, ManagedProject, OwnedProject
from app.web.rendering import render
from app.web.serving.deps import CurrentUser, Db
from app.web.words.agreement import MEANINGS, coefficient, interval
from app.web.words.reports import word

router = APIRouter(prefix="/projects/{slug}/agreement", include_in_schema=False)

TASKS_SHOWN = 50
EXCERPT = 200


class ReviewForm(BaseModel):
    """An unticked box is not sent."""

    shows_judgements: bool = False
    prefers_verdicts: bool = False


@router.get("")
async def show_agreement(request: Request, managed: ManagedProject, principal: CurrentUser, db: Db) -> Response:
    """Shows owners and reviewers the coefficients, the pairs of people, the tasks that divide them, and the way to
    decide those.
    """
    waiting = await reviews.waiting(db, principal, managed.project)
    return render.page(
        request,
        "agreement/show.html",
        **await _state(managed, db),
        review=Review.of(managed.project.review),
        waiting=waiting,
        counted=reviews.COUNTED,
        saved=request.query_params.get("saved") == "true",
    )


@router.get("/state")
async def show_state(request: Request, managed: ManagedProject, db: Db) -> Response:
    """All of the page that moves when a newer report is written."""
    return render.partial(request, "agreement/_state.html", **await _state(managed, db))


@router.post("")
async def change_review(project: OwnedProject, form: Annotated[ReviewForm, Form()], db: Db) -> Response:
    """Keeps what reviewers see and what their verdicts count, for an owner."""
    project.review = Review(**form.model_dump()).to_json()
    await db.flush()
    return render.redirect(f"/projects/{project.slug}/agreement?saved=true#review")


async def _state(managed: Managed, db: AsyncSession) -> dict[str, Any]:
    latest = await reports.current(db, managed.project, AGREEMENT)
    rows = {figure.name: await figure.read(db, latest.content) for figure in AGREEMENT_FIGURES}
    return {
        "managed": managed,
        "latest": latest,
        "agreement": latest.content,
        "figures": {figure.name: figure for figure in AGREEMENT_FIGURES},
        "coefficients": rows["agreement"],
        "pairs": rows["agreement-by-pair"],
        "tasks": await _asked(db, managed, rows["divided-tasks"][:TASKS_SHOWN]),
        "fewest": FEWEST_TASKS,
        "meanings": MEANINGS,
        "interval": interval,
        "coefficient": coefficient,
        "word": word,
    }


async def _asked(db: AsyncSession, managed: Managed, rows: list[Any]) -> list[dict[str, Any]]:
    """Each task with what was asked and whether it is decided, as these are now: reports hold no texts."""
    verdict = select(Judgement.id).where(
        Judgement.task_id == Task.id, Judgement.is_verdict, Judgement.superseded_by.is_(None)
    )
    found = await db.execute(
        select(Task.id, func.left(Prompt.messages[-1]["content"].astext, EXCERPT), verdict.exists())
        .join(Prompt, Prompt.id == Task.prompt_id)
        .where(Task.project_id == managed.project.id, Task.id.in_([row["task_id"] for row in rows]))
    )
    asked = {task_id: {"asked": text, "is_decided": is_decided} for task_id, text, is_decided in found}
    return [{**row, **asked[row["task_id"]]} for row in rows if row["task_id"] in asked]
