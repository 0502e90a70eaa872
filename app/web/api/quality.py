"""How annotators are checked and how they do, read and changed through the API."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, status
from pydantic import BaseModel, Field
from sqlalchemy import select

from app.db.tables import Member, Task, User
from app.db.tables.projects import Role
from app.services.judging import gold
from app.services.judging import quality as conduct
from app.services.judging.gold import GoldTask, Known
from app.services.judging.quality import Conduct
from app.services.projects import checks
from app.services.projects.checks import Checks
from app.services.reports import reports
from app.services.reports.annotators import ANNOTATORS
from app.services.reports.annotators_figures import ANNOTATORS_FIGURES
from app.web.api.access import Caller, Id, ManagedProject, OwnedProject
from app.web.api.edits import Edit, Read
from app.web.api.paging import Page, Paging, read_rows
from app.web.api.schemas import NO_NUL, In, MessageOut, Out
from app.web.serving.deps import Db

router = APIRouter(prefix="/projects/{slug}", tags=["quality"])

LongText = Annotated[str, Field(max_length=gold.LONGEST_TEXT, pattern=NO_NUL)]
Better = Annotated[
    int | None, Field(ge=0, le=8, description="Position of the better response, from 0; null: neither of two is.")
]
Purpose = Annotated[
    Literal["qualification", "gold"], Field(description="For the qualification round, or among the other tasks.")
]


class ChecksOut(BaseModel):
    qualification_size: int = Field(description="Tasks of the qualification round; 0: everybody works at once.")
    qualification_percent: int = Field(description="So many of them have to be right.")
    gold_percent: float = Field(description="Of the tasks that people are given.")
    tells_gold: bool = Field(description="Gold tasks are explained after the answer.")
    repeat_percent: float = Field(description="Own tasks that are asked again, of those that people are given.")

    @classmethod
    def of(cls, kept: Checks) -> Self:
        return cls(**kept.model_dump())


class ChecksIn(In):
    qualification_size: int | None = Field(None, ge=0, le=100)
    qualification_percent: int | None = Field(None, ge=1, le=100)
    gold_percent: float | None = Field(None, ge=0, le=50)
    tells_gold: bool | None = None
    repeat_percent: float | None = Field(None, ge=0, le=50)


class PersonConductOut(Out):
    user_id: int
    name: str
    role: Role
    qualified_at: datetime | None
    judgements: int
    practised: int = Field(description="Answers in the qualification round.")
    practice_right: int
    checked: int = Field(description="Answers to gold tasks.")
    right: int
    repeated: int = Field(description="Own tasks that were asked again.")
    same: int = Field(description="As many of them got the same side again.")
    sided: int = Field(description="Choices between A and B.")
    first: int = Field(description="As many of them fell on A.")
    hurried: int
    active_ms: float | None = Field(description="Median.")

    @classmethod
    def of(cls, done: Conduct) -> Self:
        figures = {name: getattr(done, name) for name in cls.model_fields if name not in {"user_id", "name"}}
        return cls(user_id=done.user.id, name=done.user.name, **figures)


class QualityOut(BaseModel):
    as_of: datetime | None = Field(description="The moment that `annotators` tells of; null before there are any.")
    is_awaited: bool = Field(description="A newer state is being computed: ask again.")
    problem: str | None = Field(description="Why there is no newer state.")
    annotators: list[dict[str, Any]] = Field(description="How reliable each is, as a worker has computed it.")
    groups: list[dict[str, Any]] = Field(description="The same by kind of task.")


class GoldOut(Out):
    task_id: int
    prompt: list[MessageOut]
    responses: list[str] = Field(description="By position.")
    purpose: Purpose
    is_in_use: bool
    better: Better
    explanation: str = Field(description="Markdown.")
    answered: int
    right: int = Field(description="So many of the answers are what the project says.")

    @classmethod
    def of(cls, task: GoldTask) -> Self:
        shown = task.comparison
        figures = {
            name: getattr(task, name) for name in ("purpose", "is_in_use", "better", "explanation", "answered", "right")
        }
        return cls(
            task_id=shown.task_id,
            prompt=[MessageOut.model_validate(message) for message in shown.messages],
            responses=list(shown.responses),
            **figures,
        )


class MadeGoldOut(BaseModel):
    task_id: int


class SayingIn(In):
    better: Better
    explanation: LongText = ""
    purpose: Purpose = "gold"

    def known(self) -> Known:
        return Known(self.purpose, self.better, self.explanation)


class GoldIn(SayingIn):
    prompt: LongText
    responses: Annotated[list[LongText], Field(min_length=2, max_length=9)]


class GoldChange(In):
    better: Better = None
    explanation: LongText | None = None
    is_in_use: bool | None = Field(None, description="False: nobody is given it any more; what was said of it stays.")


@router.get("/quality", summary="Read how reliable people are")
async def read_quality(project: ManagedProject, db: Db) -> QualityOut:
    """How reliable each person is, as the figures `annotators` and `annotators-by-group`; 403 for annotators."""
    latest = await reports.current(db, project, ANNOTATORS)
    rows = {figure.name: await figure.read(db, latest.content) for figure in ANNOTATORS_FIGURES}
    return QualityOut(
        as_of=latest.written_at,
        is_awaited=latest.is_awaited,
        problem=latest.problem,
        annotators=[dict(row) for row in rows["annotators"]],
        groups=[dict(row) for row in rows["annotators-by-group"]],
    )


@router.get("/quality/people", summary="List how well people work")
async def list_conduct(project: ManagedProject, db: Db, paging: Paging) -> Page[PersonConductOut]:
    """What checks and clocks tell of each member, who has judged or not; 403 for annotators."""
    there = select(User).join(Member, Member.user_id == User.id).where(Member.project_id == project.id)
    users, following = await read_rows(db, there, User.id, paging=paging)
    told = await conduct.of_project(db, project, only=[user.id for user in users])
    newest = sorted((PersonConductOut.of(one) for one in told), key=lambda one: one.user_id, reverse=True)
    return Page(items=newest, next_cursor=following)


@router.get("/checks", summary="Read how people are checked")
async def read_checks(project: ManagedProject, db: Db, read: Read) -> ChecksOut:
    """The qualification round, gold tasks and repeats; 403 for annotators."""
    await read.tell(db, project)
    return ChecksOut.of(Checks.of(project.checks))


@router.patch("/checks", summary="Change how people are checked")
async def change_checks(project: OwnedProject, body: ChecksIn, db: Db, edit: Edit) -> ChecksOut:
    """Changes what is given and leaves the rest; 422 where more than half of the tasks would be checks."""
    await edit.require_current(db, project)
    changed = checks.checked(Checks.of(project.checks).model_dump() | body.model_dump(exclude_none=True))
    project.checks = changed.to_json()
    await edit.tell(db, project)
    return ChecksOut.of(changed)


@router.get("/gold-tasks", summary="List gold tasks")
async def list_gold(project: ManagedProject, db: Db, paging: Paging) -> Page[GoldOut]:
    """Newest first, whether or not they are in use, with what the project says of each; 403 for annotators."""
    tasks, following = await read_rows(db, gold.all_in(project), Task.id, paging=paging)
    told = await gold.in_project(db, project, paging.limit, only=[task.id for task in tasks])
    newest = sorted((GoldOut.of(task) for task in told), key=lambda one: one.task_id, reverse=True)
    return Page(items=newest, next_cursor=following)


@router.post("/gold-tasks", status_code=status.HTTP_201_CREATED, summary="Write a gold task")
async def write_gold(project: OwnedProject, body: GoldIn, caller: Caller, db: Db) -> MadeGoldOut:
    """A prompt and two to nine responses of yours, of which you say which is better."""
    return MadeGoldOut(task_id=await gold.write(db, caller, project, body.prompt, body.responses, body.known()))


@router.post("/tasks/{task_id}/gold", status_code=status.HTTP_201_CREATED, summary="Make a gold task of a task")
async def make_gold(project: OwnedProject, task_id: Id, body: SayingIn, caller: Caller, db: Db) -> MadeGoldOut:
    """A gold task like that one, which stays as it is; 409 where there is one for that purpose."""
    return MadeGoldOut(task_id=await gold.of_task(db, caller, project, task_id, body.known()))


@router.get("/gold-tasks/{task_id}", summary="Read a gold task")
async def read_gold(project: ManagedProject, task_id: Id, db: Db, read: Read) -> GoldOut:
    """What the project says of it, and how people answered; 403 for annotators."""
    await read.tell(db, await gold.said_of(db, project, task_id))
    (found,) = await gold.in_project(db, project, only=[task_id])
    return GoldOut.of(found)


@router.patch("/gold-tasks/{task_id}", status_code=status.HTTP_204_NO_CONTENT, summary="Change a gold task")
async def change_gold(project: OwnedProject, task_id: Id, body: GoldChange, db: Db, edit: Edit) -> None:
    """Says something else of it, by which earlier answers are measured, too, or takes it out of use or back into it.
    What isn't sent stays; 404 for what is no gold task.
    """
    said = await gold.said_of(db, project, task_id)
    await edit.require_current(db, said)
    if {"better", "explanation"} & body.model_fields_set:
        await gold.explain(
            db,
            project,
            task_id,
            better=body.better if "better" in body.model_fields_set else said.better,
            explanation=said.explanation if body.explanation is None else body.explanation,
        )
    if body.is_in_use is not None:
        await gold.take_out(db, project, task_id, use=body.is_in_use)
    await edit.tell(db, said)


@router.post("/people/{user_id}/let-in", status_code=status.HTTP_204_NO_CONTENT, summary="Spare somebody the round")
async def let_in(project: OwnedProject, user_id: Id, db: Db) -> None:
    """Has an annotator work without passing the qualification round; 404 for who is no member."""
    await conduct.let_in(db, project, user_id)
