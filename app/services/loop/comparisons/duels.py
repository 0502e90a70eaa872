"""Duels: blinded tasks in which what a new policy wrote stands beside what the one in use wrote, and what people say.

To an annotator a duel is a task like any other, and its judgement is a label like any other. Prompts are drawn at
random among those that no policy is trained on; each task has companions, duels of other draws that nobody judges and
whose predictions say how easy it was.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median

import numpy as np
from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.db.base import Json
from app.db.tables import Completion, Judgement, Project, Round, Task, TaskCompletion
from app.services import conditions
from app.services.loop.comparisons.comparisons import score
from app.services.loop.gates import certificate
from app.services.loop.gates.certificate import Certificate, Duel
from app.services.loop.gates.gate_bounds import VoteBounds
from app.services.loop.storable import storable
from app.services.projects.question import question_of
from training.records import DuelRecord, PromptRecord

RULE = "duel"
"""What the `selection` of a duel's task says by which rule it was chosen."""
NORMAL = 1.4826
"""From the median distance to the middle to the standard deviation, of what is normal."""


@dataclass(frozen=True)
class Entry:
    """What both policies wrote to one prompt that was drawn: as many responses of each as a task may need."""

    written: tuple[DuelRecord, ...]

    @property
    def prompt_id(self) -> int:
        return prompt_of(self.written[0])

    @property
    def is_decidable(self) -> bool:
        """Whether no two of its texts are the same."""
        texts = {text for duel in self.written for text in (duel.text, duel.reference_text)}
        return len(texts) == 2 * len(self.written)

    @property
    def lead(self) -> float:
        """How much higher the reward model scores the new policy's responses, on average."""
        return fmean(duel.reward - duel.reference_reward for duel in self.written)


@dataclass(frozen=True)
class Scale:
    """What leads are usual: the new policy has climbed the reward model's scores, which say who wins by what is beyond
    that. Of draws that stand for nothing else, or a lead would be measured by itself."""

    middle: float
    spread: float

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> "Scale":
        """Median and spread of the leads of such entries; without any, leads stay as they are."""
        if not entries:
            return cls(0.0, 1.0)
        middle = median(entry.lead for entry in entries)
        spread = NORMAL * median(abs(entry.lead - middle) for entry in entries)
        return cls(middle, spread or 1.0)

    def chance(self, entry: Entry) -> float:
        """From 0 to 1, how likely the new policy wins this duel, as far as it differs from others."""
        return float(1 / (1 + np.exp(-np.clip((entry.lead - self.middle) / self.spread, -30, 30))))


def drawn(rng: random.Random, prompts: Sequence[PromptRecord], bounds: VoteBounds, size: int) -> list[PromptRecord]:
    """Prompts for the duels and their companions, each as often in a row as one task of `size` responses needs.

    None is drawn twice where there are enough; else each draw is among all, so that draws stay independent of each
    other. Their ids tell the draws apart, as `prompt_of` reads them.
    """
    count = bounds.votes * (1 + bounds.companions)
    found = rng.sample(prompts, count) if len(prompts) >= count else rng.choices(prompts, k=count)
    each = [prompt for prompt in found for _ in range(_of_each(size))]
    return [replace(prompt, prompt_id=f"{prompt.prompt_id}.{place}") for place, prompt in enumerate(each)]


def propensity(prompts: int, bounds: VoteBounds) -> float:
    """The chance of each of so many prompts to be asked about, as `drawn` draws them."""
    if prompts >= bounds.votes * (1 + bounds.companions):
        return bounds.votes / prompts
    return 1 - (1 - 1 / prompts) ** bounds.votes


def prompt_of(record: DuelRecord) -> int:
    """The id of the prompt that was drawn."""
    return int(record.prompt_id.partition(".")[0])


async def make_tasks(
    db: AsyncSession,
    project: Project,
    round_: Round,
    written: Sequence[DuelRecord],
    bounds: VoteBounds,
    *,
    policies: tuple[int, int],
    run_id: int | None,
    propensity: float,
    rng: random.Random,
) -> int:
    """Tasks of what `policies`, the new one and the one in use, wrote to the drawn prompts; how many there are.

    Where both wrote the same there is nothing to ask. People see duels before what else is open.
    """
    size = question_of(project).size
    each = _of_each(size)
    entries = [Entry(tuple(written[first : first + each])) for first in range(0, len(written), each)]
    entries = [entry for entry in entries if entry.is_decidable]
    asked, companions = entries[: bounds.votes], entries[bounds.votes :]
    share = len(companions) // len(asked) if asked else 0
    apart = len(asked) if share > 1 else 0
    share -= share > 1
    scale, companions = Scale.of(companions[:apart]), companions[apart:]
    predictions = certificate.control(np.array([scale.chance(entry) for entry in companions], dtype=np.float64))
    for place, entry in enumerate(asked):
        theirs = predictions[place * share : (place + 1) * share]
        told = {"prediction": scale.chance(entry), "companion": float(theirs.mean())} if share else {}
        task = Task(
            project_id=project.id,
            prompt_id=entry.prompt_id,
            round_id=round_.id,
            quota=1,
            priority=round_.number + 1 + rng.random(),
            selection={"rule": RULE, "slice": "random", "propensity": propensity, **told},
        )
        db.add(task)
        await db.flush()
        shown = _shown(entry, size, policies, run_id, first_sample=place * each, rng=rng)
        ids = list(await db.scalars(insert(Completion).returning(Completion.id, sort_by_parameter_order=True), shown))
        db.add_all(
            TaskCompletion(task_id=task.id, position=position, completion_id=completion_id)
            for position, completion_id in enumerate(ids)
        )
    await db.flush()
    return len(asked)


async def certify(db: AsyncSession, round_id: int, bounds: VoteBounds) -> Certificate:
    """What the votes of a round show so far. As many can come at most as there are duels."""
    duels = await db.scalar(select(func.count()).select_from(Task).where(*_of_round(round_id)))
    budget = min(bounds.votes, duels or 0)
    return certificate.certify(await _votes(db, round_id), budget=budget, alpha=bounds.error)


async def is_decided(db: AsyncSession, round_id: int, bounds: VoteBounds) -> bool:
    """Whether no vote is to come any more, or none would change anything."""
    if (await certify(db, round_id, bounds)).is_decided:
        return True
    waits = select(Task.id).where(*_of_round(round_id), Task.state == "open").limit(1)
    return await db.scalar(waits) is None


async def close(db: AsyncSession, round_id: int) -> None:
    """Give nobody a duel any more. Who has one may finish it; what they skip or leave lying comes to nobody else."""
    await db.execute(
        update(Task)
        .where(*_of_round(round_id), Task.state == "open")
        .values(state="retired")
        .execution_options(synchronize_session=False)
    )


async def _votes(db: AsyncSession, round_id: int) -> list[Duel]:
    """In the order in which they were given, of each duel the first; a ranking is the mean of what it says of each two
    that are opponents."""
    own, other = aliased(Completion), aliased(Completion)
    at_own, at_other = aliased(TaskCompletion), aliased(TaskCompletion)
    rows = await db.execute(
        select(Task.id, Task.selection, func.avg(score(Judgement, at_own.position, at_other.position)).label("vote"))
        .join(Round, Round.id == Task.round_id)
        .join(Judgement, Judgement.task_id == Task.id)
        .join(at_own, at_own.task_id == Task.id)
        .join(at_other, at_other.task_id == Task.id)
        .join(own, own.id == at_own.completion_id)
        .join(other, other.id == at_other.completion_id)
        .where(
            *_of_round(round_id),
            Judgement.superseded_by.is_(None),
            ~Judgement.is_check,
            ~Judgement.is_verdict,
            Judgement.kind != "machine",
            own.model_version_id == Round.policy_id,
            other.model_version_id != Round.policy_id,
        )
        .group_by(Task.id, Judgement.id)
        .order_by(Judgement.id)
    )
    found: dict[int, Duel] = {}
    for task_id, selection, vote in rows:
        if vote is not None:
            found.setdefault(task_id, _duel(selection, vote))
    return list(found.values())


def _duel(selection: Json, vote: float) -> Duel:
    """Without companions a prediction says nothing."""
    if "companion" not in selection:
        return Duel(float(vote), 0.5, 0.0)
    return Duel(float(vote), selection["prediction"], selection["companion"])


def _of_round(round_id: int) -> tuple[ColumnElement[bool], ...]:
    return (Task.round_id == round_id, conditions.is_duel())


def _of_each(size: int) -> int:
    return -(-size // 2)


def _shown(
    entry: Entry, size: int, policies: tuple[int, int], run_id: int | None, *, first_sample: int, rng: random.Random
) -> list[Json]:
    """Rows of the responses of one task in random order; where their number is odd, chance says who has one more."""
    rows = []
    for turn, duel in enumerate(entry.written):
        both = (
            (policies[0], duel.text, duel.token_count, duel.ended_with_eos),
            (policies[1], duel.reference_text, duel.reference_token_count, duel.reference_ended_with_eos),
        )
        for place, (policy, text, tokens, ended) in enumerate(both):
            rows.append(
                {
                    "prompt_id": entry.prompt_id,
                    "text": storable(text),
                    "source": "policy",
                    "model_version_id": policy,
                    "run_id": run_id,
                    "sample": 2 * (first_sample + turn) + place,
                    "temperature": duel.temperature,
                    "token_count": tokens,
                    "ended_with_eos": ended,
                }
            )
    while len(rows) > size:
        rows.pop(rng.randrange(len(rows) - 2, len(rows)))
    rng.shuffle(rows)
    return rows
