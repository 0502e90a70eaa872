"""Gold tasks: comparisons whose answer the project knows, to teach with and to check by."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import cast

from sqlalchemy import ColumnElement, Select, and_, case, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.db.tables import Completion, GoldAnswer, Judgement, Member, Project, Prompt, Task, TaskCompletion
from app.db.tables.judging import TaskPurpose
from app.errors import Conflict, Invalid, NotFound
from app.security import Principal
from app.services import conditions, prompts
from app.services.judging import check_tasks
from app.services.prompts import NewPrompt
from training.records import Message

EVERYBODY = 32_767  # places: a gold task is never used up
SHOWN = 100  # gold tasks on a page
LONGEST_TEXT = 100_000
PURPOSES: tuple[TaskPurpose, ...] = ("qualification", "gold")
AGREEING = 2  # people who have to say the same of a task that is suggested


@dataclass(frozen=True)
class Known:
    """What the project says of a task: the response at position `better`; None: neither is."""

    purpose: TaskPurpose
    better: int | None
    explanation: str

    def check(self, size: int) -> None:
        """Raises Invalid."""
        if self.purpose not in PURPOSES:
            raise Invalid("A gold task is for the qualification round or for among the others.")
        if self.better is not None and self.better not in range(size):
            raise Invalid("Say which of the responses is better.")
        if self.better is None and size > 2:
            raise Invalid("Of several responses, say which one is the best.")
        if len(self.explanation) > LONGEST_TEXT or "\0" in self.explanation:
            raise Invalid("That explanation can't be stored.")


@dataclass(frozen=True)
class Comparison:
    """A prompt and its responses by position."""

    task_id: int
    messages: tuple[Message, ...]
    responses: tuple[str, ...]


@dataclass(frozen=True)
class GoldTask:
    """`right` of `answered` current answers are what the project says."""

    comparison: Comparison
    purpose: TaskPurpose
    is_in_use: bool
    better: int | None
    explanation: str
    answered: int
    right: int


@dataclass(frozen=True)
class Agreed:
    """`judged` people say the same of a task: that the response at position `better` is."""

    task_id: int
    better: int
    judged: int


@dataclass(frozen=True)
class Suggestion:
    """A task of the project on which people agree; `better` is what they say."""

    comparison: Comparison
    better: int
    judged: int


async def of_task(db: AsyncSession, actor: Principal, project: Project, task_id: int, known: Known) -> int:
    """Make a gold task like one of the project's; returns its id. Raises NotFound, Invalid, and Conflict when there is
    one for that purpose.
    """
    original = await db.scalar(
        select(Task).where(Task.id == task_id, Task.project_id == project.id, Task.purpose == "label").with_for_update()
    )
    if original is None:
        raise NotFound
    if await db.scalar(select(Task.id).where(Task.copy_of == task_id, Task.purpose == known.purpose)):
        raise Conflict("This task is a gold task for that already.")
    made, size = await check_tasks.copy(db, original, known.purpose, quota=EVERYBODY)
    await _say(db, actor, made, size, known)
    return made


async def write(
    db: AsyncSession, actor: Principal, project: Project, prompt: str, responses: Sequence[str], known: Known
) -> int:
    """Make a gold task of what somebody wrote; returns its id. Raises Invalid."""
    texts = [_clean(text) for text in responses]
    if not 2 <= len(texts) <= 9 or not all(texts) or not _clean(prompt):
        raise Invalid("A gold task needs a prompt and two to nine responses.")
    if len(set(texts)) < len(texts):
        raise Invalid("Two of the responses are the same.")
    if any(len(text) > LONGEST_TEXT for text in (prompt, *texts)):
        raise Invalid("That text is too long to be stored.")
    known.check(len(texts))  # before anything is made: the page that catches this commits
    asked = NewPrompt((("user", _clean(prompt)),), source="gold")
    prompt_id = (await prompts.put(db, project, [asked]))[asked.digest]
    task = Task(project_id=project.id, prompt_id=prompt_id, purpose=known.purpose, quota=EVERYBODY)
    written = [Completion(prompt_id=prompt_id, text=text, source="person", author_id=actor.user_id) for text in texts]
    db.add_all([task, *written])
    await db.flush()
    db.add_all(
        TaskCompletion(task_id=task.id, position=position, completion_id=completion.id)
        for position, completion in enumerate(written)
    )
    await _say(db, actor, task.id, len(texts), known)
    return task.id


async def take_out(db: AsyncSession, project: Project, task_id: int, *, use: bool) -> None:
    """Give a gold task to nobody any more, or again (`use`). What was said of it stays. Raises NotFound."""
    gold = (Task.id == task_id, Task.project_id == project.id, Task.purpose.in_(PURPOSES))
    task = await db.scalar(select(Task).where(*gold).with_for_update())
    if task is None:
        raise NotFound
    task.state = "open" if use else "retired"
    await db.flush()


async def explain(db: AsyncSession, project: Project, task_id: int, *, better: int | None, explanation: str) -> None:
    """Say something else of a gold task; earlier answers are measured by it, too. Raises NotFound, Invalid."""
    answer = await said_of(db, project, task_id)
    purpose = await db.scalar(select(Task.purpose).where(Task.id == task_id))
    size = await db.scalar(select(func.count()).where(TaskCompletion.task_id == task_id)) or 0
    Known(cast(TaskPurpose, purpose), better, explanation).check(size)
    answer.better, answer.explanation = better, _clean(explanation)
    await db.flush()


async def said_of(db: AsyncSession, project: Project, task_id: int) -> GoldAnswer:
    """What the project says of a gold task. Raises NotFound."""
    found = select(GoldAnswer).join(Task, Task.id == GoldAnswer.task_id)
    answer = await db.scalar(found.where(Task.id == task_id, Task.project_id == project.id))
    if answer is None:
        raise NotFound
    return answer


async def in_use(db: AsyncSession, project: Project) -> dict[TaskPurpose, int]:
    """How many gold tasks of each purpose there are, without those that were taken out."""
    counted = (
        select(Task.purpose, func.count())
        .where(Task.project_id == project.id, Task.purpose.in_(PURPOSES), Task.state == "open")
        .group_by(Task.purpose)
    )
    return {cast(TaskPurpose, purpose): count for purpose, count in await db.execute(counted)}


def all_in(project: Project) -> Select[Task]:
    """The project's gold tasks, whether or not they are in use."""
    return select(Task).where(Task.project_id == project.id, Task.purpose.in_(PURPOSES))


async def in_project(
    db: AsyncSession, project: Project, most: int = SHOWN, *, only: Collection[int] | None = None
) -> list[GoldTask]:
    """The first `most` of the project's gold tasks, or of those of these ids; those in use first, newest first."""
    is_right = check_tasks.is_right()
    is_first = (case((Task.state == "open", 0), else_=1), Task.id.desc())
    first = all_in(project).with_only_columns(Task.id).order_by(*is_first).limit(most)
    if only is not None:
        first = first.where(Task.id.in_(only))
    rows = await db.execute(
        select(Task, GoldAnswer, func.count(Judgement.id), func.count(Judgement.id).filter(is_right))
        .join(GoldAnswer, GoldAnswer.task_id == Task.id)
        .outerjoin(Judgement, and_(Judgement.task_id == Task.id, Judgement.superseded_by.is_(None)))
        .where(Task.id.in_(first))
        .group_by(Task.id, GoldAnswer.task_id)
        .order_by(*is_first)
    )
    found = rows.all()
    shown = await _comparisons(db, [task.id for task, *_ in found])
    return [
        GoldTask(
            comparison=shown[task.id],
            purpose=cast(TaskPurpose, task.purpose),
            is_in_use=task.state == "open",
            better=answer.better,
            explanation=answer.explanation,
            answered=answered,
            right=right,
        )
        for task, answer, answered, right in found
    ]


async def agreed(db: AsyncSession, project: Project, most: int = 20) -> list[Agreed]:
    """Pairs that would look like any other: several people say the same of them, or an owner or reviewer has judged.

    The clearest first. Reads all labels, so that pages take it from a report.
    """
    by_staff = func.bool_or(Member.role.in_(("owner", "reviewer")))
    strength = func.avg(Judgement.preference)
    found: Select[int, int, int] = (
        select(Task.id, case((func.min(Judgement.preference) > 0, 0), else_=1), func.count())
        .join(Judgement, Judgement.task_id == Task.id)
        .outerjoin(Member, and_(Member.project_id == Task.project_id, Member.user_id == Judgement.annotator_id))
        .join(Prompt, Prompt.id == Task.prompt_id)
        .where(Prompt.split != "held_out", *_may_be_gold(), *conditions.labels_of(project.id))
        .group_by(Task.id)
        .having(
            or_(func.min(Judgement.preference) > 0, func.max(Judgement.preference) < 0),
            or_(func.count() >= AGREEING, by_staff),
        )
        .order_by(func.abs(strength).desc(), func.count().desc(), Task.id)
        .limit(most)
    )
    return [Agreed(task_id, better, judged) for task_id, better, judged in await db.execute(found)]


async def suggestions(db: AsyncSession, project: Project, known: Sequence[Agreed], most: int = 5) -> list[Suggestion]:
    """The first of what was known to be agreed on, as far as it may still be made gold."""
    ids = [one.task_id for one in known]
    still = set(
        await db.scalars(select(Task.id).where(Task.id.in_(ids), Task.project_id == project.id, *_may_be_gold()))
    )
    first = [one for one in known if one.task_id in still][:most]
    shown = await _comparisons(db, [one.task_id for one in first])
    return [Suggestion(shown[one.task_id], one.better, one.judged) for one in first]


def _may_be_gold() -> tuple[ColumnElement[bool], ...]:
    """Conditions on Task: made for labels, nothing in it erased, and no gold task yet."""
    copied = aliased(Task)
    is_gold = exists().where(copied.copy_of == Task.id, copied.purpose.in_(PURPOSES))
    return (Task.purpose == "label", Task.erased_at.is_(None), ~is_gold)


async def _say(db: AsyncSession, actor: Principal, task_id: int, size: int, known: Known) -> None:
    known.check(size)
    db.add(
        GoldAnswer(task_id=task_id, better=known.better, explanation=_clean(known.explanation), author_id=actor.user_id)
    )
    await db.flush()


async def _comparisons(db: AsyncSession, task_ids: Sequence[int]) -> dict[int, Comparison]:
    rows = await db.execute(
        select(Task.id, Prompt.messages, Completion.text)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .join(TaskCompletion, TaskCompletion.task_id == Task.id)
        .join(Completion, Completion.id == TaskCompletion.completion_id)
        .where(Task.id.in_(task_ids))
        .order_by(Task.id, TaskCompletion.position)
    )
    messages: dict[int, tuple[Message, ...]] = {}
    texts: dict[int, tuple[str, ...]] = {}
    for task_id, turns, text in rows:
        messages[task_id] = tuple(Message(turn["role"], turn["content"]) for turn in turns)
        texts[task_id] = (*texts.get(task_id, ()), text)
    return {task_id: Comparison(task_id, messages[task_id], texts[task_id]) for task_id in messages}


def _clean(text: str) -> str:
    return text.replace("\0", "").replace("\r\n", "\n").strip()
