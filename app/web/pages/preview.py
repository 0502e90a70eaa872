"""The annotator's page as a question makes it, shown beside the question's form."""

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle, islice

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Completion, Project, Prompt, Task, TaskCompletion
from app.errors import Invalid
from app.services import conditions
from app.services.judging.assignments import PANE_NAMES, TaskView
from app.services.projects.question import INSTRUCTGPT_FLAGS, question_of
from app.web.locales import lazy, translated
from app.web.pages.judging.board import Comparison
from app.web.pages.question_form import QuestionForm
from training.records import Message

EXAMPLE_PROMPT = lazy("How do I keep bread fresh for longer?")
EXAMPLE_RESPONSES = (
    lazy("Keep it in a cloth bag at room temperature, cut side down. Freeze in slices what two days won't use."),
    lazy("Bread is kept in the fridge."),
    lazy("Wrap it in paper and put it into a closed box. A plastic bag keeps it soft, but makes the crust tough."),
    lazy("Buy less of it, and more often."),
)


@dataclass(frozen=True)
class Preview:
    """What an annotator would see. `is_example`: the project has nothing of its own to show yet.

    `problem` says why what was typed can't be asked; shown is then what the project asks now.
    """

    comparison: Comparison
    guidelines: str
    is_example: bool
    problem: str | None = None


async def question_context(
    db: AsyncSession, project: Project, form: QuestionForm, problem: str | None
) -> dict[str, object]:
    """What the templates of a question's form need, wherever it stands."""
    return {
        "project": project,
        "form": form,
        "preview": await preview_of(db, project, form),
        "problem": problem,
        "suggested_flags": "\n".join(INSTRUCTGPT_FLAGS),
    }


async def preview_of(db: AsyncSession, project: Project, form: QuestionForm) -> Preview:
    """The project's own first prompt and responses under the question of the form."""
    problem = None
    try:
        question = form.question(project)
    except Invalid as error:
        question, problem = question_of(project), translated(error)
    messages, texts, is_example = await _first_rows(db, project, question.size)
    task = TaskView(
        assignment_id=0,
        project=project.slug,
        messages=messages,
        panes=tuple(zip(PANE_NAMES, texts, strict=False)),
        shown_order=tuple(range(len(texts))),
        state="leased",
        served_at=None,
        lease_expires_at=datetime.now(UTC),
        question=question,
        answer=None,
        judgement_id=None,
        editable=True,
    )
    return Preview(Comparison(task, key=""), form.guidelines, is_example, problem)


async def _first_rows(db: AsyncSession, project: Project, size: int) -> tuple[tuple[Message, ...], list[str], bool]:
    """Conversation and responses, and whether all of it is made up. Responses that are lacking are."""
    prompt, texts = await _first_task(db, project, size)
    if prompt is None:
        prompt = await db.scalar(
            select(Prompt)
            .where(Prompt.project_id == project.id, Prompt.erased_at.is_(None))
            .order_by(Prompt.split, Prompt.id)
            .limit(1)
        )
        texts = await _written_for(db, prompt, size) if prompt else []
    made_up = islice(cycle(EXAMPLE_RESPONSES), size - len(texts))
    shown = [*texts, *(str(text) for text in made_up)]
    if prompt is None:
        return (Message("user", str(EXAMPLE_PROMPT)),), shown, True
    return tuple(Message.from_json(message) for message in prompt.messages), shown, False


async def _first_task(db: AsyncSession, project: Project, size: int) -> tuple[Prompt | None, list[str]]:
    """The prompt and responses of the task that people are given first."""
    task = await db.scalar(
        select(Task)
        .where(Task.project_id == project.id, Task.state == "open", Task.purpose == "label", Task.taken < Task.quota)
        .where(conditions.kept_for(0))
        .order_by(Task.priority.desc(), Task.id)
        .limit(1)
    )
    if task is None:
        return None, []
    texts = await db.scalars(
        select(Completion.text)
        .join(TaskCompletion, TaskCompletion.completion_id == Completion.id)
        .where(TaskCompletion.task_id == task.id)
        .order_by(TaskCompletion.position)
        .limit(size)
    )
    return await db.get_one(Prompt, task.prompt_id), list(texts)


async def _written_for(db: AsyncSession, prompt: Prompt, size: int) -> list[str]:
    texts = select(Completion.text).where(Completion.prompt_id == prompt.id, Completion.erased_at.is_(None))
    return list(await db.scalars(texts.order_by(Completion.id).limit(size)))
