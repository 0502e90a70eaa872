"""Changes of many prompts or tasks at once, each of which can be undone: what stood there before is kept with it.

Rows are changed `AT_ONCE` in a transaction, under their locks. Those that were named are changed at once; of those that
match a list's filters there may be any number, so that `step` and `put_back` do the next ones, and say when it is done.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import BulkChange, ChangedRow, Project, Task
from app.errors import Conflict, Invalid, NotFound
from app.phrases import phrase
from app.services.browse import kinds
from app.services.browse.kinds import CHANGES, ChangeName, Kind
from app.services.browse.listing import Filters, Listing
from app.services.browse.lists import LISTS
from app.services.judging import reservations

AT_ONCE = 200
COUNTED = 10_000
"""Rows that match are counted up to so many, where somebody waits for the figure."""


@dataclass(frozen=True)
class Outcome:
    """`changed` rows are as they were asked to be; `left` could not be changed, for the reasons given."""

    change_id: int | None
    changed: int
    left: Mapping[int, str]


@dataclass(frozen=True)
class Step:
    """What a step did, and whether more may follow."""

    changed: int
    left: Mapping[int, str]
    has_more: bool


async def change(
    db: AsyncSession, actor_id: int | None, project: Project, name: ChangeName, ids: Sequence[int], value: str = ""
) -> Outcome:
    """Change the rows of these ids; those of other projects aren't there. Raises Invalid for a value that can't be."""
    kind = CHANGES[name]
    if len(ids) > AT_ONCE:
        raise Invalid("At most %(count)s rows are changed at once.", count=AT_ONCE)
    await kinds.require(db, project, kind, value)
    before, left = await _apply(db, kind, await _rows(db, project, kind, ids), value)
    if not before and not left:
        return Outcome(None, 0, left)
    kept = BulkChange(project_id=project.id, actor_id=actor_id, name=name, value=value, changed=0, left={})
    await _keep(db, kept, before, left, is_last=True)
    return Outcome(kept.id, len(before), left)


async def begin(
    db: AsyncSession, actor_id: int | None, project: Project, name: ChangeName, filters: Filters, value: str = ""
) -> BulkChange:
    """A change of all that match now or when their turn comes, none of which is done yet. Raises Invalid."""
    kind = CHANGES[name]
    await kinds.require(db, project, kind, value)
    newest = await db.scalar(select(func.max(kind.table.id)))
    asked = filters.model_dump(mode="json", exclude_none=True)
    kept = BulkChange(
        project_id=project.id, actor_id=actor_id, name=name, value=value, filters=asked, reached=(newest or 0) + 1,
        changed=0, left={},
    )  # fmt: skip
    db.add(kept)
    await db.flush()
    return kept


async def count(db: AsyncSession, project: Project, kept: BulkChange, *, most: int | None = None) -> int:
    """How many rows match that are still to be done, at `most` so many."""
    listing, filters = _meant(kept)
    return await listing.count(db, project, filters, after=kept.reached, most=most)


async def step(db: AsyncSession, project: Project, change_id: int) -> Step:
    """Change the next rows that match. Raises Conflict once it is undone, NotFound."""
    kept = await _locked(db, project, change_id)
    if kept.undone_at is not None:
        raise Conflict("This change is undone already.")
    if kept.finished_at is not None:
        return Step(0, {}, has_more=False)
    kind = CHANGES[kept.name]
    listing, filters = _meant(kept)
    await kinds.require(db, project, kind, kept.value)
    ids = await listing.ids(db, project, filters, after=kept.reached, limit=AT_ONCE)
    rows = await _rows(db, project, kind, ids)
    # Somebody may have had a row until now: what doesn't match any more isn't meant.
    still = set(await listing.ids(db, project, filters, among=ids, limit=AT_ONCE))
    before, left = await _apply(db, kind, [row for row in rows if row.id in still], kept.value)
    has_more = len(ids) == AT_ONCE
    kept.reached = ids[-1] if ids else kept.reached
    await _keep(db, kept, before, left, is_last=not has_more)
    return Step(len(before), left, has_more)


async def claim_undo(db: AsyncSession, project: Project, change_id: int) -> BulkChange:
    """The change, which nobody else undoes from here on. Raises NotFound, Conflict for one that is undone already."""
    kept = await _locked(db, project, change_id)
    if kept.undone_at is not None:
        raise Conflict("This change is undone already.")
    kept.undone_at = func.now()
    await db.flush()
    return kept


async def undo(db: AsyncSession, project: Project, change_id: int) -> Outcome:
    """Put back what stood there before. What was changed again since is left as it is now.

    Raises NotFound, Conflict for a change that is undone already.
    """
    kept = await claim_undo(db, project, change_id)
    done = await put_back(db, project, kept.id)
    return Outcome(kept.id, done.changed, done.left)


async def put_back(db: AsyncSession, project: Project, change_id: int) -> Step:
    """Put back the next rows of a change that is claimed for that."""
    kept = await _locked(db, project, change_id)
    kind = CHANGES[kept.name]
    some = select(ChangedRow).where(ChangedRow.change_id == kept.id).order_by(ChangedRow.row_id).limit(AT_ONCE)
    before = {row.row_id: row.before for row in await db.scalars(some)}
    # Memberships are locked before tasks are.
    workers = await reservations.workers(db, project, _people_in(before))
    rows = await _rows(db, project, kind, list(before))
    if "reserved_for_id" in kind.columns:
        before |= await _no_longer_for_them(db, rows, before, workers)
    left: dict[int, str] = {}
    back = 0
    for row in rows:
        was = before[row.id]
        expected = _copy(row, kind, was)
        kind.apply(expected, kept.value)
        if any(getattr(row, column) != getattr(expected, column) for column in kind.columns):
            left[row.id] = phrase("It was changed again since.")
            continue
        try:
            _restore(row, was)
        except Conflict as refused:
            left[row.id] = str(refused)
            continue
        back += 1
    await db.execute(delete(ChangedRow).where(ChangedRow.change_id == kept.id, ChangedRow.row_id.in_(before)))
    await db.flush()
    return Step(back, left, has_more=len(before) == AT_ONCE)


async def to_put_back(db: AsyncSession, change_id: int) -> int:
    """How many rows of a change stand as they were kept."""
    return await db.scalar(select(func.count()).where(ChangedRow.change_id == change_id)) or 0


async def get(db: AsyncSession, project: Project, change_id: int) -> BulkChange | None:
    """A change of this project."""
    found: BulkChange | None = await db.scalar(_of(project, change_id))
    return found


async def of_run(db: AsyncSession, run_id: int) -> BulkChange | None:
    """The change that a run does, or undoes."""
    return await db.scalar(select(BulkChange).where(BulkChange.run_id == run_id))


async def _locked(db: AsyncSession, project: Project, change_id: int) -> BulkChange:
    locked = _of(project, change_id).with_for_update().execution_options(populate_existing=True)
    kept: BulkChange | None = await db.scalar(locked)
    if kept is None:
        raise NotFound
    return kept


def _of(project: Project, change_id: int) -> Any:
    return select(BulkChange).where(BulkChange.id == change_id, BulkChange.project_id == project.id)


def _meant(kept: BulkChange) -> tuple[Listing[Any], Filters]:
    listing = LISTS[CHANGES[kept.name].of]
    return listing, listing.filters.model_validate(kept.filters)


async def _apply(
    db: AsyncSession, kind: Kind, rows: Sequence[Any], value: str
) -> tuple[dict[int, Json], dict[int, str]]:
    """Change these rows; what those were that it changed, and why others were left."""
    left = dict(await kind.left(db, rows, value)) if kind.left is not None else {}
    before: dict[int, Json] = {}
    for row in rows:
        was = {column: getattr(row, column) for column in kind.columns}
        if row.id in left:
            continue
        try:
            kind.apply(row, value)
        except Conflict as refused:
            left[row.id] = str(refused)
            continue
        if any(getattr(row, column) != was[column] for column in kind.columns):
            before[row.id] = was
    return before, left


async def _keep(
    db: AsyncSession, kept: BulkChange, before: Mapping[int, Json], left: Mapping[int, str], *, is_last: bool
) -> None:
    kept.changed += len(before)
    kept.left = dict(Counter(kept.left) + Counter(left.values()))
    kept.finished_at = func.now() if is_last else None
    db.add(kept)
    await db.flush()
    if before:
        rows = [{"change_id": kept.id, "row_id": row_id, "before": was} for row_id, was in before.items()]
        await db.execute(insert(ChangedRow), rows)


async def _rows(db: AsyncSession, project: Project, kind: Kind, ids: Sequence[int]) -> Sequence[Any]:
    """Locked in the order of their ids, so that two changes at once wait for each other."""
    table = kind.table
    return (
        await db.scalars(
            select(table)
            .where(table.project_id == project.id, table.id.in_(ids))
            .order_by(table.id)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
    ).all()


def _people_in(before: Mapping[int, Json]) -> set[int]:
    return {was["reserved_for_id"] for was in before.values() if was.get("reserved_for_id") is not None}


async def _no_longer_for_them(
    db: AsyncSession, tasks: Sequence[Task], before: Mapping[int, Json], workers: Collection[int]
) -> dict[int, Json]:
    """Tasks that go back to nobody: whom they were kept for has left, or can't be given them any more."""
    nobody: dict[int, Json] = {}
    for user_id in _people_in(before):
        theirs = [task for task in tasks if before[task.id]["reserved_for_id"] == user_id]
        out = await reservations.left_out(db, theirs, user_id) if user_id in workers else {task.id for task in theirs}
        nobody |= {task_id: {"reserved_for_id": None} for task_id in out}
    return nobody


def _copy(row: Any, kind: Kind, was: Json) -> Any:
    """What the row was when it was changed, as far as the change looks at it; not of the session."""
    now = {column: getattr(row, column) for column in ("taken", "judged", "skipped") if kind.of == "tasks"}
    return kind.table(**now, **was)


def _restore(row: Any, was: Json) -> None:
    """Raises Conflict. What people did since counts: a task that was open may have all its judgements by now."""
    if getattr(row, "erased_at", None) is not None and was.get("state") not in (None, "retired"):
        raise Conflict("Something in it was erased.")
    if "quota" in was and was["quota"] < row.taken:
        raise Conflict("More people have it or have judged it already.")
    for column, value in was.items():
        setattr(row, column, value)
    if isinstance(row, Task) and row.state != "retired":
        row.state = kinds.state_of(row)
