"""Who writes what people prefer: policies and served models, by head-to-head judgements of prompts drawn at random.

Votes are each two responses of a judgement whose writers differ, of tasks that chance chose; what was picked to be
instructive says nothing about how often somebody wins.
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from sqlalchemy import ColumnElement, Float, Numeric, Select, SmallInteger, case, cast, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, aliased

from app.db.tables import Completion, Judgement, Project, Task, TaskCompletion
from app.phrases import phrase
from app.services import conditions
from app.services.loop.comparisons import strengths, writers
from app.services.loop.comparisons.comparisons import names_of, score
from app.services.loop.comparisons.strengths import Fit, Numbers, Votes
from app.services.loop.comparisons.writers import Writer
from app.services.reports.report import Report

MOST_VOTES = 10_000
"""The newest."""
FEWEST_PROMPTS = 10
"""Below this many there is no interval."""
RESAMPLES = 200
RATING_POINTS = 400 / np.log(10)
MIDDLE = 1000.0
STYLES = {"headings": r"(^|\n)#{1,6} ", "bold": r"\*\*[^*\n]+\*\*", "lists": r"(^|\n)\s*([-*•]|\d+[.)]) "}
"""Regular expressions of what counts as style, beside the length in characters."""


@dataclass(frozen=True)
class Entry:
    """A writer on the board. Ratings are in points, 400 of which are ten to one, around 1000; `controlled` ones are as
    if all responses were of one length and style and on one side. Intervals are 95 %; None where too little is known.
    """

    kind: Literal["policy", "served"]
    writer_id: int
    name: str
    rank: int
    rating: float
    low: float | None
    high: float | None
    controlled_rank: int
    controlled: float
    controlled_low: float | None
    controlled_high: float | None
    votes: int
    prompts: int


@dataclass(frozen=True)
class Weight:
    """Points of rating that something beside the writer is worth: to be shown first, twice as long, or more styled."""

    name: str
    points: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Leaderboard:
    """`unconnected` are writers that nobody compared with those on the board. `first_side` is the share of the decided
    votes for what was shown first."""

    entries: tuple[Entry, ...]
    weights: tuple[Weight, ...]
    unconnected: int
    first_side: float | None
    votes: int
    prompts: int
    people: int


async def compute(db: AsyncSession, project: Project) -> Leaderboard:
    """Fits and resampling run in a thread, so that the worker's other jobs go on."""
    rows = (await db.execute(drawn_votes(project.id))).all()
    named = {writer: entry.name for writer, entry in (await names_of(db, project)).items()}
    return await asyncio.to_thread(board, [tuple(row) for row in rows], named, seed=project.id)


LEADERBOARD = Report("leaderboard", phrase("Leaderboard"), Leaderboard, compute)


def board(rows: list[tuple[Any, ...]], named: dict[Writer, str], *, seed: int) -> Leaderboard:
    """From rows of `_votes`."""
    if not rows:
        return Leaderboard((), (), 0, None, 0, 0, 0)
    known = sorted({writer for row in rows for writer in _writers_of(row)})
    place = {writer: index for index, writer in enumerate(known)}
    votes = _as_votes(rows, place)
    group = strengths.largest_group(votes.first, votes.second, len(known))
    votes = _only(votes, group)
    known = [known[index] for index in group]
    rng = np.random.default_rng(seed)
    has_interval = int(votes.prompt.max()) + 1 >= FEWEST_PROMPTS
    raw = _Fitted.of(votes.raw(), rng, has_interval)
    controlled = _Fitted.of(votes, rng, has_interval)
    entries = [_entry(index, writer, named, votes, raw, controlled) for index, writer in enumerate(known)]
    decided = votes.score != 0.5
    sides = votes.beside[:, 0] * (votes.score - 0.5)
    first = float((sides[decided] > 0).mean()) if decided.any() and (votes.beside[:, 0] != 0).any() else None
    return Leaderboard(
        tuple(sorted(entries, key=lambda entry: -entry.rating)),
        tuple(controlled.weights()),
        len(place) - len(known),
        first,
        len(votes.score),
        int(votes.prompt.max()) + 1,
        int(votes.person.max()) + 1,
    )


@dataclass(frozen=True)
class _Fitted:
    """A fit with those of resamples, shape (resamples, writers) and (resamples, covariates)."""

    best: Fit
    strength: Numbers | None
    beside: Numbers | None

    @classmethod
    def of(cls, votes: Votes, rng: np.random.Generator, has_interval: bool) -> "_Fitted":
        best = strengths.fit(votes)
        if not has_interval:
            return cls(best, None, None)
        again = strengths.drawn_again(votes, best, times=RESAMPLES, rng=rng)
        return cls(best, np.stack([one.strength for one in again]), np.stack([one.beside for one in again]))

    @property
    def rating(self) -> Numbers:
        return np.asarray(MIDDLE + RATING_POINTS * self.best.strength, dtype=np.float64)

    @property
    def ends(self) -> tuple[Numbers, Numbers] | None:
        if self.strength is None:
            return None
        low, high = np.quantile(self.strength, (0.025, 0.975), axis=0)
        return MIDDLE + RATING_POINTS * low, MIDDLE + RATING_POINTS * high

    @property
    def ranks(self) -> list[int]:
        """Without intervals nobody can be told apart."""
        return strengths.ranks(*self.ends) if self.ends is not None else [1] * len(self.best.strength)

    def weights(self) -> list[Weight]:
        found = []
        for index, name in enumerate(("first_side", "length", *STYLES)):
            low, high = (
                (None, None) if self.beside is None else np.quantile(self.beside[:, index], (0.025, 0.975)).tolist()
            )
            ends = [None if end is None else float(RATING_POINTS * end) for end in (low, high)]
            found.append(Weight(name, float(RATING_POINTS * self.best.beside[index]), *ends))
        return found


def _entry(
    index: int, writer: Writer, named: dict[Writer, str], votes: Votes, raw: _Fitted, controlled: _Fitted
) -> Entry:
    of_writer = (votes.first == index) | (votes.second == index)
    return Entry(
        kind=writer.kind,
        writer_id=writer.id,
        name=named.get(writer, str(writer.id)),
        rank=raw.ranks[index],
        rating=float(raw.rating[index]),
        low=_end(raw, 0, index),
        high=_end(raw, 1, index),
        controlled_rank=controlled.ranks[index],
        controlled=float(controlled.rating[index]),
        controlled_low=_end(controlled, 0, index),
        controlled_high=_end(controlled, 1, index),
        votes=int(of_writer.sum()),
        prompts=len(np.unique(votes.prompt[of_writer])),
    )


def _end(fitted: _Fitted, end: int, index: int) -> float | None:
    return None if fitted.ends is None else float(fitted.ends[end][index])


def _writers_of(row: tuple[Any, ...]) -> tuple[Writer, Writer]:
    return writers.of_completion(row[0], row[1]), writers.of_completion(row[2], row[3])


def _as_votes(rows: list[tuple[Any, ...]], place: dict[Writer, int]) -> Votes:
    both = np.array([[place[writer] for writer in _writers_of(row)] for row in rows], dtype=np.int64)
    numbers = np.array([row[4:] for row in rows], dtype=np.float64)
    said, prompt, person, side, length = numbers[:, :5].T
    own, other = numbers[:, 5 : 5 + len(STYLES)], numbers[:, 5 + len(STYLES) :]
    style = (own - other) / np.maximum(own + other, 1)
    return Votes(
        first=both[:, 0],
        second=both[:, 1],
        score=said,
        prompt=_numbered(prompt),
        person=_numbered(person),
        beside=np.column_stack([side, length, style]),
    )


def _only(votes: Votes, group: strengths.Integers) -> Votes:
    """The votes among these writers, whose places are counted anew."""
    anew = np.full(votes.writers, -1)
    anew[group] = np.arange(len(group))
    kept = anew[votes.first] >= 0
    return replace(
        votes,
        first=anew[votes.first][kept],
        second=anew[votes.second][kept],
        score=votes.score[kept],
        prompt=_numbered(votes.prompt[kept]),
        person=_numbered(votes.person[kept]),
        beside=votes.beside[kept],
    )


def _numbered(values: Numbers | strengths.Integers) -> strengths.Integers:
    return np.asarray(np.unique(values, return_inverse=True)[1], dtype=np.int64).reshape(-1)


def drawn_votes(project_id: int) -> Select[*tuple[Any, ...]]:
    """Votes in tasks that chance chose: both writers, what the first got, prompt, person, which was shown first (1, -1,
    or 0 where nobody knows), how many times as long the first is (a logarithm to base 2), and the marks of style of
    each."""
    one, other = aliased(Completion), aliased(Completion)
    at_one, at_other = aliased(TaskCompletion), aliased(TaskCompletion)
    newest = (
        select(Judgement)
        .join(Task, Task.id == Judgement.task_id)
        .where(*conditions.labels_of(project_id), Judgement.kind != "imported", conditions.is_drawn())
        .order_by(Judgement.id.desc())
        .limit(MOST_VOTES)
    )
    judgement = aliased(Judgement, newest.subquery())
    said = score(judgement, at_one.position, at_other.position)
    return (
        select(
            one.model_version_id,
            one.served_model_id,
            other.model_version_id,
            other.served_model_id,
            said,
            one.prompt_id,
            func.coalesce(judgement.annotator_id, 0),
            _side(judgement, at_one.position, at_other.position),
            func.log(2, cast(_characters(one) / _characters(other), Numeric)),
            *(func.regexp_count(one.text, mark) for mark in STYLES.values()),
            *(func.regexp_count(other.text, mark) for mark in STYLES.values()),
        )
        .select_from(judgement)
        .join(at_one, at_one.task_id == judgement.task_id)
        .join(at_other, (at_other.task_id == judgement.task_id) & (at_one.position < at_other.position))
        .join(one, one.id == at_one.completion_id)
        .join(other, other.id == at_other.completion_id)
        .where(
            said.is_not(None),
            one.erased_at.is_(None),
            other.erased_at.is_(None),
            *(or_(who.served_model_id.is_not(None), who.source == "policy") for who in (one, other)),
            or_(
                one.model_version_id.is_distinct_from(other.model_version_id),
                one.served_model_id.is_distinct_from(other.served_model_id),
            ),
        )
        .order_by(judgement.id.desc(), at_one.position, at_other.position)
        .limit(MOST_VOTES)
    )


def _characters(completion: type[Completion]) -> ColumnElement[float]:
    return cast(func.length(completion.text) + 1, Float)


def _side(
    judgement: type[Judgement], first: InstrumentedAttribute[int], second: InstrumentedAttribute[int]
) -> ColumnElement[int]:
    panes = [func.array_position(judgement.shown_order, cast(position, SmallInteger)) for position in (first, second)]
    return case((panes[0] < panes[1], 1), (panes[0] > panes[1], -1), else_=0)
