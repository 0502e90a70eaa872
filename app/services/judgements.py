"""What people say of a task. Append-only: a change is a new row that the old one points at."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import Assignment, Completion, Demonstration, Judgement, Project, Task, TaskCompletion
from app.db.tables.judging import JudgementKind
from app.errors import Conflict, Invalid, KeyReused, LeaseExpired
from app.security import Principal
from app.services import assignments, events, projects, rounds, statements
from app.services.answers import Answer
from app.services.assignments import Held

KEY_LENGTH = 200
LONGEST_MS = 7 * 24 * 3600 * 1000
MOST_VISITS = 32_767


@dataclass(frozen=True)
class Submission:
    """An answer; one key for what is meant to count once. `visits`: how often the page came to the front.

    `hurried`: faster than anybody reads, and confirmed when asked. `client_version`: of the page that sent it.
    """

    answer: Answer
    idempotency_key: str
    first_action_ms: int | None = None
    active_ms: int | None = None
    visits: int | None = None
    hurried: bool = False
    client_version: str | None = None

    def __post_init__(self) -> None:
        if not 0 < len(self.idempotency_key) <= KEY_LENGTH or not self.idempotency_key.isprintable():
            raise Invalid(f"An idempotency key has 1 to {KEY_LENGTH} printable characters.")
        for milliseconds in (self.first_action_ms, self.active_ms):
            if milliseconds is not None and milliseconds not in range(LONGEST_MS + 1):
                raise Invalid("A time is a whole number of milliseconds, a week at most.")

    def digest(self, assignment_id: int) -> bytes:
        """What a retry must repeat: the answer to the question. A retry may measure other times."""
        body = {"assignment": assignment_id} | self.answer.to_body()
        return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).digest()


@dataclass(frozen=True)
class Submitted:
    """`is_told`: what the project says of the answer is to be shown now."""

    judgement: Judgement
    replayed: bool
    is_told: bool


@dataclass(frozen=True)
class _Recorded:
    """`previous_at`: when the newest before it in the project came in. `is_waited_for`: a round waits for labels."""

    judgement: Judgement
    previous_at: datetime | None
    is_waited_for: bool


async def submit(db: AsyncSession, actor: Principal, assignment_id: int, submission: Submission) -> Submitted:
    """Record what `actor` says, once however often it is sent, and as a change if they said something before.

    A lease that ran out counts as long as the task has a free place. Raises KeyReused for a key with another body,
    LeaseExpired when the place is gone, Conflict for a change that comes after the dataset was cut.
    """
    held = await assignments.lock(db, actor, assignment_id)
    # Only now: whoever sent the same before us held the task's lock until the row was there to see. Where the lease is
    # still to be answered nobody did, and for another assignment the database refuses the key.
    earlier = await _earlier(db, actor, assignment_id, submission) if held.assignment.state != "leased" else None
    if earlier is not None:
        return Submitted(earlier, replayed=True, is_told=held.is_told)
    is_change = held.assignment.state == "submitted"
    if is_change and held.is_told:
        raise Conflict("You have been told what the project says of this one, so your answer stays as it is.")
    recorded = await _record(db, actor, held, submission)
    judgement = recorded.judgement
    await _demonstrate(db, actor, held, judgement, submission.answer)
    if not is_change:
        await _tell_pages(db, recorded)
        if recorded.is_waited_for and not judgement.is_check:
            await rounds.labels_changed(db, judgement.project_id)
    return Submitted(judgement, replayed=False, is_told=held.is_told)


async def _earlier(db: AsyncSession, actor: Principal, assignment_id: int, submission: Submission) -> Judgement | None:
    judgement = await db.scalar(
        select(Judgement).where(
            Judgement.annotator_id == actor.user_id, Judgement.idempotency_key == submission.idempotency_key
        )
    )
    if judgement is None:
        return None
    if judgement.body_digest != submission.digest(assignment_id):
        raise KeyReused
    return judgement


async def _record(db: AsyncSession, actor: Principal, held: Held, submission: Submission) -> _Recorded:
    task, assignment = held.task, held.assignment
    is_sampled = held.question.wants_rationale(assignment.id)
    submission.answer.check(held.question, len(assignment.shown_order), is_sampled=is_sampled)
    kind: JudgementKind = "simulated" if actor.is_simulated else "human"
    said = {
        "kind": kind,
        "is_check": task.purpose != "label",
        "shown_order": assignment.shown_order,
        **submission.answer.to_row(assignment.shown_order),
        "idempotency_key": submission.idempotency_key,
        "body_digest": submission.digest(assignment.id),
        "guidelines_version": assignment.guidelines_version,
        "served_at": assignment.served_at or assignment.leased_at,
        "first_action_ms": submission.first_action_ms,
        "active_ms": submission.active_ms,
        "visits": None if submission.visits is None else min(submission.visits, MOST_VISITS),
        "hurried": submission.hurried,
        "client_version": submission.client_version,
    }
    of = {"project": assignment.project_id, "task": task.id, "assignment": assignment.id, "actor": actor.user_id}
    if assignment.state == "submitted":
        said["id"] = await _supersede(db, assignment)
        statement = statements.RECORD_CHANGE
    else:
        of |= {f"task_{name}": value for name, value in _place_taken(task, assignment).items()}
        statement = statements.RECORD
    values = of | {f"said_{name}": value for name, value in said.items()}
    recorded = (await db.execute(statement, values)).one_or_none()
    if recorded is None:  # the key went to another assignment of the same person
        raise KeyReused
    return _Recorded(*recorded)


def _place_taken(task: Task, assignment: Assignment) -> Json:
    """The task's columns once this assignment is answered. Raises LeaseExpired when its place is gone."""
    was_given_back = assignment.state != "leased" and not assignment.keeps_place  # expired or skipped
    if was_given_back and (task.taken >= task.quota or task.state == "retired"):
        raise LeaseExpired
    judged, skipped = task.judged + 1, task.skipped - assignment.keeps_place
    return {
        "taken": task.taken + was_given_back,
        "judged": judged,
        "skipped": skipped,
        "state": assignments.state_with(task, judged, skipped),
    }


async def _demonstrate(db: AsyncSession, actor: Principal, held: Held, judgement: Judgement, answer: Answer) -> None:
    """Keep the better response that came with the answer; one that changes nothing is none."""
    text = answer.response.strip()
    if not text:
        return
    origin = None
    if answer.response_of is not None:
        origin = (
            await db.execute(
                select(Completion.id, Completion.text)
                .join(TaskCompletion, TaskCompletion.completion_id == Completion.id)
                .where(
                    TaskCompletion.task_id == held.task.id,
                    TaskCompletion.position == held.assignment.shown_order[answer.response_of],
                )
            )
        ).one()
        if origin.text.strip() == text:
            return
    db.add(
        Demonstration(
            prompt_id=held.task.prompt_id,
            text=text,
            source="edited" if origin else "written",
            author_id=actor.user_id,
            judgement_id=judgement.id,
            completion_id=origin.id if origin else None,
        )
    )
    await db.flush()


async def _supersede(db: AsyncSession, assignment: Assignment) -> int:
    """Point the current judgement at the one to come; returns its id. A dataset being cut is waited for."""
    await db.execute(select(Project.id).where(Project.id == assignment.project_id).with_for_update(read=True))
    current = (Judgement.assignment_id == assignment.id, Judgement.superseded_by.is_(None))
    if await db.scalar(select(projects.held_by_a_dataset()).where(*current)):
        raise Conflict("A dataset version holds this judgement, so it can't be changed any more.")
    drawn = await db.scalar(select(func.nextval(func.pg_get_serial_sequence("judgements", "id"))))
    assert isinstance(drawn, int)
    await db.execute(
        update(Judgement).where(*current).values(superseded_by=drawn).execution_options(synchronize_session=False)
    )
    return drawn


async def _tell_pages(db: AsyncSession, recorded: _Recorded) -> None:
    """The first judgement of every second is news: the pages read all the counts anew."""
    previous_at, at = recorded.previous_at, recorded.judgement.submitted_at
    if previous_at is None or previous_at.replace(microsecond=0) < at.replace(microsecond=0):
        await events.notify(db, project_id=recorded.judgement.project_id)
