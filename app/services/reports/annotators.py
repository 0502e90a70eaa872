"""How far each person of a project can be relied on, and which groups of people see things differently."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project
from app.phrases import phrase
from app.services.loop.asking import annotators
from app.services.loop.asking.annotators import Annotator, Known
from app.services.people import groups
from app.services.reports.report import Report
from app.services.selection.arrays import Floats, Truths
from app.settings import settings

CATEGORIES = 3


@dataclass(frozen=True)
class GroupOfAnnotators:
    """`people` of the group have judged, `different` of them pass the checks and disagree with the others. `agreement`
    is how often theirs is what everybody's votes make likely; `within` and `across` are how often two people who judged
    the same say the same, both of the group, or one of it and one not. None where there is nothing to count.
    """

    name: str
    people: int
    different: int
    votes: int
    agreement: float | None
    within: float | None
    across: float | None


@dataclass(frozen=True)
class Annotators:
    """People with most votes first, and their groups. `weighs`: a version cut now would not take everybody at their
    word."""

    people: tuple[Annotator, ...]
    groups: tuple[GroupOfAnnotators, ...]
    weighs: bool


async def compute(db: AsyncSession, project: Project) -> Annotators:
    """The fit runs in a thread, so that the worker's other jobs go on."""
    known = await annotators.known(db, project, settings().home)
    members: dict[str, set[int]] = defaultdict(set)
    for name, user_id in await groups.given_to(db, project.id):
        members[name].add(user_id)
    people = tuple(sorted(known.people, key=lambda person: (-person.votes, person.user_id)))
    return Annotators(people, await asyncio.to_thread(_groups, known, members), known.matters)


ANNOTATORS = Report("annotators", phrase("Reliability"), Annotators, compute)


def _groups(known: Known, members: Mapping[str, set[int]]) -> tuple[GroupOfAnnotators, ...]:
    judged = {person.user_id for person in known.people}
    return tuple(_group(known, name, user_ids & judged) for name, user_ids in members.items() if user_ids & judged)


def _group(known: Known, name: str, user_ids: set[int]) -> GroupOfAnnotators:
    theirs = [person for person in known.people if person.user_id in user_ids]
    votes = sum(person.votes for person in theirs)
    is_theirs = np.array([user_id in user_ids for user_id, _ in known.said.authors], dtype=bool)
    inside, outside = _counts(known, is_theirs), _counts(known, ~is_theirs)
    return GroupOfAnnotators(
        name=name,
        people=len(theirs),
        different=sum(person.verdict == "different" for person in theirs),
        votes=votes,
        agreement=sum(person.agreement * person.votes for person in theirs) / votes if votes else None,
        within=_share((inside * (inside - 1)).sum(), inside.sum(axis=1) * (inside.sum(axis=1) - 1)),
        across=_share((inside * outside).sum(), inside.sum(axis=1) * outside.sum(axis=1)),
    )


def _counts(known: Known, is_theirs: Truths) -> Floats:
    """(pairs, categories): how many of these people said what of each pair."""
    votes, pairs = known.said.votes, len(known.said.pairs)
    kept = is_theirs[votes.person_V]
    cell = votes.pair_V[kept] * CATEGORIES + (2 * votes.choice_V[kept]).astype(np.int64)
    return np.bincount(cell, minlength=pairs * CATEGORIES).reshape(pairs, CATEGORIES).astype(np.float64)


def _share(same: float, met: Floats) -> float | None:
    return float(same / met.sum()) if met.sum() > 0 else None
