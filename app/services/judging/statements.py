"""The statements of leasing and judging, made once: to make one takes longer than the server needs to answer it.

Parameters: `actor`, `project`, `task` and `assignment` are ids, `about` is the id of the task that a judgement is kept
under, `lease` is how long one lasts.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ColumnElement,
    Interval,
    Select,
    SmallInteger,
    bindparam,
    case,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.dialects.postgresql import insert as insert_or_not
from sqlalchemy.orm import aliased
from sqlalchemy.sql.dml import ReturningInsert

from app.db.base import Json
from app.db.prepared import Prepared
from app.db.tables import Assignment, Completion, Judgement, Member, Project, Prompt, Round, Task, TaskCompletion, User
from app.db.tables.judging import LEASE_SLOTS, TaskPurpose
from app.services import conditions
from app.services.judging.columns import SAID
from app.services.projects.checks import Checks
from app.services.projects.question import Question

ACTOR = bindparam("actor", type_=BigInteger)
PROJECT = bindparam("project", type_=BigInteger)
TASK = bindparam("task", type_=BigInteger)
ABOUT = bindparam("about", type_=BigInteger)
ASSIGNMENT = bindparam("assignment", type_=BigInteger)

LEASE_END = func.now() + bindparam("lease", type_=Interval)


@dataclass(frozen=True)
class Seen:
    """An assignment of `actor` with its prompt and its texts by position."""

    id: int
    project_id: int
    state: str
    shown_order: list[int]
    served_at: datetime | None
    lease_expires_at: datetime
    project: str
    purpose: TaskPurpose
    asked: Json
    checked: Json
    messages: list[Json]
    texts: list[str]
    is_erased: bool

    @property
    def shows_verdict(self) -> bool:
        """Whether the answer is followed by what the project says."""
        return Checks.of(self.checked).shows_verdict(self.purpose)


_texts = (
    select(func.array_agg(aggregate_order_by(Completion.text, TaskCompletion.position)))
    .join(TaskCompletion, TaskCompletion.completion_id == Completion.id)
    .where(TaskCompletion.task_id == Assignment.task_id)
    .scalar_subquery()
)
# One's own, in a project that one may still see.
_is_ones_own = (
    Assignment.id == ASSIGNMENT,
    Assignment.annotator_id == ACTOR,
    Project.archived_at.is_(None),
    or_(
        exists().where(Member.project_id == Assignment.project_id, Member.user_id == ACTOR),
        exists().where(User.id == ACTOR, User.is_admin),
    ),
)

VIEW = Prepared(
    Seen,
    select(
        Assignment.id,
        Assignment.project_id,
        Assignment.state,
        Assignment.shown_order,
        Assignment.served_at,
        Assignment.lease_expires_at,
        Project.slug.label("project"),
        Task.purpose,
        Project.question.label("asked"),
        Project.checks.label("checked"),
        Prompt.messages,
        _texts.label("texts"),
        Task.erased_at.is_not(None).label("is_erased"),
    )
    .join(Task, Task.id == Assignment.task_id)
    .join(Prompt, Prompt.id == Task.prompt_id)
    .join(Project, Project.id == Assignment.project_id)
    .where(*_is_ones_own),
)


@dataclass(frozen=True)
class Held:
    """An assignment of the person who asks, its task, both locked, and what its project asks and checks."""

    assignment_id: int
    project_id: int
    state: str
    keeps_place: bool
    shown_order: list[int]
    guidelines_version: int
    given_at: datetime
    task_id: int
    prompt_id: int
    task_state: str
    quota: int
    taken: int
    judged: int
    skipped: int
    purpose: TaskPurpose
    copy_of: int | None
    asked: Json
    checked: Json
    is_erased: bool

    @property
    def about(self) -> int:
        """The task that what is said is kept under: of a review the one that was reviewed."""
        return self.copy_of if self.purpose == "review" and self.copy_of is not None else self.task_id

    @property
    def question(self) -> Question:
        return Question.model_validate(self.asked)

    @property
    def shows_verdict(self) -> bool:
        """Whether the answer is followed by what the project says, after which nobody can change it."""
        return Checks.of(self.checked).shows_verdict(self.purpose)

    def task_state_with(self, judged: int, skipped: int) -> str:
        """The task's state with so many places used: an open one is closed by its last."""
        return "closed" if self.task_state == "open" and judged + skipped == self.quota else self.task_state


# The task first, and the assignment too: what is locked is read as it is once the lock was had.
LOCK = Prepared(
    Held,
    select(
        Task.id.label("task_id"),
        Task.prompt_id,
        Task.state.label("task_state"),
        Task.quota,
        Task.taken,
        Task.judged,
        Task.skipped,
        Assignment.id.label("assignment_id"),
        Assignment.project_id,
        Assignment.state,
        Assignment.keeps_place,
        Assignment.shown_order,
        Assignment.guidelines_version,
        func.coalesce(Assignment.served_at, Assignment.leased_at).label("given_at"),
        Task.purpose,
        Task.copy_of,
        Project.question.label("asked"),
        Project.checks.label("checked"),
        Task.erased_at.is_not(None).label("is_erased"),
    )
    .join(Assignment, Assignment.task_id == Task.id)
    .join(Project, Project.id == Assignment.project_id)
    .where(*_is_ones_own)
    .with_for_update(of=(Task, Assignment)),
)


@dataclass(frozen=True)
class Lease:
    """A task of one person for a while: on the desk from `served_at` on, before that fetched ahead."""

    id: int
    task_id: int
    slot: int
    shown_order: list[int]
    served_at: datetime | None
    lease_expires_at: datetime
    is_live: bool


_mine = (
    Assignment.project_id == PROJECT,
    Assignment.annotator_id == ACTOR,
    Assignment.state == "leased",
    Assignment.slot < LEASE_SLOTS,
)
_is_live = Assignment.lease_expires_at > func.now()
_desk_first = (Assignment.served_at.asc().nulls_last(), Assignment.leased_at, Assignment.id)
_first = select(Assignment.id).where(*_mine).order_by(*_desk_first).limit(1).scalar_subquery()
_served = (
    update(Assignment)
    .where(Assignment.id == _first, Assignment.state == "leased", Assignment.served_at.is_(None), _is_live)
    .values(served_at=func.now(), lease_expires_at=LEASE_END)
    .returning(Assignment.id, Assignment.served_at, Assignment.lease_expires_at)
    .cte("served")
)
# The leases of `actor`, reviews apart, the one on the desk first. If that was fetched ahead, it is served: from here
# its time runs.
HELD = Prepared(
    Lease,
    select(
        Assignment.id,
        Assignment.task_id,
        Assignment.slot,
        Assignment.shown_order,
        func.coalesce(_served.c.served_at, Assignment.served_at).label("served_at"),
        func.coalesce(_served.c.lease_expires_at, Assignment.lease_expires_at).label("lease_expires_at"),
        _is_live.label("is_live"),
    )
    .outerjoin(_served, _served.c.id == Assignment.id)
    .where(*_mine)
    .order_by(*_desk_first),
)


_was_given_before = (
    exists().where(Assignment.task_id == Task.id, Assignment.annotator_id == ACTOR).label("was_given_before")
)


def _free(
    *, of: int | ColumnElement[int] = 0, in_turn: bool = False, unless_some_ran_out: bool = False
) -> Select[int, bool]:
    """The most urgent task with a free place for `actor`, locked, and whether a lease of theirs on it ran out: `of`
    what is kept for this person, or for nobody.
    """
    free = (
        select(Task.id, _was_given_before)
        .where(
            Task.project_id == PROJECT,
            Task.purpose == "label",
            Task.taken < Task.quota,
            conditions.kept_for(of),
            *conditions.eligible_for(ACTOR),
        )
        .order_by(Task.priority.desc(), Task.id)
        .limit(1)
        .with_for_update(of=Task, skip_locked=not in_turn)
    )
    other = aliased(Assignment)
    ran_out = exists().where(other.project_id == PROJECT, other.state == "leased", other.lease_expires_at <= func.now())
    return free.where(~ran_out) if unless_some_ran_out else free


def _lease(choice: Select[int, bool]) -> Prepared[Lease]:
    """A lease on the task of `choice`. `order` is of all positions that a task can have, `lean` its side.

    A place of the task, the annotator's balance of sides and the lease change together: each statement more is a way to
    the server and back.
    """
    free = choice.cte("free")
    in_drawn_order = func.array_position(bindparam("order", type_=ARRAY(SmallInteger)), TaskCompletion.position)
    order = (
        select(func.array_agg(aggregate_order_by(TaskCompletion.position, in_drawn_order)))
        .where(TaskCompletion.task_id == free.c.id)
        .scalar_subquery()
    )
    first = {"project_id": PROJECT, "task_id": free.c.id, "annotator_id": ACTOR, "shown_order": order}
    given = {
        "slot": bindparam("slot", type_=SmallInteger),
        "served_at": case((bindparam("is_served", type_=Boolean), func.now())),
        "lease_expires_at": LEASE_END,
        "guidelines_version": bindparam("guidelines", type_=BigInteger),
    }
    again = {"state": "leased", "leased_at": func.now(), "closed_at": None, "keeps_place": False}
    lease = (
        insert_or_not(Assignment)
        .from_select([*first, *given], select(*first.values(), *given.values()))
        # The order of one that ran out stays what was drawn for it then.
        .on_conflict_do_update(
            index_elements=["task_id", "annotator_id"], set_=given | again, where=Assignment.state == "expired"
        )
        .returning(
            Assignment.id,
            Assignment.task_id,
            Assignment.slot,
            Assignment.shown_order,
            Assignment.served_at,
            Assignment.lease_expires_at,
            _is_live.label("is_live"),
        )
        .cte("lease")
    )
    place = update(Task).where(Task.id == lease.c.task_id).values(taken=Task.taken + 1).cte("place")
    balance = (
        update(Member)
        .where(Member.project_id == PROJECT, Member.user_id == ACTOR)
        .where(free.c.id == lease.c.task_id, ~free.c.was_given_before)
        .values(side_balance=Member.side_balance + bindparam("lean", type_=SmallInteger))
        .cte("balance")
    )
    return Prepared(Lease, select(lease).add_cte(place, balance))


# No row where other leases of the project ran out: their tasks may be more urgent.
LEASE = _lease(_free(unless_some_ran_out=True))
LEASE_ANY = _lease(_free())
# The same, but waiting for others who are just choosing: they may leave a place.
LEASE_IN_TURN = _lease(_free(in_turn=True))
# Of what is kept for `actor`, before anything else.
LEASE_KEPT = _lease(_free(of=ACTOR))
# A lease on `task`, a check that was chosen, and locked, before.
LEASE_CHECK = _lease(select(Task.id, _was_given_before).where(Task.id == TASK))

_TASK_STATE = bindparam("task_state", type_=Task.__table__.c.state.type)
_answered = (
    update(Task)
    .where(Task.id == TASK)
    .values(
        {
            name: bindparam(f"task_{name}", type_=Task.__table__.c[name].type)
            for name in ("taken", "judged", "skipped", "state")
        }
        # Whom it was kept for has answered it, or somebody whose lease ran out before has taken its last place.
        | {"reserved_for_id": case((_TASK_STATE == "open", func.nullif(Task.reserved_for_id, ACTOR)))}
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


@dataclass(frozen=True)
class Recorded:
    """`previous_at`: when the newest before it in the project came in. `is_waited_for`: a round waits for labels."""

    id: int
    submitted_at: datetime
    previous_at: datetime | None
    is_waited_for: bool


def _record(*more: str) -> ReturningInsert[int, datetime, datetime | None, bool]:
    columns = Judgement.__table__.c
    said = {name: bindparam(f"said_{name}", type_=columns[name].type) for name in (*SAID, *more)}
    return (
        insert_or_not(Judgement)
        .values(project_id=PROJECT, task_id=ABOUT, assignment_id=ASSIGNMENT, annotator_id=ACTOR, **said)
        .on_conflict_do_nothing(index_elements=["annotator_id", "idempotency_key"])
        .returning(
            Judgement.id,
            Judgement.submitted_at,
            _previous_at.label("previous_at"),
            _is_waited_for.label("is_waited_for"),
        )
    )


# A judgement of `said_…`; no row when the key was used. The first one of an assignment takes its place, too.
RECORD = Prepared(Recorded, _record().add_cte(_answered, _submitted))
RECORD_CHANGE = Prepared(Recorded, _record("id"))
