"""What people say of a task. Append-only: a change is a new row that the old one points at."""

import hashlib
import json
from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import Completion, Demonstration, Judgement, Project, TaskCompletion
from app.db.tables.judging import JudgementKind
from app.errors import AnsweredBefore, Conflict, Erased, Invalid, KeyReused, LeaseExpired
from app.security import Principal
from app.services import conditions, events
from app.services.judging import assignments, labels, statements
from app.services.judging.answers import Answer
from app.services.judging.columns import SUBMISSION
from app.services.judging.statements import Held, Recorded
from app.services.projects.projects import require_role

KEY_LENGTH = 200
LONGEST_MS = 7 * 24 * 3600 * 1000


@dataclass(frozen=True)
class Submission:
    """An answer; one key for what is meant to count once. `visits`: how often the page came to the front.

    `hurried`: faster than anybody reads, and confirmed when asked. `client_version`: of the page that sent it.
    `replaces`: the judgement of this task that its author saw, 0 for none; None replaces whatever there is.
    """

    answer: Answer
    idempotency_key: str
    first_action_ms: int | None = None
    active_ms: int | None = None
    visits: int | None = None
    hurried: bool = False
    client_version: str | None = None
    replaces: int | None = None

    def __post_init__(self) -> None:
        if not 0 < len(self.idempotency_key) <= KEY_LENGTH or not self.idempotency_key.isprintable():
            raise Invalid("An idempotency key has 1 to %(longest)s printable characters.", longest=KEY_LENGTH)
        for milliseconds in (self.first_action_ms, self.active_ms):
            if milliseconds is not None and milliseconds not in range(LONGEST_MS + 1):
                raise Invalid("A time is a whole number of milliseconds, a week at most.")

    def digest(self, assignment_id: int) -> bytes:
        """What a retry must repeat: the answer to the question. A retry may measure other times."""
        body = {"assignment": assignment_id} | self.answer.to_body()
        return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).digest()


@dataclass(frozen=True)
class Submitted:
    """`shows_verdict`: what the project says of the answer is to be shown now."""

    judgement: Judgement
    replayed: bool
    shows_verdict: bool


async def submit(db: AsyncSession, actor: Principal, assignment_id: int, submission: Submission) -> Submitted:
    """Record what `actor` says, once however often it is sent, and as a change if they said something before.

    A lease that ran out counts as long as the task has a free place. Raises KeyReused for a key with another body,
    LeaseExpired when the place is gone, Erased where it went with the task, AnsweredBefore where another judgement than
    the one that `actor` saw would be replaced, Conflict for a change that comes after the dataset was cut, Forbidden
    for the verdict of somebody who is no reviewer any more.
    """
    held = await assignments.lock(db, actor, assignment_id)
    # Only now: whoever sent the same before us held the task's lock until the row was there to see. Where the lease is
    # still to be answered nobody did, and for another assignment the database refuses the key.
    earlier = await _earlier(db, actor, assignment_id, submission) if held.state != "leased" else None
    if earlier is not None:
        return Submitted(earlier, replayed=True, shows_verdict=held.shows_verdict)
    if held.is_erased:
        raise Erased
    if held.state == "submitted" and held.shows_verdict:
        raise Conflict("You have been told what the project says of this one, so your answer stays as it is.")
    if held.purpose == "review":
        await require_role(db, actor, await db.get_one(Project, held.project_id), "owner", "reviewer")
    said = _said(actor, held, submission)
    recorded = await _record(db, actor, held, said, replaces=submission.replaces)
    await _demonstrate(db, actor, held, recorded.id, submission.answer)
    if held.state != "submitted":
        await _tell_pages(db, held.project_id, recorded)
        if recorded.is_waited_for and held.purpose == "label":
            await labels.labels_changed(db, held.project_id)
    of = {"project_id": held.project_id, "assignment_id": assignment_id, "annotator_id": actor.user_id}
    judgement = Judgement(id=recorded.id, task_id=held.about, submitted_at=recorded.submitted_at, **of, **said)
    return Submitted(judgement, replayed=False, shows_verdict=held.shows_verdict)


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


def _said(actor: Principal, held: Held, submission: Submission) -> Json:
    """The columns of a judgement that come from the person. Raises Invalid."""
    question = held.question
    is_sampled = question.wants_rationale(held.assignment_id)
    submission.answer.check(question, len(held.shown_order), is_sampled=is_sampled)
    kind: JudgementKind = "simulated" if actor.is_simulated else "human"
    return {
        "kind": kind,
        "is_check": held.purpose not in ("label", "review"),
        "is_verdict": held.purpose == "review",
        "shown_order": held.shown_order,
        "body_digest": submission.digest(held.assignment_id),
        "guidelines_version": held.guidelines_version,
        "served_at": held.given_at,
        **submission.answer.to_row(held.shown_order),
        **{column.name: column.kept_of(submission, held.shown_order) for column in SUBMISSION},
    }


async def _record(db: AsyncSession, actor: Principal, held: Held, said: Json, *, replaces: int | None) -> Recorded:
    values: Json = {f"said_{name}": value for name, value in said.items()}
    values |= {"project": held.project_id, "task": held.task_id, "assignment": held.assignment_id}
    values |= {"actor": actor.user_id, "about": held.about}
    if held.state == "submitted":
        said_id = await _supersede(db, held, replaces)
        recorded = await statements.RECORD_CHANGE.first(db, said_id=said_id, **values)
    else:
        recorded = await statements.RECORD.first(db, **values, **_place_taken(held))
    if recorded is None:  # the key went to another assignment of the same person
        raise KeyReused
    return recorded


def _place_taken(held: Held) -> Json:
    """The task's columns once this assignment is answered. Raises LeaseExpired when its place is gone."""
    was_given_back = held.state != "leased" and not held.keeps_place  # expired or skipped
    if was_given_back and (held.taken >= held.quota or held.task_state == "retired"):
        raise LeaseExpired
    judged, skipped = held.judged + 1, held.skipped - held.keeps_place
    return {
        "task_taken": held.taken + was_given_back,
        "task_judged": judged,
        "task_skipped": skipped,
        "task_state": held.task_state_with(judged, skipped),
    }


async def _demonstrate(db: AsyncSession, actor: Principal, held: Held, judgement_id: int, answer: Answer) -> None:
    """Keep the better response that came with the answer; one that changes nothing is none."""
    text = answer.response.strip("\n").rstrip()  # the first line keeps its indent
    if not text.strip():
        return
    origin = None
    if answer.response_of is not None:
        origin = (
            await db.execute(
                select(Completion.id, Completion.text)
                .join(TaskCompletion, TaskCompletion.completion_id == Completion.id)
                .where(
                    TaskCompletion.task_id == held.task_id,
                    TaskCompletion.position == held.shown_order[answer.response_of],
                )
            )
        ).one()
        if origin.text.strip() == text.strip():
            return
    db.add(
        Demonstration(
            prompt_id=held.prompt_id,
            text=text,
            source="edited" if origin else "written",
            author_id=actor.user_id,
            judgement_id=judgement_id,
            completion_id=origin.id if origin else None,
        )
    )
    await db.flush()


async def _supersede(db: AsyncSession, held: Held, replaces: int | None) -> int:
    """Point the current judgement at the one to come; returns its id. A dataset being cut is waited for."""
    await db.execute(select(Project.id).where(Project.id == held.project_id).with_for_update(read=True))
    current = (Judgement.assignment_id == held.assignment_id, Judgement.superseded_by.is_(None))
    current_id, is_settled = (await db.execute(select(Judgement.id, conditions.is_settled()).where(*current))).one()
    if replaces is not None and replaces != current_id:
        raise AnsweredBefore
    if is_settled:
        raise Conflict("A dataset version holds this judgement, so it can't be changed any more.")
    drawn = await db.scalar(select(func.nextval(func.pg_get_serial_sequence("judgements", "id"))))
    assert isinstance(drawn, int)
    await db.execute(
        update(Judgement).where(*current).values(superseded_by=drawn).execution_options(synchronize_session=False)
    )
    return drawn


async def _tell_pages(db: AsyncSession, project_id: int, recorded: Recorded) -> None:
    """The first judgement of every second is news: the pages read all the counts anew."""
    previous_at, at = recorded.previous_at, recorded.submitted_at
    if previous_at is None or previous_at.replace(microsecond=0) < at.replace(microsecond=0):
        await events.notify(db, project_id=project_id)
