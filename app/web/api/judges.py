"""Judges that are models: made, measured, set to work and stopped; and what they replied."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query, status
from pydantic import BaseModel, Field

from app.db.tables import Judge, JudgeAnswer, Project
from app.db.tables.judges import ChosenAs, Outcome
from app.services.judging.machines import answered, judges
from app.services.judging.machines.calibration import Calibration
from app.services.loop.runs import starting
from app.services.reports import reports
from app.services.reports.judges import JUDGES
from app.services.served import served_models
from app.web.api.access import Caller, Id, ManagedProject, OwnedProject
from app.web.api.paging import Page, Paging, read_page
from app.web.api.schemas import In, Out, RunOut
from app.web.serving.deps import Db

router = APIRouter(prefix="/projects/{slug}/served-models/{served_model_id}/judge", tags=["served models"])


class JudgeOut(BaseModel):
    """Figures as a worker has computed them from its newest 5,000 answers."""

    is_judge: bool
    since: datetime | None = None
    as_of: datetime | None = Field(None, description="The moment that `measured` tells of; null before there is any.")
    is_awaited: bool = Field(False, description="A newer state is being computed: ask again.")
    measured: Calibration | None = None


class JudgePairsIn(In):
    pairs: Annotated[
        int,
        Field(ge=0, le=100_000, description="Open pairs, at most; those that people have judged come on top."),
    ]


class JudgeReplyOut(BaseModel):
    order: list[int] = Field(description="The positions that were shown as A and B.")
    said: Literal["A", "B", "tie"] | None = Field(description="The side that it named; null where none can be read.")
    why: str | None = Field(description="Why none can be read.")
    text: str


class JudgeAnswerOut(Out):
    id: int
    task_id: int
    outcome: Outcome
    chosen_as: ChosenAs
    probability: float | None = Field(description="The head's, before, that the response at position 0 is better.")
    replies: list[JudgeReplyOut]
    tokens: int
    created_at: datetime


@router.get("", summary="Read how a judge is doing")
async def read_judge(project: ManagedProject, served_model_id: Id, db: Db) -> JudgeOut:
    """Agreement with people, flip rate, lean to a side, log-loss, weight and cost; 403 for annotators."""
    judge = await judges.of(db, await served_models.get(db, project, served_model_id))
    return await _out(db, project, judge) if judge is not None else JudgeOut(is_judge=False)


@router.post("", status_code=status.HTTP_201_CREATED, summary="Make a served model a judge")
async def make_judge(project: OwnedProject, served_model_id: Id, db: Db) -> JudgeOut:
    """Marked as a machine, and no member: it judges when it is told to. 409 where it is one."""
    judge = await judges.make(db, project, await served_models.get(db, project, served_model_id))
    return await _out(db, project, judge)


@router.post("/runs", status_code=status.HTTP_202_ACCEPTED, summary="Have a judge judge pairs")
async def judge_pairs(project: OwnedProject, served_model_id: Id, body: JudgePairsIn, caller: Caller, db: Db) -> RunOut:
    """A run that asks it twice for each pair, once in each order; 404 for what is no judge."""
    judge = await judges.required(db, await served_models.get(db, project, served_model_id))
    return RunOut.model_validate(await starting.judge(db, caller.user_id, project, judge, pairs=body.pairs))


@router.get("/answers", summary="Read what a judge replied")
async def read_judge_answers(
    project: ManagedProject,
    served_model_id: Id,
    db: Db,
    paging: Paging,
    outcome: Annotated[Outcome | None, Query(description="Only those.")] = None,
) -> Page[JudgeAnswerOut]:
    """Newest first, word for word, abstentions among them; 403 for annotators."""
    judge = await judges.of(db, await served_models.get(db, project, served_model_id))
    if judge is None:
        return Page(items=[], next_cursor=None)
    found = answered.answers_of(judge, outcome)
    return await read_page(db, found, JudgeAnswer.id, paging=paging, out=JudgeAnswerOut.model_validate)


@router.delete("", status_code=status.HTTP_204_NO_CONTENT, summary="Have a judge judge no more")
async def stop_judge(project: OwnedProject, served_model_id: Id, db: Db) -> None:
    """What it said stays, and later dataset versions leave it out; 404 for what is no judge."""
    await judges.stop(db, await judges.required(db, await served_models.get(db, project, served_model_id)))


async def _out(db: Db, project: Project, judge: Judge) -> JudgeOut:
    latest = await reports.current(db, project, JUDGES)
    entry = latest.content.of(judge.id) if latest.content else None
    return JudgeOut(
        is_judge=True,
        since=judge.created_at,
        as_of=latest.written_at,
        is_awaited=latest.is_awaited,
        measured=entry.measured if entry else None,
    )
