"""What the model of people found of simulated ones, beside what they are: each knows its own kind."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Completion, Judgement, Project, Prompt, Task, TaskCompletion
from app.services import conditions
from app.services.loop.asking import annotators
from app.services.loop.asking.annotators import Verdict
from app.services.loop.asking.said import pairs_of
from app.simulation.kinds import Kind, reliability_of
from app.starter import gold


@dataclass(frozen=True)
class Found:
    """One simulated person. `reliability` is what was found, from `low` to `high` with 95 %, and `side` the share of A
    where nothing else decides; `truth` is the reliability that the kind has in the model's terms, None where it has
    none. `by_gold` is how often gold says the same of what the person judged, of pairs on which both take a side.
    """

    name: str
    kind: Kind
    votes: int
    verdict: Verdict
    reliability: float
    low: float
    high: float
    truth: float | None
    by_gold: float | None
    side: float

    @property
    def is_covered(self) -> bool | None:
        """Whether the interval holds the truth."""
        return None if self.truth is None else self.low <= self.truth <= self.high


async def found_of(
    db: AsyncSession, project: Project, home: Path, people: Mapping[int, tuple[str, Kind]], *, noise: float
) -> tuple[Found, ...]:
    """Everybody who has judged, in the order of `people`: name and kind by id."""
    known = {person.user_id: person for person in (await annotators.known(db, project, home)).people}
    by_gold = await _by_gold(db, project.id)
    return tuple(
        Found(
            name,
            kind,
            known[user_id].votes,
            known[user_id].verdict,
            known[user_id].reliability,
            known[user_id].reliability_low,
            known[user_id].reliability_high,
            reliability_of(kind, noise),
            by_gold.get(user_id),
            known[user_id].side,
        )
        for user_id, (name, kind) in people.items()
        if user_id in known
    )


async def _by_gold(db: AsyncSession, project_id: int) -> dict[int, float]:
    said = (
        await db.execute(
            select(
                Judgement.annotator_id, Judgement.task_id, Judgement.answer_type, Judgement.preference,
                Judgement.ranks, Prompt.messages,
            )
            .join(Task, Task.id == Judgement.task_id)
            .join(Prompt, Prompt.id == Task.prompt_id)
            .where(*conditions.labels_of(project_id))
        )
    ).all()  # fmt: skip
    texts = await _texts(db, {row.task_id for row in said})
    agreed: dict[int, list[bool]] = defaultdict(list)

    def compare() -> None:
        for user_id, task_id, answer_type, preference, ranks, messages in said:
            for a, b, better, _ in pairs_of(answer_type, preference, ranks):
                truly = gold.preference(messages[-1]["content"], texts[task_id][a], texts[task_id][b])
                if user_id is not None and truly != 0 and better != 0.5:
                    agreed[user_id].append((truly > 0) == (better > 0.5))

    await asyncio.to_thread(compare)
    return {user_id: sum(same) / len(same) for user_id, same in agreed.items()}


async def _texts(db: AsyncSession, task_ids: set[int]) -> dict[int, Sequence[str]]:
    """Of each task's responses, by position."""
    found: dict[int, list[str]] = defaultdict(list)
    for task_id, text in await db.execute(
        select(TaskCompletion.task_id, Completion.text)
        .join(Completion, Completion.id == TaskCompletion.completion_id)
        .where(TaskCompletion.task_id.in_(task_ids))
        .order_by(TaskCompletion.task_id, TaskCompletion.position)
    ):
        found[task_id].append(text)
    return dict(found)
