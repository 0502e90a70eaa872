"""The pairs of a dataset version, one for each vote or one for all votes on the same two responses."""

import asyncio
from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import select

from app.db.base import Json
from app.db.tables import DatasetJudgement, Judgement, Prompt, Task, User
from app.errors import Conflict
from app.services.data import datasets, judged_pairs
from app.services.data.exports.annotations import Annotation, annotations_from, pseudonyms
from app.services.data.exports.filters import narrowed
from app.services.data.exports.records import AT_ONCE, Record, some_records
from app.services.data.exports.schema import Reading


class Pair(NamedTuple):
    """Two responses and what was said of them. `preference` is the probability that the first one is better; `strength`
    how much better the better one was said to be, from 0 to 1. Of several `votes` both are their mean.
    """

    record: Record
    preference: float
    strength: float
    votes: int = 1
    is_counted: bool = False

    @property
    def prompt(self) -> list[Json]:
        prompt: list[Json] = self.record["prompt"]
        return prompt

    @property
    def split(self) -> str:
        split: str = self.record.get("split", "train")
        return split

    @property
    def is_tie(self) -> bool:
        return self.preference == 0.5

    @property
    def sides(self) -> tuple[str, str]:
        """The better response and the other; of a tie the first one first."""
        record = self.record
        if self.preference >= 0.5:
            return record["response_a"], record["response_b"]
        return record["response_b"], record["response_a"]

    @property
    def counted(self) -> Json:
        """What rows say more that stand for several votes."""
        if not self.is_counted:
            return {}
        return {"votes": self.votes, "probability": round(max(self.preference, 1 - self.preference), 6)}


class SaidPair(NamedTuple):
    """A pair with who said it."""

    pair: Pair
    judgement_id: int
    annotation: Annotation


async def pairs(reading: Reading) -> AsyncGenerator[list[Pair]]:
    """In the order of the judgements; of several votes the first one's place is that of all.

    Raises ErasedFrom and BrokenDataset before the first, Conflict where the version was cut without the annotator model
    that is asked for.
    """
    source = await _Source.open(reading)
    if reading.votes == "each":
        async for records in source.records():
            yield [Pair(record, record["preference"], record.get("strength") or 0.0) for record in records]
        return
    counts = _Counts()
    async for records in source.records():
        await asyncio.to_thread(counts.add, records)
    async for records in source.records():
        yield await asyncio.to_thread(counts.take, records, is_hard=reading.votes == "majority")


async def said_pairs(reading: Reading) -> AsyncGenerator[list[SaidPair]]:
    """Each vote with who gave it, under a pseudonym."""
    names = await pseudonyms(reading.db, reading.version.project_id)
    async with aclosing(pairs(reading)) as found:
        async for some in found:
            ids = [judgement_of(pair.record) for pair in some]
            told = await annotations_from(reading.db, reading.version, names, ids)
            yield [SaidPair(pair, number, told[number]) for pair, number in zip(some, ids, strict=True)]


def judgement_of(record: Record) -> int:
    """Id of the judgement that a record is of."""
    return int(record["source"].partition(":")[2])


class _Source:
    """Where the records of a version come from, as often as they are needed.

    That is its file, but for votes on versions whose file holds what an annotator model makes of them: what was said is
    in the database alone.
    """

    def __init__(self, reading: Reading, file: Path, kept: Sequence[int] | None) -> None:
        self._reading = reading
        self._file = file
        self._kept = kept
        self._is_believed = reading.version.believed is not None and reading.votes in ("majority", "soft")

    @classmethod
    async def open(cls, reading: Reading) -> "_Source":
        if reading.votes == "posterior" and reading.version.believed is None:
            raise Conflict("This version was cut without the annotator model: all are taken at their word in it.")
        file = await asyncio.to_thread(datasets.verify, reading.version, reading.home)
        return cls(reading, file, await _kept(reading) if reading.filters.narrows else None)

    async def records(self) -> AsyncIterator[list[Record]]:
        async for records in self._said() if self._is_believed else self._written():
            yield records if self._wants_all else [record for record in records if self._is_wanted(record)]

    @property
    def _wants_all(self) -> bool:
        return self._kept is None and self._reading.filters.split is None

    def _is_wanted(self, record: Record) -> bool:
        split = self._reading.filters.split
        if split is not None and record.get("split", "train") != split:
            return False
        return self._kept is None or _holds(self._kept, judgement_of(record))

    async def _written(self) -> AsyncIterator[list[Record]]:
        with self._file.open("rb") as lines:
            while records := await asyncio.to_thread(some_records, lines):
                yield records

    async def _said(self) -> AsyncIterator[list[Record]]:
        db, version = self._reading.db, self._reading.version
        held = select(DatasetJudgement.judgement_id).where(DatasetJudgement.dataset_version_id == version.id)
        weight_of = {machine["name"]: machine["weight"] for machine in version.machines}
        machines = await db.execute(select(User.id, User.name).where(User.name.in_(weight_of)))
        # Whoever is called something else since then weighs as little as the least.
        weights: dict[int, float] = defaultdict(lambda: min(weight_of.values(), default=1.0))
        weights.update({user_id: weight_of[name] for user_id, name in machines})
        async with aclosing(judged_pairs.counted(db, [Judgement.id.in_(held)], weights, None)) as found:
            async for pairs in found:
                yield [pair.record.to_json() for pair in pairs]


async def _kept(reading: Reading) -> Sequence[int]:
    """Ids of the judgements that match, in their order: eight bytes each, since there may be a million."""
    ids = array("q")
    found = await reading.db.stream_scalars(
        select(Judgement.id)
        .join(DatasetJudgement, DatasetJudgement.judgement_id == Judgement.id)
        .join(Task, Task.id == Judgement.task_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .where(
            DatasetJudgement.dataset_version_id == reading.version.id,
            *await narrowed(reading.db, reading.version, reading.filters),
        )
        .order_by(Judgement.id)
    )
    async for some in found.partitions(AT_ONCE):
        ids.extend(some)
    return ids


def _holds(ids: Sequence[int], number: int) -> bool:
    place = bisect_left(ids, number)
    return place < len(ids) and ids[place] == number


class _Counts:
    """Votes by pair, in whatever order its responses stand in a task. Pairs are known by a digest, and what is counted
    of each lies in arrays, since there may be a million.
    """

    def __init__(self) -> None:
        self._place: dict[int, int] = {}
        self._weight = array("d")
        self._first = array("d")
        self._strength = array("d")
        self._votes = array("l")

    def add(self, records: Sequence[Record]) -> None:
        """Count what these say."""
        for record in records:
            place = self._place.setdefault(_key(record), len(self._votes))
            if place == len(self._votes):
                self._votes.append(0)
                for sums in (self._weight, self._first, self._strength):
                    sums.append(0.0)
            weight = record.get("weight", 1.0)
            preference = 1 - record["preference"] if _is_turned(record) else record["preference"]
            self._votes[place] += 1
            self._weight[place] += weight
            self._first[place] += weight * preference
            self._strength[place] += weight * (record.get("strength") or 0.0) * (2 * (preference >= 0.5) - 1)

    def take(self, records: Sequence[Record], *, is_hard: bool) -> list[Pair]:
        """The pairs of these records that were not taken before."""
        taken = []
        for record in records:
            place = self._place[_key(record)]
            votes = self._votes[place]
            if not votes:
                continue
            self._votes[place] = 0
            taken.append(self._pair(record, place, votes, is_hard))
        return taken

    def _pair(self, record: Record, place: int, votes: int, is_hard: bool) -> Pair:
        weight = self._weight[place]
        preference = self._first[place] / weight
        if abs(preference - 0.5) < 1e-9:
            preference = 0.5
        strength = self._strength[place] / weight * (1 if preference >= 0.5 else -1)
        if _is_turned(record):
            preference = 1 - preference
        if is_hard and preference != 0.5:
            preference = float(preference > 0.5)
        return Pair(record, preference, max(strength, 0.0), votes, True)


def _key(record: Record) -> int:
    """Which pair it is: two that differ have the same with a probability of 10⁻⁷ among a million."""
    told = "\0".join((record["prompt_id"], *sorted((record["response_a"], record["response_b"]))))
    return int.from_bytes(blake2b(told.encode(), digest_size=8).digest())


def _is_turned(record: Record) -> bool:
    """Whether its responses stand in the other order than that in which votes on them are counted."""
    turned: bool = record["response_a"] > record["response_b"]
    return turned
