"""What an erasure touches, told before it is done. Everything is counted by the database."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import (
    Assignment,
    Completion,
    DatasetJudgement,
    DatasetVersion,
    Demonstration,
    GoldAnswer,
    Import,
    Judgement,
    ModelVersion,
    Project,
    Prompt,
    Run,
    Task,
)
from app.db.tables.runs import TERMINAL_RUN_STATES
from app.services.data.storing.imports import WAITING
from app.services.erasure.targets import Reach


@dataclass(frozen=True)
class Version:
    """A dataset version that holds the text."""

    kind: str
    number: int
    has_file: bool


@dataclass(frozen=True)
class Model:
    """A model that was trained on a dataset version which holds the text: it is told, and stays."""

    kind: str
    number: int


@dataclass(frozen=True)
class Touched:
    """Texts that would be erased, and what else is concerned.

    `judgements` are those of its tasks, which stay; `words` are reasons and explanations that people wrote. `leases`
    are out now. `exports` are files of the whole project, `runs` those under way, `waiting_files` were uploaded and
    not brought in yet. `imports` are the ids of those that brought it.
    """

    prompts: int
    responses: int
    demonstrations: int
    words: int
    tasks: int
    judgements: int
    leases: int
    versions: tuple[Version, ...]
    models: tuple[Model, ...]
    exports: int
    runs: int
    imports: tuple[int, ...]
    waiting_files: int

    @property
    def texts(self) -> int:
        return self.prompts + self.responses + self.demonstrations + self.words

    @property
    def has_files(self) -> bool:
        """Whether files of dataset versions or of runs hold it that could be removed."""
        return any(version.has_file for version in self.versions) or self.exports > 0


async def look(db: AsyncSession, project: Project, reach: Reach) -> Touched:
    """What erasing would touch now."""
    of_tasks = select(Task.id).where(reach.tasks)
    counted = await db.execute(
        select(
            _count(Prompt, reach.prompts, Prompt.erased_at.is_(None)).label("prompts"),
            _count(Completion, reach.completions, Completion.erased_at.is_(None)).label("responses"),
            _count(Demonstration, reach.demonstrations, Demonstration.erased_at.is_(None)).label("demonstrations"),
            (
                _count(Judgement, reach.judgements)
                + _count(Assignment, reach.assignments)
                + _count(GoldAnswer, reach.gold)
            ).label("words"),
            _count(Task, reach.tasks, Task.erased_at.is_(None)).label("tasks"),
            _count(Judgement, Judgement.task_id.in_(of_tasks)).label("judgements"),
            _count(Assignment, Assignment.task_id.in_(of_tasks), Assignment.state == "leased").label("leases"),
            _count(Run, *_exports(project)).label("exports"),
            _count(Run, Run.project_id == project.id, Run.state.not_in((*TERMINAL_RUN_STATES,))).label("runs"),
            _count(Import, Import.project_id == project.id, Import.state.in_(WAITING)).label("waiting_files"),
        )
    )
    holds = versions_that_hold(project, reach)
    versions = await db.scalars(
        select(DatasetVersion).where(holds).order_by(DatasetVersion.kind, DatasetVersion.number)
    )
    models = await db.execute(
        select(ModelVersion.kind, ModelVersion.number)
        .where(ModelVersion.dataset_version_id.in_(select(DatasetVersion.id).where(holds)))
        .order_by(ModelVersion.kind, ModelVersion.number)
    )
    return Touched(
        **counted.one()._mapping,
        versions=tuple(Version(one.kind, one.number, one.file_removed_at is None) for one in versions),
        models=tuple(Model(kind, number) for kind, number in models),
        imports=await _imports(db, reach),
    )


def versions_that_hold(project: Project, reach: Reach) -> ColumnElement[bool]:
    """Condition on DatasetVersion. One of demonstrations holds all that there were when it was cut."""
    holds_a_judgement = DatasetVersion.id.in_(
        select(DatasetJudgement.dataset_version_id)
        .join(Judgement, Judgement.id == DatasetJudgement.judgement_id)
        .where(Judgement.task_id.in_(select(Task.id).where(reach.tasks)))
    )
    was_there = exists().where(reach.demonstrations, Demonstration.created_at <= DatasetVersion.created_at)
    return and_(
        DatasetVersion.project_id == project.id,
        or_(
            and_(DatasetVersion.kind == "preferences", holds_a_judgement),
            and_(DatasetVersion.kind == "demonstrations", was_there.correlate(DatasetVersion)),
        ),
    )


def _exports(project: Project) -> tuple[ColumnElement[bool], ...]:
    return (Run.project_id == project.id, Run.stage.in_(("pack", "export", "folder")), Run.started_at.is_not(None))


def _count(table: Any, *conditions: ColumnElement[bool]) -> Any:
    return select(func.count()).select_from(table).where(*conditions).scalar_subquery()


async def _imports(db: AsyncSession, reach: Reach) -> tuple[int, ...]:
    found: set[int | None] = set()
    for column, condition in (
        (Prompt.import_id, reach.prompts),
        (Task.import_id, reach.tasks),
        (Demonstration.import_id, reach.demonstrations),
    ):
        found |= set(await db.scalars(select(column).where(condition, column.is_not(None)).distinct()))
    return tuple(sorted(number for number in found if number is not None))
