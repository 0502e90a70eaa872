"""How far each person of a project can be relied on, by everything that was said in it."""

# V = votes, P = pairs, F = features, W = people

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Judgement, Project, Prompt, Task
from app.services import conditions
from app.services.data.beliefs import Belief, Beliefs, PairOfJudgement
from app.services.data.exports.annotations import pseudonyms
from app.services.judging import quality
from app.services.judging.quality import Checked
from app.services.loop.asking import features as embedded
from app.services.loop.asking.features import Features
from app.services.loop.asking.said import pairs_of, responses_of
from app.services.selection.arrays import Floats, Truths
from app.services.selection.consensus import Consensus, Pairs, agree
from app.services.selection.habits import Votes

MOST = 10_000
"""Judgements; the newest. What was said before counts as it was said."""
FEWEST_VOTES = 15
"""Before them nobody is called anything, and nothing that they said counts less for who they are."""
FEWEST_CHECKS = 5
PASSED = 0.7
"""Of gold tasks that are right, and of tasks that got the same answer again."""
RELIED_ON = 0.75
"""Whose reliability lies wholly below differs from the others, or doesn't look."""
LEAST_WEIGHT = 0.05

Verdict = Literal["new", "reliable", "unreliable", "different", "unexplained"]

Author = tuple[int | None, str | None]
"""A person of the site, or a name in a file, or neither: nobody knows who."""


@dataclass(frozen=True)
class Annotator:
    """One person. `reliability` is how often they say what is true, by votes and gold; `agreement` the same by votes
    alone, with the bounds of 95 %. `side` is the share of A where nothing else decides. `drift` is what they lost or
    gained from the first to the second half of their votes. Bounds are None where it has none: of fewer than fifteen.
    """

    user_id: int
    votes: int
    verdict: Verdict
    reliability: float
    reliability_low: float
    reliability_high: float
    agreement: float
    agreement_high: float
    side: float
    side_low: float
    side_high: float
    drift: float | None
    drift_low: float | None
    drift_high: float | None


@dataclass(frozen=True)
class Table:
    """Votes as they are read: `authors` by number, `pairs` as task and positions, and each vote's judgement."""

    votes: Votes
    pairs: Pairs
    authors: Sequence[Author]
    places: Sequence[PairOfJudgement]
    """Of each vote."""

    def without(self, left_out: Truths) -> "Table":
        """The table without the votes of some of the authors, whose numbers stay."""
        kept = ~left_out[self.votes.person_V]
        places = [place for place, is_kept in zip(self.places, kept, strict=True) if is_kept]
        return replace(self, votes=self.votes.only(kept), places=places)


@dataclass(frozen=True)
class Known:
    """What came of it: people of the site, and what everything that was said makes of each vote."""

    people: tuple[Annotator, ...]
    said: Table
    table: Table
    """Without those who differ."""
    consensus: Consensus
    verdicts: tuple[Verdict, ...]

    @property
    def matters(self) -> bool:
        """Whether anybody is to be believed less than they are now, and somebody is known who isn't."""
        known = [verdict for verdict in self.verdicts if verdict != "new"]
        return len(known) >= 2 and any(verdict in ("unreliable", "unexplained") for verdict in known)


async def known(db: AsyncSession, project: Project, home: Path) -> Known:
    """Read what was said and learn from it, which takes a worker some seconds where there is much."""
    folder = await embedded.folder_of_latest(db, project.id)
    found = None if folder is None else await asyncio.to_thread(embedded.read_features, home / folder)
    checked = await quality.checked_in(db, project)
    table = await _table(db, project.id, found, checked)
    return await asyncio.to_thread(_learn, table, checked)


async def beliefs(db: AsyncSession, project: Project, home: Path, weigh: str) -> Beliefs | None:
    """What a dataset version cut now makes of everybody, by the setting of that name; None: all are taken at their
    word."""
    if weigh == "never":
        return None
    learnt = await known(db, project, home)
    if not learnt.matters and weigh == "auto":
        return None
    names = await pseudonyms(db, project.id)
    return await asyncio.to_thread(_believed, learnt, names)


async def _table(db: AsyncSession, project_id: int, features: Features | None, checked: dict[int, Checked]) -> Table:
    said = (
        await db.execute(
            select(
                Judgement.id, Judgement.task_id, Judgement.annotator_id, Judgement.source_annotator,
                Judgement.answer_type, Judgement.preference, Judgement.ranks, Judgement.shown_order,
                Judgement.kind, Task.prompt_id, Prompt.split, Task.selection["slice"].astext.label("slice"),
            )
            .join(Task, Task.id == Judgement.task_id)
            .join(Prompt, Prompt.id == Task.prompt_id)
            .where(*conditions.labels_of(project_id))
            .order_by(Judgement.id.desc())
            .limit(MOST)
        )
    ).all()  # fmt: skip
    shown = await responses_of(db, {row.task_id for row in said})
    return await asyncio.to_thread(_tabled, list(reversed(said)), shown, features, checked)


def _tabled(
    said: Sequence[Any], shown: dict[int, list[int]], features: Features | None, checked: dict[int, Checked]
) -> Table:
    authors: dict[Author, int] = {}
    pairs: dict[tuple[int, int, int], int] = {}
    rows: list[tuple[int, int, float, float, float]] = []
    places: list[PairOfJudgement] = []
    groups: list[int] = []
    random_: list[bool] = []
    teaches: list[bool] = []
    for row in said:
        author = authors.setdefault((row.annotator_id, row.source_annotator), len(authors))
        for a, b, choice, weight in pairs_of(row.answer_type, row.preference, row.ranks):
            pair = pairs.setdefault((row.task_id, a, b), len(pairs))
            if pair == len(groups):
                groups.append(row.prompt_id)
                teaches.append(row.split == "train")
                random_.append(teaches[-1] and row.slice == "random")
            rows.append((author, pair, choice, _side(row, a, b), weight))
            places.append((row.id, a, b))
    person, pair_, choice_, side, weight_ = zip(*rows, strict=True) if rows else ((),) * 5
    right, wrong = _gold(list(authors), checked)
    votes = Votes(
        np.array(person, dtype=np.int64),
        np.array(pair_, dtype=np.int64),
        np.array(choice_, dtype=np.float64),
        np.array(side, dtype=np.float64),
        np.array(weight_, dtype=np.float64),
        right,
        wrong,
    )
    compared = [(shown[task_id][a], shown[task_id][b]) for task_id, a, b in pairs]
    difference_PF = _differences(features, compared)  # noqa: N806 - its shape
    # What models are measured on tells of people, and teaches nothing that they are trained on.
    difference_PF[~np.array(teaches, dtype=bool)] = 0.0
    read = Pairs(difference_PF, np.array(groups, dtype=np.int64), np.array(random_, dtype=bool))
    return Table(votes, read, list(authors), places)


def _side(row: Any, a: int, b: int) -> float:
    """1 where the first of the two was shown before the second; an imported judgement's order was nobody's."""
    if row.kind == "imported":
        return 0.0
    return 1.0 if row.shown_order.index(a) < row.shown_order.index(b) else -1.0


def _gold(authors: Sequence[Author], checked: dict[int, Checked]) -> tuple[Floats, Floats]:
    right, wrong = np.zeros(len(authors)), np.zeros(len(authors))
    for number, (user_id, _) in enumerate(authors):
        if user_id in checked:
            conduct = checked[user_id]
            right[number], wrong[number] = conduct.right, conduct.checked - conduct.right
    return right, wrong


def _differences(features: Features | None, compared: Sequence[tuple[int, int]]) -> Floats:
    """Nothing tells pairs apart that were not read."""
    if features is None:
        return np.zeros((len(compared), 0))
    difference = np.zeros((len(compared), features.feature_NF.shape[1]))
    rows = [(features.row_of.get(a), features.row_of.get(b)) for a, b in compared]
    able = [number for number, two in enumerate(rows) if None not in two]
    if able:
        first, second = (np.array([rows[number][place] for number in able], dtype=np.int64) for place in (0, 1))
        difference[able] = features.feature_NF[first].astype(np.float64) - features.feature_NF[second]
    return difference


def _learn(table: Table, checked: dict[int, Checked]) -> Known:
    """Once with everybody; again without those who differ, so that they are not taken for others' mistakes."""
    consensus = agree(table.votes, table.pairs)
    count = np.bincount(table.votes.person_V, minlength=table.votes.people)
    highest = consensus.by_votes.bounds()[1]
    verdicts = tuple(
        _verdict(int(count[number]), float(highest[number]), None if user_id is None else checked.get(user_id))
        for number, (user_id, _) in enumerate(table.authors)
    )
    people = _annotators(table.authors, count.tolist(), verdicts, consensus)
    said = table
    differ = np.array([verdict == "different" for verdict in verdicts], dtype=bool)
    if differ.any():
        table = table.without(differ)
        consensus = agree(table.votes, table.pairs, strength=consensus.strength)
    return Known(people, said, table, consensus, verdicts)


def _verdict(votes: int, high: float, conduct: Checked | None) -> Verdict:
    """Who says something else than the others and passes the checks differs; who fails them doesn't look. `high`: the
    upper bound of how often they say what others make likely."""
    if votes < FEWEST_VOTES:
        return "new"
    if high >= RELIED_ON:
        return "reliable"
    gold = None if conduct is None else _passed(conduct.right, conduct.checked)
    again = None if conduct is None else _passed(conduct.same, conduct.repeated)
    if gold is None and again is None:
        return "unexplained"
    # Who says the opposite of everybody says it again when asked again: without gold that is no excuse.
    is_excused = gold is True or (gold is None and high >= 0.5)
    return "different" if is_excused and again is not False else "unreliable"


def _passed(passed: int, asked: int) -> bool | None:
    """None where too little was asked."""
    return None if asked < FEWEST_CHECKS else passed >= PASSED * asked


def _annotators(
    authors: Sequence[Author], votes: Sequence[int], verdicts: Sequence[Verdict], consensus: Consensus
) -> tuple[Annotator, ...]:
    """People of the site, with everybody's bounds computed at once."""
    habits, by_votes = consensus.habits, consensus.by_votes
    low, high = habits.bounds()
    side_low, side_high = habits.side_bounds()
    columns = {
        "reliability": habits.reliability(),
        "reliability_low": low,
        "reliability_high": high,
        "agreement": by_votes.reliability(),
        "agreement_high": by_votes.bounds()[1],
        "side": habits.side(),
        "side_low": side_low,
        "side_high": side_high,
    }
    drifts = consensus.drift().tolist()
    found = []
    for number, (user_id, _) in enumerate(authors):
        if user_id is None:
            continue
        drift, drift_low, drift_high = drifts[number] if votes[number] >= FEWEST_VOTES else (None, None, None)
        found.append(
            Annotator(
                user_id=user_id,
                votes=votes[number],
                verdict=verdicts[number],
                drift=drift,
                drift_low=drift_low,
                drift_high=drift_high,
                **{name: float(column_W[number]) for name, column_W in columns.items()},
            )
        )
    return tuple(found)


def _believed(learnt: Known, names: Mapping[int, str]) -> Beliefs:
    votes, consensus = learnt.table.votes, learnt.consensus
    reliability = consensus.habits.reliability()
    weighs_less = np.array([verdict in ("unreliable", "unexplained") for verdict in learnt.verdicts], dtype=bool)
    belief_W = 2 * reliability - 1  # noqa: N806 - its shape
    weight_W = np.where(weighs_less, np.maximum(np.abs(belief_W), LEAST_WEIGHT), 1.0)  # noqa: N806
    of_pairs = {
        place: Belief(round(float(consensus.meant_V[vote]), 4), round(float(weight_W[votes.person_V[vote]]), 4))
        for vote, place in enumerate(learnt.table.places)
    }
    of_people = {
        names[user_id]: float(belief_W[number])
        for number, (user_id, _) in enumerate(learnt.table.authors)
        if user_id is not None and learnt.verdicts[number] not in ("new", "different")
    }
    told = {"strength": round(consensus.strength, 4), "temperature": round(consensus.temperature, 4)}
    return Beliefs(of_pairs, of_people, told)
