"""A served model as a judge: made one, set to work, stopped, and what it answered."""

from typing import Annotated, get_args

from fastapi import APIRouter, Form, Path, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from app.db.tables.judges import Outcome
from app.services.judging.machines import answered, judges
from app.services.loop.runs import starting
from app.services.served import served_models
from app.web.pages.access import ManagedProject, OwnedProject
from app.web.rendering import render
from app.web.serving.deps import CurrentUser, Db

router = APIRouter(prefix="/projects/{slug}/served-models/{served_model_id}/judge", include_in_schema=False)

ServedId = Annotated[int, Path(ge=1, le=2**63 - 1)]
MOST_SHOWN = 50


class JudgePairs(BaseModel):
    """`pairs`: open ones, at most; those that people have judged come on top."""

    pairs: Annotated[int, Field(ge=0, le=2**31 - 1)]


@router.post("")
async def make_judge(served_model_id: ServedId, project: OwnedProject, db: Db) -> Response:
    """Makes a served model a judge, for an owner."""
    await judges.make(db, project, await served_models.get(db, project, served_model_id))
    return _back(project.slug, served_model_id)


@router.post("/stop")
async def stop_judge(served_model_id: ServedId, project: OwnedProject, db: Db) -> Response:
    """Has it judge no more, for an owner. What it said stays."""
    served = await served_models.get(db, project, served_model_id)
    await judges.stop(db, await judges.required(db, served))
    return _back(project.slug, served_model_id)


@router.post("/runs")
async def judge_pairs(
    served_model_id: ServedId,
    project: OwnedProject,
    form: Annotated[JudgePairs, Form()],
    principal: CurrentUser,
    db: Db,
) -> Response:
    """Queues the judging of pairs, for an owner, and leads to its run. Raises Invalid."""
    served = await served_models.get(db, project, served_model_id)
    judge = await judges.required(db, served)
    run = await starting.judge(db, principal.user_id, project, judge, pairs=form.pairs)
    return render.redirect(f"/projects/{project.slug}/runs/{run.id}")


@router.get("/answers")
async def show_answers(
    request: Request, served_model_id: ServedId, managed: ManagedProject, db: Db, outcome: Annotated[str, Query()] = ""
) -> Response:
    """Shows owners and reviewers the newest of what it replied, word for word; of one outcome where that is asked."""
    served = await served_models.get(db, managed.project, served_model_id)
    judge = await judges.of(db, served)
    wanted = outcome if outcome in get_args(Outcome) else None
    found = await answered.newest(db, judge, outcome=wanted, limit=MOST_SHOWN) if judge else []
    return render.page(
        request, "served/answers.html", managed=managed, served=served, answers=found, wanted=wanted, most=MOST_SHOWN
    )


def _back(slug: str, served_model_id: int) -> Response:
    return render.redirect(f"/projects/{slug}/served-models/{served_model_id}#judge")
