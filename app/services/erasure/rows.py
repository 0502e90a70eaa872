"""Rows lose their texts: overwritten with nothing, so that everything that points at them stays whole.

The database holds them to that (`erased_at`): an erased text is never filled again. Choices that people made stay.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Text, Uuid, cast, delete, func, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import (
    Assignment,
    Completion,
    DatasetVersion,
    Demonstration,
    Errand,
    GoldAnswer,
    JudgeAnswer,
    Judgement,
    Metric,
    Project,
    Prompt,
    Run,
    Task,
)
from app.services.erasure.redacting import Erased, redacted
from app.services.erasure.targets import Reach
from app.services.erasure.touched import versions_that_hold
from app.services.judging import releasing

ROWS_AT_ONCE = 500
NOTHING: list[Json] = [{"role": "user", "content": ""}]


@dataclass(frozen=True)
class Done:
    """What was erased, in figures, and what files are to be rid of."""

    counts: Json
    erased: Erased
    versions: tuple[DatasetVersion, ...]


async def erase(db: AsyncSession, project: Project, reach: Reach, tell: Callable[[int, int], None]) -> Done:
    """Overwrite everything within reach, in this transaction. `tell` hears the steps done, of how many.

    Nothing else that touches the same texts goes on meanwhile: dataset versions are cut before or after.
    """
    await db.execute(select(Project.id).where(Project.id == project.id).with_for_update(key_share=True))
    erased = await _read(db, reach)
    # What models were asked today may hold any of it, and is gone tomorrow.
    await db.execute(delete(Errand).where(Errand.project_id == project.id))
    versions = tuple(await _mark_versions(db, project, reach))
    steps: list[tuple[str, Any]] = [
        # The tasks first: an answer that is on its way is recorded before, or refused after.
        ("tasks", lambda: _retire(db, reach)),
        ("words", lambda: _words(db, reach)),
        ("demonstrations", lambda: _texts(db, Demonstration, reach.demonstrations)),
        ("responses", lambda: _texts(db, Completion, reach.completions)),
        ("prompts", lambda: _prompts(db, reach)),
        ("samples", lambda: _samples(db, project, erased)),
    ]
    counts: Json = {"dataset_versions": len(versions)}
    for done, (name, step) in enumerate(steps):
        tell(done, len(steps))
        counts[name] = await step()
    return Done(counts, erased, versions)


async def mark_removed(db: AsyncSession, versions: tuple[DatasetVersion, ...]) -> None:
    """Say that the files of these dataset versions are gone."""
    ids = [version.id for version in versions]
    await db.execute(
        update(DatasetVersion)
        .where(DatasetVersion.id.in_(ids), DatasetVersion.file_removed_at.is_(None))
        .values(file_removed_at=func.now())
    )


async def _read(db: AsyncSession, reach: Reach) -> Erased:
    """The texts as they are now, by which they are found where they were copied to."""
    asked = await db.execute(select(Prompt.id, Prompt.messages[-1]["content"].astext).where(reach.prompts))
    prompts = {prompt_id: content for prompt_id, content in asked}  # noqa: C416 - rows are no pairs to a type checker
    texts = {text for text in prompts.values() if text}
    for column, condition in ((Completion.text, reach.completions), (Demonstration.text, reach.demonstrations)):
        texts |= set(await db.scalars(select(column).where(condition, column != "")))
    return Erased(frozenset(map(str, prompts)), frozenset(text.strip() for text in texts if text.strip()))


async def _mark_versions(db: AsyncSession, project: Project, reach: Reach) -> list[DatasetVersion]:
    holds = versions_that_hold(project, reach)
    marks = update(DatasetVersion).where(holds, DatasetVersion.erased_from_at.is_(None))
    await db.execute(marks.values(erased_from_at=func.now()).execution_options(synchronize_session=False))
    found = select(DatasetVersion).where(holds).order_by(DatasetVersion.id)
    return list(await db.scalars(found.execution_options(populate_existing=True)))


async def _retire(db: AsyncSession, reach: Reach) -> int:
    """Nobody is shown these again, and whoever has one on screen can't answer it any more."""
    tasks = list(
        await db.scalars(
            select(Task.id).where(reach.tasks, Task.erased_at.is_(None)).order_by(Task.id).with_for_update()
        )
    )
    for first in range(0, len(tasks), ROWS_AT_ONCE):
        some = tasks[first : first + ROWS_AT_ONCE]
        await releasing.release_tasks(db, some)
        await db.execute(
            update(Task)
            .where(Task.id.in_(some))
            .values(state="retired", erased_at=func.now(), import_digest=None)
            .execution_options(synchronize_session=False)
        )
    return len(tasks)


async def _words(db: AsyncSession, reach: Reach) -> int:
    """Reasons and explanations, of which none is left but that there was one; what judges replied quotes texts, too."""
    await _replies(db, reach)
    return (
        await _changed(db, Judgement, reach.judgements, rationale=None, body_digest=None, erased_at=func.now())
        + await _changed(db, Assignment, reach.assignments, skip_reason="")
        + await _changed(db, GoldAnswer, reach.gold, explanation="")
    )


async def _replies(db: AsyncSession, reach: Reach) -> None:
    """Which side each named stays."""
    reply = func.jsonb_array_elements(JudgeAnswer.replies).table_valued("value", name="reply")
    emptied = func.jsonb_build_object("text", "")
    without = select(func.jsonb_agg(cast(reply.c.value, JSONB).op("||")(emptied))).select_from(reply).scalar_subquery()
    of_tasks = JudgeAnswer.task_id.in_(select(Task.id).where(reach.tasks))
    still_there = of_tasks & JudgeAnswer.erased_at.is_(None)
    await _changed(db, JudgeAnswer, still_there, replies=without, erased_at=func.now())


async def _texts(db: AsyncSession, table: Any, condition: ColumnElement[bool]) -> int:
    return await _changed(db, table, condition & table.erased_at.is_(None), text="", erased_at=func.now())


async def _prompts(db: AsyncSession, reach: Reach) -> int:
    """The digest is that of no text any more: who brings the same prompt again brings another one."""
    nothings = func.sha256(func.convert_to(cast(func.gen_random_uuid(type_=Uuid), Text), "UTF8"))
    still_there = reach.prompts & Prompt.erased_at.is_(None)
    return await _changed(db, Prompt, still_there, messages=NOTHING, digest=nothings, erased_at=func.now())


async def _samples(db: AsyncSession, project: Project, erased: Erased) -> int:
    """Examples that runs measured with are shown on their pages."""
    rows = await db.stream(
        select(Metric.run_id, Metric.phase, Metric.step, Metric.samples)
        .join(Run, Run.id == Metric.run_id)
        .where(Run.project_id == project.id, func.jsonb_typeof(Metric.samples) == "array")
        .execution_options(yield_per=ROWS_AT_ONCE)
    )
    changed = [
        (run_id, phase, step, without)
        async for run_id, phase, step, samples in rows
        if (without := redacted(samples, erased)) != samples
    ]
    for run_id, phase, step, samples in changed:
        where = (Metric.run_id == run_id, Metric.phase == phase, Metric.step == step)
        await db.execute(update(Metric).where(*where).values(samples=samples))
    return len(changed)


async def _changed(db: AsyncSession, table: Any, condition: ColumnElement[bool], **values: Any) -> int:
    result = await db.execute(
        update(table).where(condition).values(**values).execution_options(synchronize_session=False)
    )
    return int(result.rowcount)  # type: ignore[attr-defined]  # of an UPDATE it has one
