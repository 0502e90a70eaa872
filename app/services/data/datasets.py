"""Dataset versions: immutable files that training reads and programs download, cut from what is in the database.

A version is the same bytes for the same rows: records in the order of the judgements, nothing in them that depends on
when or where they were written. Files lie in `home/datasets/PROJECT/KIND-NUMBER.jsonl`.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from sqlalchemy import BigInteger, ColumnElement, column, exists, func, literal, select, table, text
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.db.base import Json
from app.db.tables import (
    Completion,
    DatasetJudgement,
    DatasetVersion,
    Demonstration,
    Judgement,
    Project,
    Prompt,
    Task,
    TaskCompletion,
)
from app.db.tables.lineage import DatasetKind
from app.errors import Conflict, NotFound
from app.phrases import phrase
from app.services import conditions
from app.services.data.beliefs import Beliefs
from app.services.data.drafts import Draft
from app.services.data.storing.loads import Watch
from app.services.judging.machines.counted import counted as counted_judges
from app.services.projects.review import Review
from training.records import (
    DemonstrationRecord,
    Message,
    PreferenceRecord,
    Split,
)

# A server-side cursor's rows, so that a version of any size takes little memory.
ROWS_AT_ONCE = 2_000
HELD = table("held_judgements", column("id"))

NOTHING_SAID = phrase("There is no judgement yet to make a dataset of.")

# Of a scale to each side, the tie in the middle not among them.
LEVELS = {"seven": 3, "six": 3, "eight": 4}


class BrokenDataset(Conflict):
    """The file of a dataset version is missing or was changed."""


class ErasedFrom(Conflict):
    """Something that this dataset version holds was erased since it was cut."""


async def cut_preferences(
    db: AsyncSession,
    project: Project,
    *,
    home: Path,
    run_id: int | None = None,
    prefers_verdicts: bool | None = None,
    takes_machines: bool | None = None,
    beliefs: Beliefs | None = None,
    watch: Watch | None = None,
) -> DatasetVersion:
    """A version of all current judgements, imported ones included; checks, held-out and excluded prompts never.

    What calibrated judges that are models say of training prompts is taken in by a weight below 1 with
    `takes_machines`; None goes by the project's setting. What the others say never is.

    Where a reviewer has decided a task, the verdict alone counts, or with `prefers_verdicts` false, no verdict does;
    None goes by the project's setting. With `beliefs` records to train on are soft labels; those to measure on stay
    what was said.

    A judgement of a pair is one record, a ranking one for each two that are ranked, a choice of the best one for each
    that was not chosen; records of one ranking or choice share a group. An unchanged set is the latest version again.
    From here on its judgements can't be changed. Raises Conflict when there is none.
    """
    await _hold(db, project)
    tally = _Tally()
    if prefers_verdicts is None:
        prefers_verdicts = Review.of(project.review).prefers_verdicts
    machines = await counted_judges(db, project, takes_machines)
    weight_of = {machine.user_id: machine.weight for machine in machines}
    counted = conditions.counted_in(project.id, prefers_verdicts=prefers_verdicts, machines=weight_of)
    await _hold_none_yet(db)
    current = select(func.count()).where(Judgement.project_id == project.id, Judgement.superseded_by.is_(None))
    total = await db.scalar(current) or 0
    with Draft(home, project.slug, "preferences") as draft:
        holdable = (*counted, Prompt.split != "held_out", ~Prompt.excluded)
        async for rows in judged_pairs(db, holdable, weight_of, beliefs):
            await asyncio.to_thread(draft.write, [record for _, record, _ in rows])
            for judgement_id, record, kind in rows:
                tally.add(judgement_id, record, kind)
            await _remember(db, [judgement_id for judgement_id, _, _ in rows])
            if watch is not None:
                watch.require_wanted()
                watch.tell(sum(tally.kinds.values()), total, "cutting")
        await _remember_unpaired(db, counted)
        held = await db.scalar(select(func.count()).select_from(HELD)) or 0
        unpaired = held - sum(tally.kinds.values())
        if not held:
            raise Conflict(NOTHING_SAID)
        counts = tally.counts() | ({"unpaired": unpaired} if unpaired else {})
        latest = await newest(db, project.id)
        is_same = _is_same(latest, draft) and latest is not None and await _holds(db, latest) == held
        settings: Json = {"prefers_verdicts": prefers_verdicts}
        if machines:
            settings["machines"] = [{"name": machine.name, "weight": machine.weight} for machine in machines]
        if beliefs is not None:
            settings["believed"] = beliefs.to_json()
        version = await _publish(db, project, draft, counts, run_id, latest, is_same=is_same, settings=settings)
    if not is_same:
        of_the_version = select(literal(version.id), HELD.c.id)
        await db.execute(insert(DatasetJudgement).from_select(["dataset_version_id", "judgement_id"], of_the_version))
    return version


async def require_judgements(db: AsyncSession, project: Project) -> None:
    """Raises Conflict where nothing was said yet."""
    said = exists().where(
        Judgement.project_id == project.id, Judgement.superseded_by.is_(None), Judgement.kind != "machine"
    )
    if not await db.scalar(select(said)):
        raise Conflict(NOTHING_SAID)


async def cut_demonstrations(
    db: AsyncSession, project: Project, *, home: Path, run_id: int | None = None
) -> DatasetVersion:
    """A version with the demonstrations of the training prompts; an unchanged set is the latest version again."""
    await _hold(db, project)
    records = await demonstrations(db, project.id, "train")
    if not records:
        raise Conflict("There is no demonstration yet to make a dataset of.")
    with Draft(home, project.slug, "demonstrations") as draft:
        await asyncio.to_thread(draft.write, records)
        latest = await newest(db, project.id, "demonstrations")
        is_same = _is_same(latest, draft)
        return await _publish(db, project, draft, {}, run_id, latest, is_same=is_same)


async def demonstrations(db: AsyncSession, project_id: int, split: Split) -> list[DemonstrationRecord]:
    """The demonstrations that count, in the order in which they came: not of a judgement that was changed."""
    rows = await db.execute(
        select(Prompt.id, Prompt.messages, Demonstration.text)
        .join(Demonstration, Demonstration.prompt_id == Prompt.id)
        .outerjoin(Judgement, Judgement.id == Demonstration.judgement_id)
        .where(
            Prompt.project_id == project_id,
            Prompt.split == split,
            ~Prompt.excluded,
            Prompt.erased_at.is_(None),
            Demonstration.erased_at.is_(None),
            Judgement.superseded_by.is_(None),
        )
        .order_by(Demonstration.id)
    )
    return [DemonstrationRecord(str(prompt_id), _conversation(messages), text) for prompt_id, messages, text in rows]


async def list_versions(
    db: AsyncSession, project_id: int, *, most: int = 50, before: int | None = None
) -> list[DatasetVersion]:
    """Both kinds, newest first; `before`: those that are older than the one with this id."""
    found = select(DatasetVersion).where(DatasetVersion.project_id == project_id)
    if before is not None:
        found = found.where(DatasetVersion.id < before)
    return list(await db.scalars(found.order_by(DatasetVersion.id.desc()).limit(most)))


async def newest(db: AsyncSession, project_id: int, kind: DatasetKind = "preferences") -> DatasetVersion | None:
    """The one with the highest number."""
    of_kind = (DatasetVersion.project_id == project_id, DatasetVersion.kind == kind)
    return await db.scalar(select(DatasetVersion).where(*of_kind).order_by(DatasetVersion.number.desc()).limit(1))


async def get_version(
    db: AsyncSession, project: Project, number: int, kind: DatasetKind = "preferences"
) -> DatasetVersion:
    version = await db.scalar(
        select(DatasetVersion).where(
            DatasetVersion.project_id == project.id, DatasetVersion.kind == kind, DatasetVersion.number == number
        )
    )
    if version is None:
        raise NotFound(f"The project {project.slug} has no {kind} dataset {number}.")
    return version


def require_whole(version: DatasetVersion) -> None:
    """Raises ErasedFrom where something in it was erased: it is neither served nor trained on any more."""
    if version.erased_from_at is not None:
        raise ErasedFrom(
            "Something in dataset version %(number)s was erased since it was cut. Cut a new one, which leaves it out.",
            number=version.number,
        )


def verify(version: DatasetVersion, home: Path) -> Path:
    """The version's file, after reading all of it.

    Raises ErasedFrom, and BrokenDataset unless it is byte for byte what was cut.
    """
    require_whole(version)
    path = home / version.path
    try:
        found = _sha256(path)
    except OSError as error:
        raise BrokenDataset(f"The dataset file {version.path} can't be read: {error.strerror}.") from None
    if found != version.sha256:
        raise BrokenDataset(f"The dataset file {version.path} is not what was cut: its SHA-256 differs.")
    return path


async def _hold(db: AsyncSession, project: Project) -> None:
    """One cut at a time, and changes of judgements wait for it; leases and new judgements go on."""
    await db.execute(select(Project.id).where(Project.id == project.id).with_for_update(key_share=True))


async def judged_pairs(
    db: AsyncSession,
    counted: Sequence[ColumnElement[bool]],
    weight_of: Mapping[int, float],
    beliefs: Beliefs | None,
) -> AsyncGenerator[list[tuple[int, PreferenceRecord, str]], None]:
    """Judgement, record and kind, in the order of the judgements and of the responses' positions, some at a time.

    `counted` are conditions on Judgement and Prompt; `weight_of` are the machines' weights by user.
    """
    first, second = aliased(Completion), aliased(Completion)
    at_first, at_second = aliased(TaskCompletion), aliased(TaskCompletion)
    found = await db.stream(
        select(
            Judgement.id, Judgement.kind, Judgement.annotator_id, Judgement.answer_type, Judgement.preference,
            Judgement.ranks, Judgement.criteria, Judgement.safe, Judgement.less_harmful, Judgement.strength_said,
            at_first.position.label("position_a"), at_second.position.label("position_b"),
            Prompt.id.label("prompt_id"), Prompt.messages, Prompt.split,
            first.text.label("text_a"), second.text.label("text_b"),
        )
        .join(Task, Task.id == Judgement.task_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .join(at_first, at_first.task_id == Task.id)
        .join(at_second, (at_second.task_id == Task.id) & (at_second.position > at_first.position))
        .join(first, first.id == at_first.completion_id)
        .join(second, second.id == at_second.completion_id)
        .where(
            *counted,
            Prompt.erased_at.is_(None),
            first.erased_at.is_(None),
            second.erased_at.is_(None),
        )
        .order_by(Judgement.id, at_first.position, at_second.position)
    )  # fmt: skip
    async for rows in found.partitions(ROWS_AT_ONCE):
        records = ((row, _record(row, weight_of)) for row in rows)
        yield [(row.id, _believed(row, record, beliefs), row.kind) for row, record in records if record is not None]


def _believed(row: Any, record: PreferenceRecord, beliefs: Beliefs | None) -> PreferenceRecord:
    if beliefs is None or record.split != "train":
        return record
    belief = beliefs.of_pairs.get((row.id, row.position_a, row.position_b))
    return record if belief is None else replace(record, preference=belief.preference, weight=belief.weight)


def _record(row: Any, weight_of: Mapping[int, float]) -> PreferenceRecord | None:
    """What is learnt from a judgement of two responses; None where nothing was said of the two."""
    ranks = row.ranks and (row.ranks[row.position_a], row.ranks[row.position_b])
    probability = first_is_better(row.answer_type, row.preference, ranks)
    if probability is None:
        return None
    return PreferenceRecord(
        prompt_id=str(row.prompt_id),
        prompt=_conversation(row.messages),
        response_a=row.text_a,
        response_b=row.text_b,
        preference=probability,
        weight=weight_of[row.annotator_id] if row.kind == "machine" else 1.0,
        split=cast(Split, row.split),
        source=f"{row.kind}:{row.id}",
        group="" if ranks is None or row.kind == "machine" else f"{row.kind}:{row.id}",
        strength=_strength(row.answer_type, row.preference) if _is_strength_said(row) else None,
        criteria={name: (side + 1) / 2 for name, side in sorted(row.criteria.items())},
        safe_a=None if row.safe is None else row.safe[0],
        safe_b=None if row.safe is None else row.safe[1],
        less_harmful=None if row.less_harmful is None else (row.less_harmful + 1) / 2,
    )


@dataclass
class _Tally:
    """What records say of a version, counted as they pass by in the order of their judgements."""

    splits: Counter[str] = field(default_factory=Counter)
    ties: int = 0
    safe: Counter[bool] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    last_id: int = 0

    def add(self, judgement_id: int, record: PreferenceRecord, kind: str) -> None:
        self.splits[record.split] += 1
        self.ties += record.preference == 0.5
        self.safe.update(safe for safe in (record.safe_a, record.safe_b) if safe is not None)
        if judgement_id != self.last_id:
            self.last_id = judgement_id
            self.kinds[kind] += 1

    def counts(self) -> Json:
        """How many responses were called safe and unsafe is told where anybody was asked."""
        harm = {"safe_responses": self.safe[True], "unsafe_responses": self.safe[False]} if self.safe else {}
        return {
            "train": self.splits["train"],
            "validation": self.splits["validation"],
            "ties": self.ties,
            **harm,
            **{kind: self.kinds[kind] for kind in sorted(self.kinds)},
        }


async def _hold_none_yet(db: AsyncSession) -> None:
    await db.execute(text("CREATE TEMP TABLE IF NOT EXISTS held_judgements (id bigint PRIMARY KEY) ON COMMIT DROP"))
    await db.execute(text("TRUNCATE held_judgements"))


async def _remember(db: AsyncSession, judgement_ids: Sequence[int]) -> None:
    """Judgements that the version which is being cut is to hold."""
    ids = sql_cast(list(dict.fromkeys(judgement_ids)), ARRAY(BigInteger))
    await db.execute(insert(HELD).from_select(["id"], select(func.unnest(ids))).on_conflict_do_nothing())


async def _remember_unpaired(db: AsyncSession, counted: Sequence[ColumnElement[bool]]) -> None:
    """The same for what files say of single responses: no pair, but KTO learns from it."""
    unpaired = (
        select(Judgement.id)
        .join(Task, Task.id == Judgement.task_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .where(
            *counted,
            Judgement.kind == "imported",
            Judgement.acceptable.is_not(None),
            func.cardinality(Judgement.acceptable) == 1,
            Prompt.split != "held_out",
            ~Prompt.excluded,
            Task.erased_at.is_(None),
        )
    )
    await db.execute(insert(HELD).from_select(["id"], unpaired).on_conflict_do_nothing())


async def _holds(db: AsyncSession, version: DatasetVersion) -> int:
    """How many judgements; what is said of single responses is in no file, so that files alone don't tell."""
    held = select(func.count()).where(DatasetJudgement.dataset_version_id == version.id)
    return await db.scalar(held) or 0


def first_is_better(
    answer_type: str, preference: int | None, ranks: tuple[int | None, int | None] | None
) -> float | None:
    """The probability that the first of two is better; None where nothing was said of the two.

    How much better says nothing about how sure, so strength doesn't enter. Unranked is not last, and of two that are
    not the best nobody said which is better.
    """
    if preference is not None:
        return 0.5 if preference == 0 else float(preference > 0)
    assert ranks is not None
    rank_a, rank_b = ranks
    if answer_type == "best":
        return None if rank_a is rank_b is None else float(rank_a == 1)
    if rank_a is None or rank_b is None:
        return None
    return 0.5 if rank_a == rank_b else float(rank_a < rank_b)


def _is_strength_said(row: Any) -> bool:
    """Of an imported pair only where its file said it."""
    return row.kind != "imported" or bool(row.strength_said)


def _strength(answer_type: str, preference: int | None) -> float | None:
    """How much better, between the least and the most of the scale's levels."""
    if not preference:
        return None
    return (abs(preference) - 1) / (LEVELS[answer_type] - 1)


def _is_same(latest: DatasetVersion | None, draft: Draft) -> bool:
    """One from which something was erased is never cut again."""
    return latest is not None and latest.erased_from_at is None and latest.sha256 == draft.sha256


async def _publish(
    db: AsyncSession,
    project: Project,
    draft: Draft,
    counts: Json,
    run_id: int | None,
    latest: DatasetVersion | None,
    *,
    is_same: bool,
    settings: Json | None = None,
) -> DatasetVersion:
    """The draft under the number after `latest`, or in its place if it is the same: a lost file is back."""
    number = latest.number + 1 if latest else 1
    path = f"{draft.folder}/{draft.kind}-{number:04}.jsonl"
    if latest is not None and is_same:
        await asyncio.to_thread(draft.move, latest.path)
        return latest
    await asyncio.to_thread(draft.move, path)
    version = DatasetVersion(
        project_id=project.id,
        kind=draft.kind,
        number=number,
        path=path,
        sha256=draft.sha256,
        row_count=draft.count,
        counts=counts,
        settings=settings or {},
        run_id=run_id,
    )
    db.add(version)
    await db.flush()
    return version


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _conversation(messages: list[Json]) -> tuple[Message, ...]:
    return tuple(Message.from_json(message) for message in messages)
