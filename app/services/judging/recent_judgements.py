"""What somebody said or decided last, each a way back to it."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.db.tables import Assignment, Judgement, Project, Prompt, Task
from app.security import Principal
from app.services import conditions
from app.services.judging.answers import Answer

EXCERPT_LENGTH = 80


@dataclass(frozen=True)
class RecentJudgement:
    assignment_id: int
    judgement_id: int
    answer: Answer
    prompt_excerpt: str
    submitted_at: datetime
    editable: bool
    is_erased: bool


async def of_person(
    db: AsyncSession,
    actor: Principal,
    project: Project,
    limit: int = 10,
    *,
    verdicts: bool = False,
    before: int | None = None,
) -> list[RecentJudgement]:
    """What `actor` said last, or decided last, newest task first, from behind the assignment `before` on; a change does
    not move a task. What was erased has no excerpt.
    """
    place = tuple_(Assignment.closed_at, Assignment.id)
    earlier = aliased(Assignment)
    known = select(earlier.closed_at, earlier.id).where(earlier.id == before, earlier.annotator_id == actor.user_id)
    rows = await db.execute(
        select(Assignment.id, Judgement, Prompt.messages, conditions.is_settled(), Task.erased_at.is_not(None))
        .join(Assignment, Assignment.id == Judgement.assignment_id)
        .join(Task, Task.id == Assignment.task_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .where(
            Assignment.project_id == project.id,
            Assignment.annotator_id == actor.user_id,
            Judgement.superseded_by.is_(None),
            Judgement.is_verdict if verdicts else ~Judgement.is_verdict,
            *([] if before is None else [place < known.scalar_subquery()]),
        )
        .order_by(Assignment.closed_at.desc(), Assignment.id.desc())
        .limit(limit)
    )
    return [
        RecentJudgement(
            assignment_id=assignment_id,
            judgement_id=judgement.id,
            answer=Answer.of(judgement),
            prompt_excerpt=_excerpt(messages[-1]["content"]),
            submitted_at=judgement.submitted_at,
            editable=not (settled or is_erased),
            is_erased=is_erased,
        )
        for assignment_id, judgement, messages, settled, is_erased in rows
    ]


def _excerpt(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= EXCERPT_LENGTH else line[: EXCERPT_LENGTH - 1].rstrip() + "…"
