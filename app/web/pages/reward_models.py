"""The report on a reward model: how far it agrees with people, on what, and what it can be taken in by."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Form, Path, Request
from pydantic import BaseModel, Field
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.db.tables import Gate, ModelVersion, Project, Prompt, Round, Run, Task
from app.errors import NotFound
from app.services.judging import reviews
from app.services.reports import reports
from app.services.reports.agreement import AGREEMENT
from app.services.reports.ceiling import ceiling, said_alike
from app.services.reports.figure import Row
from app.services.reports.reward_model_figures import REWARD_MODEL_FIGURES
from app.services.reports.reward_models import MOST_VERSIONS, REWARD_MODELS
from app.web.pages.access import Managed, ManagedProject, OwnedProject
from app.web.rendering import render
from app.web.serving.deps import Db
from app.web.words.reports import NUMBERS, Shown, cell

router = APIRouter(prefix="/projects/{slug}/models/reward/{number}", include_in_schema=False)

MOST_ROWS = 100
EXCERPT = 160

Number = Annotated[int, Path(ge=1, le=2**31 - 1)]


class SendToReview(BaseModel):
    task_id: Annotated[int, Field(ge=1, le=2**63 - 1)] = 0


@router.get("")
async def show_reward_model(request: Request, number: Number, managed: ManagedProject, db: Db) -> Response:
    """Shows owners and reviewers what a worker has found out about a reward model."""
    return render.page(request, "reward_models/show.html", **await _page(db, managed, number))


@router.get("/state")
async def show_state(request: Request, number: Number, managed: ManagedProject, db: Db) -> Response:
    """All of the page that moves when a newer report is written."""
    return render.partial(request, "reward_models/_state.html", **await _page(db, managed, number))


@router.post("/review")
async def send_to_review(
    number: Number, project: OwnedProject, form: Annotated[SendToReview, Form()], db: Db
) -> Response:
    """Has a reviewer decide a task on which the model and people differ, for an owner. Raises NotFound, Conflict."""
    await _version(db, project, number)
    await reviews.send(db, project, form.task_id)
    return render.redirect(f"/projects/{project.slug}/models/reward/{number}#task-{form.task_id}")


async def _page(db: AsyncSession, managed: Managed, number: int) -> dict[str, Any]:
    version = await _version(db, managed.project, number)
    latest = await reports.current(db, managed.project, REWARD_MODELS)
    agreement = said_alike((await reports.current(db, managed.project, AGREEMENT)).content)
    rows = {figure.name: _rows_of(number, await figure.read(db, latest.content)) for figure in REWARD_MODEL_FIGURES}
    disputed = rows.pop("reward-disputed-pairs")
    shown = [
        Shown(replace(figure, columns=figure.columns[1:]), rows[figure.name])  # of one version
        for figure in REWARD_MODEL_FIGURES
        if rows.get(figure.name)
    ]
    return {
        "managed": managed,
        "version": version,
        "round": await _round(db, version),
        "gate": await db.scalar(
            select(Gate).where(Gate.model_version_id == version.id).order_by(Gate.id.desc()).limit(1)
        ),
        "latest": latest,
        "whole": latest.content.whole(number) if latest.content is not None else None,
        "agreement": agreement,
        "ceiling": None if agreement is None else ceiling(agreement),
        "shown": shown,
        "disputed": await _asked(db, managed.project, disputed),
        "cell": cell,
        "number_forms": NUMBERS,
        "most_rows": MOST_ROWS,
        "most_versions": MOST_VERSIONS,
    }


def _rows_of(number: int, rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["version"] == number]


async def _version(db: AsyncSession, project: Project, number: int) -> ModelVersion:
    found = await db.scalar(
        select(ModelVersion).where(
            ModelVersion.project_id == project.id, ModelVersion.kind == "reward", ModelVersion.number == number
        )
    )
    if found is None:
        raise NotFound
    return found


async def _round(db: AsyncSession, version: ModelVersion) -> int | None:
    return await db.scalar(select(Round.number).join(Run, Run.round_id == Round.id).where(Run.id == version.run_id))


async def _asked(db: AsyncSession, project: Project, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Each pair with what was asked and where its review stands, as these are now: reports hold no texts."""
    ids = [row["task_id"] for row in rows]
    found = await db.execute(
        select(Task.id, func.left(Prompt.messages[-1]["content"].astext, EXCERPT), reviews.standing_of())
        .join(Prompt, Prompt.id == Task.prompt_id)
        .where(Task.project_id == project.id, Task.id.in_(ids), Task.state != "retired")
    )
    now = {task_id: {"asked": text, "review": review} for task_id, text, review in found}
    return [{**row, **now[row["task_id"]]} for row in rows if row["task_id"] in now]
