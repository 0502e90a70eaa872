"""The statements of leasing and judging, made once: to make one takes longer than the server needs to answer it.

Parameters: `actor`, `project`, `task` and `assignment` are ids, `lease` is how long one lasts.
"""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Interval,
    Select,
    SmallInteger,
    bindparam,
    case,
    exists,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.dialects.postgresql import insert as insert_or_not
from sqlalchemy.orm import aliased
from sqlalchemy.sql.dml import ReturningInsert

from app.db.tables import Assignment, Completion, Judgement, Member, Project, Prompt, Round, Task, TaskCompletion
from app.services import projects

ACTOR = bindparam("actor", type_=BigInteger)
PROJECT = bindparam("project", type_=BigInteger)
TASK = bindparam("task", type_=BigInteger)
ASSIGNMENT = bindparam("assignment", type_=BigInteger)

LEASE_END = func.now() + bindparam("lease", type_=Interval)

_texts = (
    select(func.array_agg(aggregate_order_by(Completion.text, TaskCompletion.position)))
    .join(TaskCompletion, TaskCompletion.completion_id == Completion.id)
    .where(TaskCompletion.task_id == Assignment.task_id)
    .scalar_subquery()
)
# An assignment of `actor`, its task, its prompt, its project and its texts by position.
VIEW = (
    select(Assignment, Task, Prompt.messages, Project, _texts)
    .join(Task, Task.id == Assignment.task_id)
    .join(Prompt, Prompt.id == Task.prompt_id)
    .join(Project, Project.id == Assignment.project_id)
    .where(Assignment.id == ASSIGNMENT, Assignment.annotator_id == ACTOR)
    .execution_options(populate_existing=True)  # it may have been answered in this very session
)

# In this order, and the assignment too: what is locked is read as it is once the lock was had.
LOCK = (
    select(Task, Assignment, Project)
    .join(Assignment, Assignment.task_id == Task.id)
    .join(Project, Project.id == Assignment.project_id)
    .where(Assignment.id == ASSIGNMENT, Assignment.annotator_id == ACTOR)
    .with_for_update(of=(Task, Assignment))
    .execution_options(populate_existing=True)
)

# The leases of `actor`, the one on the desk first, and whether they are live.
HELD = (
    select(Assignment, Assignment.lease_expires_at > func.now())
    .where(Assignment.project_id == PROJECT, Assignment.annotator_id == ACTOR, Assignment.state == "leased")
    .order_by(Assignment.served_at.asc().nulls_last(), Assignment.leased_at, Assignment.id)
    .execution_options(populate_existing=True)
)
SERVE = (
    update(Assignment)
    .where(Assignment.id == ASSIGNMENT)
    .values(lease_expires_at=LEASE_END, served_at=func.coalesce(Assignment.served_at, func.now()))
    .returning(Assignment)
    .execution_options(populate_existing=True)
)
EXTEND = (
    update(Assignment)
    .where(Assignment.id == ASSIGNMENT)
    .values(lease_expires_at=LEASE_END)
    .returning(Assignment)
    .execution_options(populate_existing=True)
)


def _free_task() -> Select[int, int, bool, bool]:
    size = select(func.count()).where(TaskCompletion.task_id == Task.id).scalar_subquery()
    was_given_before = exists().where(Assignment.task_id == Task.id, Assignment.annotator_id == ACTOR)
    other = aliased(Assignment)
    some_ran_out = exists().where(
        other.project_id == PROJECT, other.state == "leased", other.lease_expires_at <= func.now()
    )
    return (
        select(Task.id, size, was_given_before, some_ran_out)
        .where(
            Task.project_id == PROJECT,
            Task.purpose == "label",
            Task.taken < Task.quota,
            *projects.eligible_for(ACTOR),
        )
        .order_by(Task.priority.desc(), Task.id)
        .limit(1)
    )


# The most urgent task with a free place for `actor`, its number of responses, whether a lease of theirs on it ran out,
# and whether some other lease of the project did.
FREE_TASK = _free_task().with_for_update(of=Task, skip_locked=True)
FREE_TASK_IN_TURN = _free_task().with_for_update(of=Task)

_place = update(Task).where(Task.id == TASK).values(taken=Task.taken + 1).cte("place")
_balance = (
    update(Member)
    .where(Member.project_id == PROJECT, Member.user_id == ACTOR)
    .values(side_balance=bindparam("balance", type_=BigInteger))
    .cte("balance")
)
_lease = {
    "state": "leased",
    "slot": bindparam("slot", type_=SmallInteger),
    "closed_at": None,
    "keeps_place": False,
    "leased_at": func.now(),
    "served_at": case((bindparam("is_served", type_=Boolean), func.now())),
    "lease_expires_at": LEASE_END,
    "guidelines_version": bindparam("guidelines", type_=BigInteger),
}
# A place of the task, the annotator's balance of sides and the lease change together: each statement more is a way to
# the server and back.
LEASE = (
    insert(Assignment)
    .values(
        project_id=PROJECT,
        task_id=TASK,
        annotator_id=ACTOR,
        shown_order=bindparam("order", type_=Assignment.shown_order.type),
        **_lease,
    )
    .add_cte(_place, _balance)
    .returning(Assignment)
    .execution_options(populate_existing=True, dml_strategy="orm")
)
LEASE_AGAIN = (
    update(Assignment)
    .where(Assignment.task_id == TASK, Assignment.annotator_id == ACTOR)
    .values(**_lease)
    .add_cte(_place)
    .returning(Assignment)
    .execution_options(populate_existing=True)
)

_answered = (
    update(Task)
    .where(Task.id == TASK)
    .values(
        {
            name: bindparam(f"task_{name}", type_=Task.__table__.c[name].type)
            for name in ("taken", "judged", "skipped", "state")
        }
    )
    .cte("answered")
)
_submitted = (
    update(Assignment)
    .where(Assignment.id == ASSIGNMENT)
    .values(state="submitted", closed_at=func.now(), skip_reason=None, keeps_place=False)
    .cte("submitted")
)
_newer = aliased(Judgement)
_previous_at = (
    select(_newer.submitted_at)
    .where(_newer.project_id == PROJECT, _newer.superseded_by.is_(None))
    .order_by(_newer.id.desc())
    .limit(1)
    .scalar_subquery()
)
_is_waited_for = exists().where(Round.project_id == PROJECT, Round.status == "active", Round.step == "label")


def _record(*more: str) -> ReturningInsert[Judgement, datetime | None, bool]:
    columns = (
        *("kind", "is_check", "shown_order", "answer_type", "choice", "preference", "ranks", "criteria", "acceptable"),
        *("flags", "rationale", "idempotency_key", "body_digest", "guidelines_version", "served_at"),
        *("first_action_ms", "active_ms", "visits", "hurried", "client_version", *more),
    )
    said = {name: bindparam(f"said_{name}", type_=Judgement.__table__.c[name].type) for name in columns}
    return (
        insert_or_not(Judgement)
        .values(project_id=PROJECT, task_id=TASK, assignment_id=ASSIGNMENT, annotator_id=ACTOR, **said)
        .on_conflict_do_nothing(index_elements=["annotator_id", "idempotency_key"])
        .returning(Judgement, _previous_at, _is_waited_for)
        .execution_options(dml_strategy="orm")
    )


# A judgement of `said_…`, when the newest before it came in, and whether a round waits for it; no row when the key was
# used. The first one of an assignment takes its place, too.
RECORD = _record().add_cte(_answered, _submitted)
RECORD_CHANGE = _record("id")
