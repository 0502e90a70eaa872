"""What a judge said, stored: one judgement of a pair that was asked in both orders, and both replies as they came."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import Judge, JudgeAnswer, Judgement, Task
from app.db.tables.judges import ChosenAs, Outcome
from app.db.tables.judging import JudgementKind
from app.services.judging.machines import asking
from app.services.judging.machines.asking import Order, Read

MACHINE: JudgementKind = "machine"
# No strength was asked for, so none is claimed: a ranking of two, which may tie on any scale.
RANKS: Mapping[Outcome, list[int]] = {"first": [1, 2], "second": [2, 1], "tie": [1, 1], "flip": [1, 1]}


@dataclass(frozen=True)
class Reply:
    """What came back in one order."""

    order: Order
    read: Read
    text: str
    tokens: int

    def to_json(self) -> Json:
        return {"order": list(self.order), "said": self.read.said, "why": self.read.why, "text": self.text}


@dataclass(frozen=True)
class Answer:
    """Both replies to a pair, the first in the order that was drawn for it. `probability`: the head's, that position 0
    is better, where it chose the pair.
    """

    task_id: int
    chosen_as: ChosenAs
    probability: float | None
    replies: tuple[Reply, Reply]

    @property
    def outcome(self) -> Outcome:
        first, turned = self.replies
        return asking.outcome(first.order, first.read.said, turned.read.said)


async def store(
    db: AsyncSession, judge: Judge, run_id: int, answers: Sequence[Answer], *, guidelines_version: int
) -> list[JudgeAnswer]:
    """Store those of tasks that are still there and that it has not answered; which those were.

    No label changes by them: nothing that counts what people said is told.
    """
    there = await _there(db, judge, [answer.task_id for answer in answers])
    # By task, as everybody else does who takes several: two runs of one judge wait for each other, never both.
    new = sorted((answer for answer in answers if answer.task_id in there), key=lambda answer: answer.task_id)
    judgement_of = await _judgements(db, judge, new, guidelines_version)
    rows = [
        {
            "judge_id": judge.id,
            "task_id": answer.task_id,
            "run_id": run_id,
            "judgement_id": judgement_of.get(answer.task_id),
            "outcome": answer.outcome,
            "chosen_as": answer.chosen_as,
            "probability": answer.probability,
            "replies": [reply.to_json() for reply in answer.replies],
            "tokens": sum(reply.tokens for reply in answer.replies),
        }
        for answer in new
        if answer.outcome == "abstained" or answer.task_id in judgement_of
    ]
    if not rows:
        return []
    stored = insert(JudgeAnswer).values(rows).on_conflict_do_nothing().returning(JudgeAnswer)
    return list(await db.scalars(stored))


async def _there(db: AsyncSession, judge: Judge, task_ids: Sequence[int]) -> set[int]:
    """Tasks that were not erased; who would erase one now waits until this transaction ends."""
    there = select(Task.id).where(Task.id.in_(task_ids), Task.erased_at.is_(None)).order_by(Task.id)
    found = set(await db.scalars(there.with_for_update(read=True, key_share=True)))
    answered = select(JudgeAnswer.task_id).where(JudgeAnswer.judge_id == judge.id, JudgeAnswer.task_id.in_(found))
    return found - set(await db.scalars(answered))


async def _judgements(
    db: AsyncSession, judge: Judge, answers: Sequence[Answer], guidelines_version: int
) -> dict[int, int]:
    """The judgements by task; none where another run of the same judge was faster."""
    said: list[Json] = [
        {
            "project_id": judge.project_id,
            "task_id": answer.task_id,
            "annotator_id": judge.user_id,
            "kind": MACHINE,
            "answer_type": "ranking",
            "ranks": RANKS[answer.outcome],
            "shown_order": list(answer.replies[0].order),
            "guidelines_version": guidelines_version,
        }
        for answer in answers
        if answer.outcome != "abstained"
    ]
    if not said:
        return {}
    rows = await db.execute(
        insert(Judgement)
        .values(said)
        .on_conflict_do_nothing(
            index_elements=["task_id", "annotator_id"],
            index_where=(Judgement.kind == "machine") & Judgement.superseded_by.is_(None),
        )
        .returning(Judgement.task_id, Judgement.id)
    )
    return {task_id: judgement_id for task_id, judgement_id in rows}  # noqa: C416 - rows are no pairs to mypy
