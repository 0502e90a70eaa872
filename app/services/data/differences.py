"""What of a dataset version is other than in the one before it: judgements that came, went, or count otherwise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.db.tables import DatasetJudgement, DatasetVersion, Judgement, Project, Prompt, Task
from app.services.data import datasets

MOST = 200
REMEMBERED = 1000
"""Judgements of each change that are kept by number once they were found, so that nobody looks for them again."""

Change = Literal["added", "gone", "changed"]
CHANGES: tuple[Change, ...] = get_args(Change)
Reason = Literal[
    "new", "let_in", "replaced", "erased", "held_out", "excluded", "decided", "counted_otherwise", "moved", "weighed"
]


@dataclass(frozen=True)
class Summary:
    """How many judgements came, went, moved to another split or weigh otherwise. `unknown` are those of which one of
    the two doesn't say it, because it was cut before that was kept."""

    added: int
    gone: int
    moved: int
    weighed: int
    changed: int
    same: int
    unknown: int

    def of(self, change: Change) -> int:
        return {"added": self.added, "gone": self.gone, "changed": self.changed}[change]


@dataclass(frozen=True)
class Difference:
    """A judgement, with its split and how its pairs count before and after. A split is None where it isn't in that
    version, `learnt` where it counts as it was said, too. `reasons` of one that is gone are as it stands now."""

    judgement_id: int
    task_id: int
    prompt: str
    kind: str
    change: Change
    reasons: tuple[Reason, ...]
    split_before: str | None
    split_after: str | None
    learnt_before: list[list[float]] | None
    learnt_after: list[list[float]] | None


@dataclass(frozen=True)
class Found:
    """What two versions differ by. `first` are the judgements of each change, by number, up to REMEMBERED."""

    summary: Summary
    first: dict[Change, tuple[int, ...]]

    def holds_all(self, change: Change) -> bool:
        return self.summary.of(change) <= len(self.first[change])


async def versions(
    db: AsyncSession, project: Project, number: int, *, since: int | None = None
) -> tuple[DatasetVersion | None, DatasetVersion]:
    """Version `number` of the preferences and the one to see it beside: `since`, or the one before it. The earlier one
    comes first, and is None where everything is new. Raises NotFound."""
    after = await datasets.get_version(db, project, number)
    if since is not None:
        return await datasets.get_version(db, project, since), after
    earlier = datasets.in_project(project.id).where(DatasetVersion.kind == after.kind, DatasetVersion.number < number)
    return await db.scalar(earlier.order_by(DatasetVersion.number.desc()).limit(1)), after


async def differences(
    db: AsyncSession,
    before: DatasetVersion | None,
    after: DatasetVersion,
    change: Change,
    *,
    after_id: int = 0,
    most: int = 50,
    found: Found | None = None,
) -> list[Difference]:
    """The judgements that came, went or count otherwise, by their ids from the one after `after_id` on.

    Reads both versions from there on, except for what is `found` already.
    """
    sides = _Sides(before.id if before else 0, after.id, change)
    rows = sides.select(
        Judgement.id, Judgement.task_id, Judgement.kind, Judgement.superseded_by, Judgement.submitted_at,
        Prompt.messages[-1]["content"].astext.label("prompt"), Prompt.excluded, Prompt.split,
        Task.erased_at, _is_decided().label("is_decided"),
        sides.old.split.label("split_before"), sides.new.split.label("split_after"),
        sides.old.learnt.label("learnt_before"), sides.new.learnt.label("learnt_after"),
        after_id=after_id,
    )  # fmt: skip
    if found is not None:
        known = [number for number in found.first[change] if number > after_id][:most]
        if len(known) == most or found.holds_all(change):
            rows = rows.where(sides.own.judgement_id.in_(known))
    rows = (
        rows.join(Judgement, Judgement.id == sides.own.judgement_id)
        .join(Task, Task.id == Judgement.task_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .limit(most)
    )
    return [_difference(row, change, before) for row in await db.execute(rows)]


async def compare(db: AsyncSession, before: DatasetVersion | None, after: DatasetVersion) -> Found:
    """What the later one has that the earlier one hasn't, and the other way round. Reads both from end to end."""
    return await find(db, before.id if before else 0, after.id)


async def find(db: AsyncSession, before_id: int, after_id: int) -> Found:
    """What version `after_id` has that `before_id` hasn't, and the other way round; 0 is one that holds nothing."""
    summary = await _summary(db, before_id, after_id)
    first: dict[Change, tuple[int, ...]] = {}
    for change in CHANGES:
        sides = _Sides(before_id, after_id, change)
        numbers = sides.select(sides.own.judgement_id).limit(REMEMBERED)
        first[change] = tuple(await db.scalars(numbers)) if summary.of(change) else ()
    return Found(summary, first)


class _Sides:
    """The rows of two versions in which a change is seen: `own` is there, `other` lacks it or has it otherwise."""

    def __init__(self, before_id: int, after_id: int, change: Change) -> None:
        self.old: Any = aliased(DatasetJudgement)
        self.new: Any = aliased(DatasetJudgement)
        self.change = change
        ids = {self.old: before_id, self.new: after_id}
        self.own, self.other = (self.old, self.new) if change == "gone" else (self.new, self.old)
        self._is_own = self.own.dataset_version_id == ids[self.own]
        self._is_others = self.other.dataset_version_id == ids[self.other]

    def select(self, *columns: Any, after_id: int = 0) -> Select[Any]:
        """What differs, by number, from the one after `after_id` on."""
        own, other = self.own, self.other
        # Said of both, so that the other isn't read from its beginning, either.
        is_same = (other.judgement_id == own.judgement_id) & (other.judgement_id > after_id) & self._is_others
        joined = select(*columns).select_from(own).join(other, is_same, isouter=self.change != "changed")
        differs = _counts_otherwise(self.old, self.new) if self.change == "changed" else other.judgement_id.is_(None)
        return joined.where(self._is_own, own.judgement_id > after_id, differs).order_by(own.judgement_id)


async def _summary(db: AsyncSession, before_id: int, after_id: int) -> Summary:
    old, new = _of(before_id).subquery(), _of(after_id).subquery()
    both = old.c.judgement_id.is_not(None) & new.c.judgement_id.is_not(None)
    is_known = old.c.split.is_not(None) & new.c.split.is_not(None)
    moved, weighed = old.c.split != new.c.split, old.c.learnt.is_distinct_from(new.c.learnt)
    counts: Mapping[str, ColumnElement[bool]] = {
        "added": old.c.judgement_id.is_(None),
        "gone": new.c.judgement_id.is_(None),
        "moved": both & is_known & moved,
        "weighed": both & is_known & weighed,
        "changed": both & is_known & (moved | weighed),
        "same": both & is_known & ~moved & ~weighed,
        "unknown": both & ~is_known,
    }
    columns = [func.count().filter(condition).label(name) for name, condition in counts.items()]
    joined = old.join(new, old.c.judgement_id == new.c.judgement_id, full=True)
    row = (await db.execute(select(*columns).select_from(joined))).one()
    return Summary(**row._mapping)


def _of(version_id: int) -> Select[int, str | None, list[list[float]] | None]:
    return select(DatasetJudgement.judgement_id, DatasetJudgement.split, DatasetJudgement.learnt).where(
        DatasetJudgement.dataset_version_id == version_id
    )


def _counts_otherwise(old: Any, new: Any) -> ColumnElement[bool]:
    is_known = old.split.is_not(None) & new.split.is_not(None)
    otherwise: ColumnElement[bool] = is_known & ((old.split != new.split) | old.learnt.is_distinct_from(new.learnt))
    return otherwise


def _is_decided() -> ColumnElement[bool]:
    """Condition on Judgement: a reviewer decided its task, and it is another answer."""
    verdict = aliased(Judgement)
    decided = select(1).where(verdict.task_id == Judgement.task_id, verdict.is_verdict, verdict.superseded_by.is_(None))
    return decided.exists() & ~Judgement.is_verdict


def _difference(row: Any, change: Change, before: DatasetVersion | None) -> Difference:
    return Difference(
        judgement_id=row.id,
        task_id=row.task_id,
        prompt=row.prompt or "",
        kind=row.kind,
        change=change,
        reasons=tuple(_reasons(row, change, before)),
        split_before=row.split_before,
        split_after=row.split_after,
        learnt_before=row.learnt_before,
        learnt_after=row.learnt_after,
    )


def _reasons(row: Any, change: Change, before: DatasetVersion | None) -> Sequence[Reason]:
    if change == "added":
        return ["new" if before is None or row.submitted_at >= before.created_at else "let_in"]
    if change == "changed":
        moved, weighed = row.split_before != row.split_after, row.learnt_before != row.learnt_after
        return [*(["moved"] if moved else ()), *(["weighed"] if weighed else ())]
    found: dict[Reason, bool] = {
        "replaced": row.superseded_by is not None,
        "erased": row.erased_at is not None,
        "held_out": row.split == "held_out",
        "excluded": row.excluded,
        "decided": row.is_decided,
    }
    return [reason for reason, is_so in found.items() if is_so] or ["counted_otherwise"]
