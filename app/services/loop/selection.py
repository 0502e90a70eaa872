"""Select: which completions are worth a person's time, and tasks of them.

The pool are completions of policies that are in no task yet. A rule picks among candidates and says with what
chance it took each, because an estimate from selected data needs that. Uniform random is the rule until a better one
is shown to be.
"""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import Completion, ModelVersion, Project, Prompt, Task, TaskCompletion
from app.services.projects.question import question_of


@dataclass(frozen=True)
class Candidate:
    """Completions of one prompt by one policy, with different texts: as many as the project compares."""

    prompt_id: int
    completion_ids: tuple[int, ...]
    model_version_id: int


@dataclass(frozen=True)
class Selection:
    """A candidate that was taken; `propensity` is the chance it had of that."""

    candidate: Candidate
    propensity: float


class SelectionRule(Protocol):
    """An acquisition rule. `name` goes into every task that it made."""

    @property
    def name(self) -> str: ...

    def __call__(self, candidates: Sequence[Candidate], count: int, rng: random.Random) -> Sequence[Selection]: ...


class UniformRandom:
    """Every candidate has the same chance."""

    name = "uniform"

    def __call__(self, candidates: Sequence[Candidate], count: int, rng: random.Random) -> Sequence[Selection]:
        taken = min(count, len(candidates))
        return [Selection(candidate, taken / len(candidates)) for candidate in rng.sample(list(candidates), taken)]


@dataclass(frozen=True)
class Selected:
    """What a select step did. `wanted` may be more than `made`: the pool is finite."""

    wanted: int
    made: int
    model_version_ids: tuple[int, ...]


async def make_tasks(
    db: AsyncSession,
    project: Project,
    *,
    count: int,
    rng: random.Random,
    round_id: int | None = None,
    priority: float = 0.0,
    rule: SelectionRule | None = None,
) -> Selected:
    """Make up to `count` tasks of the pool: the newest policy in use first, no prompt twice before every prompt once.

    Priorities are `priority` plus a random part below 1, so that tasks of a round come in random order.
    """
    rule = rule or UniformRandom()
    made: list[Selection] = []
    for layer in await _layers(db, project.id, question_of(project).size, rng):
        if len(made) >= count:
            break
        made += rule(layer, count - len(made), rng)
    await _insert(db, project, made, rule=rule.name, round_id=round_id, priority=priority, rng=rng)
    versions = dict.fromkeys(selection.candidate.model_version_id for selection in made)
    return Selected(wanted=count, made=len(made), model_version_ids=tuple(versions))


async def open_places(db: AsyncSession, project_id: int) -> int:
    """How many judgements the open tasks can still take."""
    places = await db.scalar(
        select(func.coalesce(func.sum(Task.quota - Task.judged - Task.skipped), 0)).where(
            Task.project_id == project_id, Task.purpose == "label", Task.state == "open"
        )
    )
    return int(places or 0)


async def brought_pairs(db: AsyncSession, project_id: int) -> int:
    """Open tasks that came in from files and that nobody has judged yet: pairs for people that no policy wrote."""
    pairs = await db.scalar(
        select(func.count())
        .select_from(Task)
        .where(
            Task.project_id == project_id,
            Task.purpose == "label",
            Task.state == "open",
            Task.import_id.is_not(None),
            Task.taken == 0,
        )
    )
    return int(pairs or 0)


async def _layers(db: AsyncSession, project_id: int, size: int, rng: random.Random) -> list[list[Candidate]]:
    """Candidates by preference: policies from the last promoted on, of each one every prompt's first set first."""
    rows = await db.execute(
        select(Completion.model_version_id, Completion.prompt_id, Completion.id, Completion.text)
        .join(Prompt, Prompt.id == Completion.prompt_id)
        .join(ModelVersion, ModelVersion.id == Completion.model_version_id)
        .where(
            Prompt.project_id == project_id,
            Prompt.split.in_(("train", "validation")),
            Completion.source == "policy",
            ModelVersion.promoted_at.is_not(None),
            ~exists().where(TaskCompletion.completion_id == Completion.id),
        )
        .order_by(ModelVersion.promoted_at.desc(), Completion.prompt_id, Completion.id)
    )
    texts: dict[int, dict[int, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for version_id, prompt_id, completion_id, text in rows:
        assert version_id is not None
        texts[version_id][prompt_id].setdefault(text, completion_id)
    return [layer for version_id, prompts in texts.items() for layer in _sets_by_turn(version_id, prompts, size, rng)]


def _sets_by_turn(
    version_id: int, prompts: dict[int, dict[str, int]], size: int, rng: random.Random
) -> list[list[Candidate]]:
    """Disjoint sets of `size` different texts; the i-th list has the i-th set of every prompt that has one."""
    turns: list[list[Candidate]] = []
    for prompt_id, texts in prompts.items():
        completion_ids = list(texts.values())
        rng.shuffle(completion_ids)
        whole = len(completion_ids) - len(completion_ids) % size
        for turn, start in enumerate(range(0, whole, size)):
            if turn == len(turns):
                turns.append([])
            turns[turn].append(Candidate(prompt_id, tuple(completion_ids[start : start + size]), version_id))
    return turns


async def _insert(
    db: AsyncSession,
    project: Project,
    selections: Sequence[Selection],
    *,
    rule: str,
    round_id: int | None,
    priority: float,
    rng: random.Random,
) -> None:
    tasks = [
        Task(
            project_id=project.id,
            prompt_id=selection.candidate.prompt_id,
            round_id=round_id,
            quota=project.overlap,
            priority=priority + rng.random(),
            selection=_reason(rule, selection),
        )
        for selection in selections
    ]
    db.add_all(tasks)
    await db.flush()
    db.add_all(
        TaskCompletion(task_id=task.id, position=position, completion_id=completion_id)
        for task, selection in zip(tasks, selections, strict=True)
        for position, completion_id in enumerate(selection.candidate.completion_ids)
    )
    await db.flush()


def _reason(rule: str, selection: Selection) -> Json:
    return {"rule": rule, "propensity": selection.propensity}
