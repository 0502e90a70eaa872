"""The pool that pairs are selected from, and tasks of them.

The pool are completions of policies, or of writers that somebody chose, that are in no task yet. What is drawn at
random says with what chance, because an estimate from selected data needs that. Rules that learn are
`app.services.selection`'s.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import Completion, ModelVersion, Project, Prompt, Task, TaskCompletion
from app.services import conditions
from app.services.loop.comparisons import writers as pens
from app.services.loop.comparisons.writers import Writer
from app.services.projects.question import question_of


@dataclass(frozen=True)
class Candidate:
    """Completions of one prompt, with different texts: as many as the project compares, by the writers in turn."""

    prompt_id: int
    completion_ids: tuple[int, ...]
    writers: tuple[Writer, ...]


@dataclass(frozen=True)
class Selection:
    """A candidate that was taken; `propensity` is the chance it had of that, None where nobody can say."""

    candidate: Candidate
    propensity: float | None


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
    writers: Sequence[Writer] = (),
) -> Selected:
    """Make up to `count` tasks of the pool: the newest policy in use first, no prompt twice before every prompt once.

    With `writers` the pool is theirs alone: of one its own responses are compared with each other, of several only
    responses of different ones. Priorities are `priority` plus a random part below 1, so that tasks of a round come in
    random order.
    """
    rule = rule or UniformRandom()
    layers = layers_of(
        await free_texts(db, project.id, writers), question_of(project).size, rng, across=len(writers) > 1
    )
    made = draw(layers, count, rng, rule)
    # Writers that somebody chose are no sample of what is asked.
    slice_ = {"slice": "random"} if isinstance(rule, UniformRandom) and not writers else {}
    drafts = [
        Draft(one.candidate, priority + rng.random(), {"rule": rule.name, "propensity": one.propensity, **slice_})
        for one in made
    ]
    await insert(db, project, drafts, round_id=round_id)
    return Selected(wanted=count, made=len(made), model_version_ids=policies_of(draft.candidate for draft in drafts))


def draw(
    layers: Sequence[Sequence[Candidate]], count: int, rng: random.Random, rule: SelectionRule | None = None
) -> list[Selection]:
    """At most so many, of one layer after the other."""
    rule = rule or UniformRandom()
    made: list[Selection] = []
    for layer in layers:
        if len(made) >= count:
            break
        made += rule(layer, count - len(made), rng)
    return made


def policies_of(candidates: Iterable[Candidate]) -> tuple[int, ...]:
    """Versions of the policies that wrote them."""
    writers = (writer for candidate in candidates for writer in candidate.writers)
    return tuple(dict.fromkeys(writer.id for writer in writers if writer.kind == "policy"))


async def open_places(db: AsyncSession, project_id: int) -> int:
    """How many labels that a round may wait for the open tasks can still take."""
    places = await db.scalar(
        select(func.coalesce(func.sum(Task.quota - Task.judged - Task.skipped), 0)).where(
            Task.project_id == project_id, Task.purpose == "label", Task.state == "open", ~conditions.is_duel()
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


FreeTexts = dict[Writer, dict[int, dict[str, int]]]
"""Completions by writer, prompt and text: policies from the last promoted on."""


async def free_texts(db: AsyncSession, project_id: int, writers: Sequence[Writer] = ()) -> FreeTexts:
    """The pool: what is in no task yet."""
    promoted = (Completion.source == "policy") & ModelVersion.promoted_at.is_not(None)
    rows = await db.execute(
        select(
            Completion.model_version_id,
            Completion.served_model_id,
            Completion.prompt_id,
            Completion.id,
            Completion.text,
        )
        .join(Prompt, Prompt.id == Completion.prompt_id)
        .outerjoin(ModelVersion, ModelVersion.id == Completion.model_version_id)
        .where(
            *conditions.askable_in(project_id),
            Completion.erased_at.is_(None),
            pens.written_by(writers) if writers else promoted,
            ~exists().where(TaskCompletion.completion_id == Completion.id),
        )
        .order_by(ModelVersion.promoted_at.desc(), Completion.prompt_id, Completion.id)
    )
    texts: FreeTexts = defaultdict(lambda: defaultdict(dict))
    for version_id, served_model_id, prompt_id, completion_id, text in rows:
        texts[pens.of_completion(version_id, served_model_id)][prompt_id].setdefault(text, completion_id)
    return texts


def layers_of(texts: FreeTexts, size: int, rng: random.Random, *, across: bool = False) -> list[list[Candidate]]:
    """Candidates by preference: one writer after the other, of each one every prompt's first set first; `across`, sets
    of different writers."""
    if across:
        return _sets_across(texts, size, rng)
    return [layer for writer, prompts in texts.items() for layer in _sets_by_turn(writer, prompts, size, rng)]


def _sets_by_turn(
    writer: Writer, prompts: dict[int, dict[str, int]], size: int, rng: random.Random
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
            turns[turn].append(Candidate(prompt_id, tuple(completion_ids[start : start + size]), (writer,)))
    return turns


def _sets_across(texts: FreeTexts, size: int, rng: random.Random) -> list[list[Candidate]]:
    """The same of several writers, who take turns within each set."""
    turns: list[list[Candidate]] = []
    for prompt_id in sorted({prompt_id for prompts in texts.values() for prompt_id in prompts}):
        left = {writer: _shuffled(prompts.get(prompt_id, {}), rng) for writer, prompts in sorted(texts.items())}
        turn = 0
        while (written := _one_set(left, size)) is not None:
            if turn == len(turns):
                turns.append([])
            rng.shuffle(written)  # else the first response of a task would always be the same writer's
            writers = tuple(sorted({writer for writer, _ in written}))
            turns[turn].append(Candidate(prompt_id, tuple(completion_id for _, completion_id in written), writers))
            turn += 1
    return turns


def _one_set(left: dict[Writer, dict[str, int]], size: int) -> list[tuple[Writer, int]] | None:
    """Takes a set out of what is left: each time from who is least in it, and of those from who has most left."""
    chosen: dict[str, tuple[Writer, int]] = {}
    taken: Counter[Writer] = Counter()
    while len(chosen) < size:
        usable = [(writer, text) for writer, texts in left.items() for text in texts if text not in chosen]
        if not usable:
            return None
        writer, text = min(usable, key=lambda found: (taken[found[0]], -len(left[found[0]])))
        chosen[text] = (writer, left[writer].pop(text))
        taken[writer] += 1
    return list(chosen.values()) if len(taken) > 1 else None


def _shuffled(texts: dict[str, int], rng: random.Random) -> dict[str, int]:
    return dict(rng.sample(list(texts.items()), len(texts)))


@dataclass(frozen=True)
class Draft:
    """A task that is to be: `reason` says how it was chosen, higher priorities come first."""

    candidate: Candidate
    priority: float
    reason: Json


async def insert(db: AsyncSession, project: Project, drafts: Sequence[Draft], *, round_id: int | None) -> None:
    """Make tasks of them."""
    tasks = [
        Task(
            project_id=project.id,
            prompt_id=draft.candidate.prompt_id,
            round_id=round_id,
            quota=project.overlap,
            priority=draft.priority,
            selection=draft.reason,
        )
        for draft in drafts
    ]
    db.add_all(tasks)
    await db.flush()
    db.add_all(
        TaskCompletion(task_id=task.id, position=position, completion_id=completion_id)
        for task, draft in zip(tasks, drafts, strict=True)
        for position, completion_id in enumerate(draft.candidate.completion_ids)
    )
    await db.flush()
