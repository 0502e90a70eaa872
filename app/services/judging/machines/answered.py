"""What a judge answered, to be read by people."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import Judge, JudgeAnswer


@dataclass(frozen=True)
class Answered:
    """One pair with both replies; their texts are gone where something in it was erased."""

    id: int
    task_id: int
    outcome: str
    chosen_as: str
    probability: float | None
    replies: list[Json]
    tokens: int
    created_at: datetime


def answers_of(judge: Judge, outcome: str | None = None) -> Select[JudgeAnswer]:
    """All of them, or those of one outcome."""
    answers = select(JudgeAnswer).where(JudgeAnswer.judge_id == judge.id)
    return answers if outcome is None else answers.where(JudgeAnswer.outcome == outcome)


async def newest(db: AsyncSession, judge: Judge, *, outcome: str | None = None, limit: int) -> list[Answered]:
    """The newest first."""
    rows = await db.scalars(answers_of(judge, outcome).order_by(JudgeAnswer.id.desc()).limit(limit))
    return [
        Answered(
            row.id, row.task_id, row.outcome, row.chosen_as, row.probability, row.replies, row.tokens, row.created_at
        )
        for row in rows
    ]
