"""What the card of a dataset says: counts, agreement, who judged, and which habits are in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.db.tables import Completion, DatasetJudgement, DatasetVersion, Judgement, Project, TaskCompletion
from app.services.judging.agreement.intervals import wilson


@dataclass(frozen=True)
class Share:
    """How often something was so, of how many times it could have been, with the bounds of 95 %."""

    number: int
    of: int

    @property
    def value(self) -> float | None:
        return self.number / self.of if self.of else None

    @property
    def bounds(self) -> tuple[float, float] | None:
        return wilson(self.number / self.of, self.of) if self.of else None


@dataclass(frozen=True)
class Agreement:
    """`said_the_same` is how likely two people say the same of two responses; None where none were judged by two."""

    pairs: int
    said_the_same: float | None


@dataclass(frozen=True)
class Biases:
    """Habits of the judgements of pairs that prefer one side. `first_shown`: the response that was shown first was
    chosen, of those that people were shown here; `longer`: the longer one was, of those that differ in length.
    """

    first_shown: Share
    longer: Share


@dataclass(frozen=True)
class People:
    """`judgements` by kind of who gave them. `people` are those of this site; the busiest gave `most_by_one`."""

    judgements: Mapping[str, int]
    people: int
    most_by_one: int


@dataclass(frozen=True)
class Card:
    """What a folder says of its version. `agreement` is None where it isn't known."""

    project: Project
    version: DatasetVersion
    guidelines: str
    agreement: Agreement | None
    biases: Biases | None
    people: People | None


async def card_of(db: AsyncSession, project: Project, version: DatasetVersion) -> Card:
    """Reads all judgements of the version, which takes a worker some seconds where there are many."""
    guidelines = version.manifest.get("guidelines", {}).get("text", project.guidelines)
    if version.kind != "preferences":
        return Card(project, version, guidelines, None, None, None)
    told = version.manifest.get("agreement")
    agreement = None if told is None else Agreement(told["pairs_judged_by_several"], told["said_the_same"])
    return Card(project, version, guidelines, agreement, await _biases(db, version), await _people(db, version))


def _held(version: DatasetVersion) -> ColumnElement[bool]:
    return Judgement.id.in_(
        select(DatasetJudgement.judgement_id).where(DatasetJudgement.dataset_version_id == version.id)
    )


async def _biases(db: AsyncSession, version: DatasetVersion) -> Biases:
    is_first_better = Judgement.preference > 0
    is_shown_first = Judgement.shown_order[1] == 0
    was_shown = Judgement.kind.in_(("human", "simulated"))
    first, second = _length_at(0), _length_at(1)
    row = (
        await db.execute(
            select(
                func.count().filter(was_shown, is_first_better == is_shown_first),
                func.count().filter(was_shown),
                func.count().filter(first != second, is_first_better == (first > second)),
                func.count().filter(first != second),
            ).where(_held(version), Judgement.preference != 0, Judgement.kind != "machine")
        )
    ).one()
    return Biases(Share(row[0], row[1]), Share(row[2], row[3]))


def _length_at(position: int) -> Any:
    completion, place = aliased(Completion), aliased(TaskCompletion)
    return (
        select(func.length(completion.text))
        .join(place, place.completion_id == completion.id)
        .where(place.task_id == Judgement.task_id, place.position == position)
        .scalar_subquery()
    )


async def _people(db: AsyncSession, version: DatasetVersion) -> People:
    is_person = Judgement.kind.in_(("human", "simulated"))
    by_whom = (
        select(
            Judgement.kind,
            case((is_person, Judgement.annotator_id)).label("annotator_id"),
            func.count().label("number"),
        )
        .where(_held(version))
        .group_by(Judgement.kind, "annotator_id")
        .subquery()
    )
    rows = await db.execute(
        select(by_whom.c.kind, func.sum(by_whom.c.number), func.count(by_whom.c.annotator_id),
               func.max(by_whom.c.number).filter(by_whom.c.annotator_id.is_not(None)))
        .group_by(by_whom.c.kind)
        .order_by(by_whom.c.kind)
    )  # fmt: skip
    judgements, people, most = {}, 0, 0
    for kind, number, of_kind, busiest in rows:
        judgements[kind] = int(number)
        people, most = people + of_kind, max(most, busiest or 0)
    return People(judgements, people, most)
