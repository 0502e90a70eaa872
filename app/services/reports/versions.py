"""Model versions with the figures that their gates went by, and how much of what they wrote people judged."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Completion, Gate, ModelVersion, Project, Round, Run, Task, TaskCompletion
from app.services.loop.gates import label_need
from app.services.loop.settings.round_settings import RoundSettings, settings_of, settings_of_round

MOST_VERSIONS = 200
FEWEST_PAIRS = 10
"""So many pairs make a share; of fewer none is told."""


@dataclass(frozen=True)
class Version:
    """A model version. `accuracy` is its agreement with `pairs` held-out judgements, `win_rate` how often it is
    preferred over its reference by the reward model; None where it wasn't measured, or on too few. `judged_tasks` are
    the tasks for labels in which people judged a response of it.
    """

    round: int | None
    kind: str
    number: int
    state: str
    gate: str | None
    accuracy: float | None
    pairs: int | None
    win_rate: float | None
    promoted_at: datetime | None
    judged_tasks: int


async def versions_of(db: AsyncSession, project: Project) -> tuple[Version, ...]:
    """The newest ones."""
    passed = (
        select(Gate.passed)
        .where(Gate.model_version_id == ModelVersion.id)
        .order_by(Gate.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    judged = (
        select(Completion.model_version_id, func.count(Task.id.distinct()).label("tasks"))
        .join(TaskCompletion, TaskCompletion.completion_id == Completion.id)
        .join(Task, Task.id == TaskCompletion.task_id)
        .where(Task.project_id == project.id, Task.purpose == "label", Task.judged > 0)
        .group_by(Completion.model_version_id)
        .subquery()
    )
    rows = await db.execute(
        select(ModelVersion, Round, passed, func.coalesce(judged.c.tasks, 0))
        .outerjoin(judged, judged.c.model_version_id == ModelVersion.id)
        .outerjoin(Run, Run.id == ModelVersion.run_id)
        .outerjoin(Round, Round.id == Run.round_id)
        .where(ModelVersion.project_id == project.id)
        .order_by(ModelVersion.id.desc())
        .limit(MOST_VERSIONS)
    )
    by_hand = settings_of(project)
    return tuple(_version(by_hand, *row) for row in rows)


def _version(
    by_hand: RoundSettings, version: ModelVersion, round_: Round | None, is_passed: bool | None, judged_tasks: int
) -> Version:
    few = (by_hand if round_ is None else settings_of_round(round_)).reward_gate.min_pairs
    judged = label_need.measured(version.figures, few) or label_need.held_out(version.figures)
    win_rate = version.figures.get("proxy_win_rate")
    return Version(
        round=None if round_ is None else round_.number,
        kind=version.kind,
        number=version.number,
        state=version.state,
        gate=None if is_passed is None else "passed" if is_passed else "refused",
        accuracy=judged.accuracy if judged is not None and judged.pairs >= FEWEST_PAIRS else None,
        pairs=round(judged.pairs) if judged is not None else None,
        win_rate=win_rate if isinstance(win_rate, int | float) else None,
        promoted_at=version.promoted_at,
        judged_tasks=judged_tasks,
    )
