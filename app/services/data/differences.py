"""What of a dataset version is other than in the one before it: judgements that came, went, or count otherwise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.db.tables import DatasetJudgement, DatasetVersion, Judgement, Project, Prompt, Task
from app.services.data import datasets

MOST = 200

Change = Literal["added", "gone", "changed"]
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
class Comparison:
    """`before` is None where everything is new."""

    before: DatasetVersion | None
    after: DatasetVersion
    summary: Summary


async def compare(db: AsyncSession, project: Project, number: int, *, since: int | None = None) -> Comparison:
    """Version `number` of the preferences beside version `since`, or beside the one before it.

    Raises NotFound.
    """
    before, after = await versions(db, project, number, since=since)
    return Comparison(before, after, await _summary(db, before, after))


async def versions(
    db: AsyncSession, project: Project, number: int, *, since: int | None = None
) -> tuple[DatasetVersion | None, DatasetVersion]:
    """The two that are meant, the earlier one first. Raises NotFound."""
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
) -> list[Difference]:
    """The judgements that came, went or count otherwise, by their ids from the one after `after_id` on."""
    old, new = aliased(DatasetJudgement), aliased(DatasetJudgement)
    own, other = (old, new) if change == "gone" else (new, old)
    versions = {old: before.id if before else 0, new: after.id}
    in_other = (other.judgement_id == own.judgement_id) & (other.dataset_version_id == versions[other])
    found = (
        select(
            Judgement.id, Judgement.task_id, Judgement.kind, Judgement.superseded_by, Judgement.submitted_at,
            Prompt.messages[-1]["content"].astext.label("prompt"), Prompt.excluded, Prompt.split,
            Task.erased_at, _is_decided().label("is_decided"),
            old.split.label("split_before"), new.split.label("split_after"),
            old.learnt.label("learnt_before"), new.learnt.label("learnt_after"),
        )
        .select_from(own)
        .join(other, in_other, isouter=change != "changed")
        .join(Judgement, Judgement.id == own.judgement_id)
        .join(Task, Task.id == Judgement.task_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .where(own.dataset_version_id == versions[own], own.judgement_id > after_id)
        .where(_counts_otherwise(old, new) if change == "changed" else other.judgement_id.is_(None))
        .order_by(own.judgement_id)
        .limit(most)
    )  # fmt: skip
    return [_difference(row, change, before) for row in await db.execute(found)]


async def _summary(db: AsyncSession, before: DatasetVersion | None, after: DatasetVersion) -> Summary:
    old, new = _of(before.id if before else 0).subquery(), _of(after.id).subquery()
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
