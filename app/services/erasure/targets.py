"""What can be erased, and the rows that hold its text: the thing, copies of it, and what people wrote about it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from sqlalchemy import ARRAY, BigInteger, ColumnElement, Select, and_, any_, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.db.tables import (
    Assignment,
    Completion,
    Demonstration,
    GoldAnswer,
    Judgement,
    Member,
    Project,
    Prompt,
    Task,
    TaskCompletion,
    User,
)
from app.errors import NotFound

Kind = Literal["prompt", "response", "person"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Target:
    """A prompt, a response, or all that a person wrote in one project."""

    kind: Kind
    id: int


@dataclass(frozen=True)
class Reach:
    """Conditions on the rows that hold the text, whether it was erased from them or not.

    `judgements`, `assignments` and `gold` are those with words of people; `tasks` are shown to nobody any more.
    `erased_at`: when the thing itself was erased; None for a person, who may write more.
    """

    prompts: ColumnElement[bool]
    completions: ColumnElement[bool]
    demonstrations: ColumnElement[bool]
    tasks: ColumnElement[bool]
    judgements: ColumnElement[bool]
    assignments: ColumnElement[bool]
    gold: ColumnElement[bool]
    erased_at: datetime | None = None
    name: str = ""


async def reach_of(db: AsyncSession, project: Project, target: Target) -> Reach:
    """Raises NotFound for what the project doesn't hold."""
    match target.kind:
        case "prompt":
            return await _of_prompt(db, project, target.id)
        case "response":
            return await _of_response(db, project, target.id)
        case "person":
            return await _of_person(db, project, target.id)


async def _of_prompt(db: AsyncSession, project: Project, prompt_id: int) -> Reach:
    prompt = await db.scalar(select(Prompt).where(Prompt.id == prompt_id, Prompt.project_id == project.id))
    if prompt is None:
        raise NotFound
    return _about_tasks(
        prompts=Prompt.id == prompt_id,
        completions=Completion.prompt_id == prompt_id,
        demonstrations=Demonstration.prompt_id == prompt_id,
        tasks=Task.prompt_id == prompt_id,
        erased_at=prompt.erased_at,
    )


async def _of_response(db: AsyncSession, project: Project, completion_id: int) -> Reach:
    """With the same text where it stands again under the same prompt, and with what people made of it."""
    response = await db.scalar(
        select(Completion)
        .join(Prompt, Prompt.id == Completion.prompt_id)
        .where(Completion.id == completion_id, Prompt.project_id == project.id)
    )
    if response is None:
        raise NotFound
    same = Completion.id == completion_id
    if response.erased_at is None:
        same = and_(Completion.prompt_id == response.prompt_id, Completion.text == response.text)
    ids = select(Completion.id).where(same)
    of_one_prompt = Demonstration.prompt_id == response.prompt_id
    written = or_(Demonstration.completion_id.in_(ids), Demonstration.text == response.text)
    return _about_tasks(
        prompts=Prompt.id.in_(()),
        completions=same,
        demonstrations=and_(of_one_prompt, written),
        tasks=Task.id.in_(select(TaskCompletion.task_id).where(TaskCompletion.completion_id.in_(ids))),
        erased_at=response.erased_at,
    )


async def _of_person(db: AsyncSession, project: Project, user_id: int) -> Reach:
    """What they wrote themselves, and what others said of responses of theirs."""
    user = await db.get(User, user_id)
    is_member = exists().where(Member.project_id == project.id, Member.user_id == user_id)
    has_worked = exists().where(Assignment.project_id == project.id, Assignment.annotator_id == user_id)
    here = select(Prompt.id).where(Prompt.project_id == project.id)
    has_written = exists().where(Demonstration.author_id == user_id, Demonstration.prompt_id.in_(here))
    if user is None or not await db.scalar(select(or_(is_member, has_worked, has_written))):
        raise NotFound
    completions = and_(Completion.author_id == user_id, Completion.prompt_id.in_(here))
    written = select(Completion.id).where(completions)
    tasks = Task.id.in_(select(TaskCompletion.task_id).where(TaskCompletion.completion_id.in_(written)))
    about = _about_tasks(
        prompts=Prompt.id.in_(()),
        completions=completions,
        demonstrations=and_(
            Demonstration.prompt_id.in_(here),
            or_(Demonstration.author_id == user_id, _is_any(Demonstration.completion_id, written)),
        ),
        tasks=and_(Task.project_id == project.id, tasks),
    )
    said = and_(Judgement.project_id == project.id, Judgement.annotator_id == user_id)
    skipped = and_(Assignment.project_id == project.id, Assignment.annotator_id == user_id)
    own_gold = exists().where(Task.id == GoldAnswer.task_id, Task.project_id == project.id)
    return Reach(
        prompts=about.prompts,
        completions=about.completions,
        demonstrations=about.demonstrations,
        tasks=about.tasks,
        judgements=or_(about.judgements, and_(said, Judgement.rationale.is_not(None))),
        assignments=or_(about.assignments, and_(skipped, func.length(Assignment.skip_reason) > 0)),
        gold=or_(about.gold, and_(GoldAnswer.author_id == user_id, GoldAnswer.explanation != "", own_gold)),
        name=user.name,
    )


def _about_tasks(
    *,
    prompts: ColumnElement[bool],
    completions: ColumnElement[bool],
    demonstrations: ColumnElement[bool],
    tasks: ColumnElement[bool],
    erased_at: datetime | None = None,
) -> Reach:
    """What people said of the tasks may quote what they saw there: their words go, too."""
    of_tasks = select(Task.id).where(tasks)
    return Reach(
        prompts=prompts,
        completions=completions,
        demonstrations=demonstrations,
        tasks=tasks,
        judgements=and_(_is_any(Judgement.task_id, of_tasks), Judgement.rationale.is_not(None)),
        assignments=and_(_is_any(Assignment.task_id, of_tasks), func.length(Assignment.skip_reason) > 0),
        gold=and_(_is_any(GoldAnswer.task_id, of_tasks), GoldAnswer.explanation != ""),
        erased_at=erased_at,
    )


def _is_any(
    column: InstrumentedAttribute[int] | InstrumentedAttribute[int | None], ids: Select[int]
) -> ColumnElement[bool]:
    """`column IN (ids)`, for which the ids are found first: beside an OR an index answers only what is known."""
    return column == any_(func.array(ids.scalar_subquery(), type_=ARRAY(BigInteger)))
