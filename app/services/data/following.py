"""Judgements as they come, change and go, for a program that follows along: nothing is cut, nobody's answer is settled.

First all that a version cut now would hold, by the ids of judgements; from then on what changed since, by the
transactions that changed it (`JudgementChange`). Ids are drawn before their rows can be seen, so that ids alone would
skip what commits late. A follower keeps rows by judgement, puts each that comes in the place of the one before, and
drops those that are gone: then it has what a version cut now would hold.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from sqlalchemy import BigInteger, ColumnElement, Select, delete, func, literal_column, select, true, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.db.base import Json
from app.db.tables import Completion, Judgement, JudgementChange, Project, Prompt, Task, TaskCompletion
from app.errors import Conflict, Invalid
from app.services import conditions
from app.services.data.exports.judgements import rows_of
from app.services.judging.agreement.sides import of_two
from app.services.judging.machines.counted import counted as counted_judges
from app.services.projects.review import Review

MOST = 500
KEPT_SECONDS = 30 * 24 * 3600
"""How long a cursor can be gone on from; changes are kept a day longer."""
LONGEST_CURSOR = 500
KEEPING = 2
"""Counted on where changes of before weren't all kept, so that cursors of then begin again."""

# The oldest transaction that is still under way: what those before it did can be seen, or was taken back.
_HORIZON = literal_column("pg_snapshot_xmin(pg_current_snapshot())::text::bigint", BigInteger)
_END = literal_column("pg_snapshot_xmax(pg_current_snapshot())::text::bigint", BigInteger)
_NOW = literal_column("extract(epoch FROM now())::bigint", BigInteger)
# Which database this is: transactions of another one have nothing to do with these.
_DATABASE: ColumnElement[str] = literal_column(
    "(SELECT system_identifier::text FROM pg_control_system()) || '.' ||"
    " (SELECT oid::text FROM pg_database WHERE datname = current_database())"
)


class BeginAgain(Conflict):
    """This cursor can't be gone on from. Begin again without one, and drop the rows that you have."""


@dataclass(frozen=True)
class Cursor:
    """How far a follower is. In `all`, `judgement_id` is the last one that was read, and changes from `changed_in` on
    come afterwards; in `changes`, both are those of the last change that was read.

    `meaning` is a digest of the database and of what counts; `at` when the cursor was given, in seconds.
    """

    phase: Literal["all", "changes"]
    changed_in: int
    judgement_id: int
    meaning: str
    at: int

    def encode(self) -> str:
        content = json.dumps(list(asdict(self).values()), separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(content).decode().rstrip("=")


@dataclass(frozen=True)
class News:
    """`rows` as the judgements' export has them, `gone` judgements that count no more; `is_up_to_date`: there is
    nothing else at the moment."""

    rows: Sequence[Json]
    gone: Sequence[int]
    cursor: str
    is_up_to_date: bool


async def follow(db: AsyncSession, project: Project, after: str | None = None, *, most: int = MOST) -> News:
    """What comes after a cursor, or from the beginning, in at most so many judgements.

    Raises Invalid for a cursor that is none of ours, BeginAgain where it is too old or of another database, and where
    what counts was set anew.
    """
    counted = await _Counted.of(db, project)
    cursor = await _begin(db, counted.meaning) if after is None else await _go_on(db, after, counted.meaning)
    if cursor.phase == "all":
        return await _all(db, project, counted, cursor, most)
    return await _changes(db, project, counted, cursor, most)


async def forget_old_changes(db: AsyncSession) -> None:
    """Remove the changes that no cursor is gone on from any more."""
    day = 24 * 3600
    old = JudgementChange.at < func.now() - func.make_interval(0, 0, 0, 0, 0, 0, KEPT_SECONDS + day)
    await db.execute(delete(JudgementChange).where(old).execution_options(synchronize_session=False))


@dataclass(frozen=True)
class _Counted:
    """Conditions on Judgement, joined to Task and Prompt: what a version cut now would hold."""

    conditions: tuple[ColumnElement[bool], ...]
    meaning: str

    @classmethod
    async def of(cls, db: AsyncSession, project: Project) -> "_Counted":
        prefers_verdicts = Review.of(project.review).prefers_verdicts
        machines = sorted(machine.user_id for machine in await counted_judges(db, project))
        database = await db.scalar(select(_DATABASE))
        said = json.dumps([KEEPING, database, project.id, prefers_verdicts, machines])
        meaning = hashlib.sha256(said.encode()).hexdigest()[:16]
        counted = conditions.counted_in(project.id, prefers_verdicts=prefers_verdicts, machines=machines)
        return cls((*counted, Prompt.split != "held_out", ~Prompt.excluded, _has_a_pair() | _is_unpaired()), meaning)

    def ids(self) -> Select[int]:
        return (
            select(Judgement.id)
            .join(Task, Task.id == Judgement.task_id)
            .join(Prompt, Prompt.id == Task.prompt_id)
            .where(*self.conditions)
            .order_by(Judgement.id)
        )


def _has_a_pair() -> ColumnElement[bool]:
    """Something is said of two responses that are there."""
    at_first, at_second = aliased(TaskCompletion), aliased(TaskCompletion)
    first, second = aliased(Completion), aliased(Completion)
    sides = of_two().lateral()
    pair = (
        select(1)
        .select_from(sides)
        .join(at_first, (at_first.task_id == Task.id) & (at_first.position == sides.c.first))
        .join(at_second, (at_second.task_id == Task.id) & (at_second.position == sides.c.second))
        .join(first, first.id == at_first.completion_id)
        .join(second, second.id == at_second.completion_id)
        .where(first.erased_at.is_(None), second.erased_at.is_(None))
        .correlate(Judgement, Task)
    )
    return Prompt.erased_at.is_(None) & pair.exists()


def _is_unpaired() -> ColumnElement[bool]:
    is_alone = func.cardinality(Judgement.acceptable) == 1
    return (Judgement.kind == "imported") & is_alone & Task.erased_at.is_(None)


async def _begin(db: AsyncSession, meaning: str) -> Cursor:
    """Whatever is done from this moment on is a change to be read after all that is there."""
    horizon, now = (await db.execute(select(_HORIZON, _NOW))).one()
    return Cursor("all", horizon or 0, 0, meaning, now)


async def _go_on(db: AsyncSession, after: str, meaning: str) -> Cursor:
    cursor = _decode(after)
    end, now = (await db.execute(select(_END, _NOW))).one()
    if cursor.meaning != meaning or cursor.changed_in > (end or 0) or now - cursor.at > KEPT_SECONDS:
        raise BeginAgain
    return cursor if cursor.phase == "all" else replace(cursor, at=now)


def _decode(after: str) -> Cursor:
    try:
        content = base64.urlsafe_b64decode(after + "=" * (-len(after) % 4))
        phase, changed_in, judgement_id, meaning, at = json.loads(content)
        numbers = (changed_in, judgement_id, at)
        if phase not in ("all", "changes") or not isinstance(meaning, str):
            raise ValueError(phase)
        if not all(type(number) is int and 0 <= number < 2**63 for number in numbers):
            raise ValueError(numbers)
    except (binascii.Error, ValueError, TypeError):
        raise Invalid("`after` must be the `cursor` of an earlier answer.") from None
    return Cursor(phase, changed_in, judgement_id, meaning, at)


async def _all(db: AsyncSession, project: Project, counted: _Counted, cursor: Cursor, most: int) -> News:
    found = list(await db.scalars(counted.ids().where(Judgement.id > cursor.judgement_id).limit(most + 1)))
    ids = found[:most]
    rows = await rows_of(db, project.id, ids)
    if len(found) > most:
        return News(list(rows.values()), (), replace(cursor, judgement_id=ids[-1]).encode(), False)
    # Also after the last row: what changed meanwhile comes by the next call.
    return News(list(rows.values()), (), replace(cursor, phase="changes", judgement_id=0).encode(), False)


async def _changes(db: AsyncSession, project: Project, counted: _Counted, cursor: Cursor, most: int) -> News:
    key = tuple_(JudgementChange.changed_in, JudgementChange.judgement_id)
    after = tuple_(cursor.changed_in, cursor.judgement_id)
    changes = (
        select(JudgementChange.changed_in, JudgementChange.judgement_id)
        .where(JudgementChange.project_id == project.id, key > after, JudgementChange.changed_in < _HORIZON)
        .order_by(JudgementChange.changed_in, JudgementChange.judgement_id)
        .limit(most + 1)
        .subquery()
    )
    # The horizon in the same statement as the changes before it, and on its own where there are none.
    horizon = select(_HORIZON.label("horizon")).subquery()
    found = (
        await db.execute(
            select(horizon.c.horizon, changes).join_from(horizon, changes, true(), isouter=True).order_by(None)
        )
    ).all()
    read = sorted((row.changed_in, row.judgement_id) for row in found if row.judgement_id is not None)
    ids = sorted({judgement_id for _, judgement_id in read[:most]})
    held = list(await db.scalars(counted.ids().where(Judgement.id.in_(ids)))) if ids else []
    rows = await rows_of(db, project.id, held)
    gone = [judgement_id for judgement_id in ids if judgement_id not in rows]
    is_up_to_date = len(read) <= most
    changed_in, judgement_id = (found[0].horizon, 0) if is_up_to_date else read[most - 1]
    next_ = replace(cursor, changed_in=changed_in, judgement_id=judgement_id)
    return News(list(rows.values()), gone, next_.encode(), is_up_to_date)
