"""What a judge answered, to be read by people."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
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


async def newest(
    db: AsyncSession, judge: Judge, *, outcome: str | None = None, limit: int, before: int | None = None
) -> list[Answered]:
    """The newest first, those before the answer `before` if it is given."""
    wanted = select(JudgeAnswer).where(JudgeAnswer.judge_id == judge.id)
    if outcome is not None:
        wanted = wanted.where(JudgeAnswer.outcome == outcome)
    if before is not None:
        wanted = wanted.where(JudgeAnswer.id < before)
    rows = await db.scalars(wanted.order_by(JudgeAnswer.id.desc()).limit(limit))
    return [
        Answered(
            row.id, row.task_id, row.outcome, row.chosen_as, row.probability, row.replies, row.tokens, row.created_at
        )
        for row in rows
    ]
