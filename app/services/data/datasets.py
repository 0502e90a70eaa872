"""Dataset versions: immutable files that training reads and programs download, cut from what is in the database.

A version is the same bytes for the same rows: records in the order of the judgements, nothing in them that depends on
when or where they were written. Files lie in `home/datasets/PROJECT/KIND-NUMBER.jsonl`.
"""

import asyncio
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sqlalchemy import BigInteger, func, insert, literal, select
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import ARRAY
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
from app.services import conditions
from training.records import (
    DemonstrationRecord,
    Message,
    PreferenceRecord,
    Record,
    Split,
    write_records,
)

# Of a scale to each side, the tie in the middle not among them.
LEVELS = {"seven": 3, "six": 3, "eight": 4}


class BrokenDataset(Conflict):
    """The file of a dataset version is missing or was changed."""


async def cut_preferences(
    db: AsyncSession, project: Project, *, home: Path, run_id: int | None = None
) -> DatasetVersion:
    """A version of all current judgements, imported ones included, checks and held-out prompts never.

    A judgement of a pair is one record, a ranking one for each two that are ranked, a choice of the best one for each
    that was not chosen; records of one ranking or choice share a group. An unchanged set is the latest version again.
    From here on its judgements can't be changed. Raises Conflict when there is none.
    """
    await _hold(db, project)
    rows = await _judged_pairs(db, project)
    if not rows:
        raise Conflict("There is no judgement yet to make a dataset of.")
    records = [record for _, record, _ in rows]
    kinds = Counter({judgement_id: kind for judgement_id, _, kind in rows}.values())
    counts = {
        "train": sum(record.split == "train" for record in records),
        "validation": sum(record.split == "validation" for record in records),
        "ties": sum(record.preference == 0.5 for record in records),
        **_labels_of_harm(records),
        **{kind: kinds[kind] for kind in sorted(kinds)},
    }
    version, is_new = await _cut(db, project, "preferences", records, counts, home, run_id)
    if is_new:
        ids = sql_cast(list(dict.fromkeys(judgement_id for judgement_id, _, _ in rows)), ARRAY(BigInteger))
        held = select(literal(version.id), func.unnest(ids))
        await db.execute(insert(DatasetJudgement).from_select(["dataset_version_id", "judgement_id"], held))
    return version


async def cut_demonstrations(
    db: AsyncSession, project: Project, *, home: Path, run_id: int | None = None
) -> DatasetVersion:
    """A version with the demonstrations of the training prompts; an unchanged set is the latest version again."""
    await _hold(db, project)
    records = await demonstrations(db, project.id, "train")
    if not records:
        raise Conflict("There is no demonstration yet to make a dataset of.")
    version, _ = await _cut(db, project, "demonstrations", records, {}, home, run_id)
    return version


async def demonstrations(db: AsyncSession, project_id: int, split: Split) -> list[DemonstrationRecord]:
    """The demonstrations that count, in the order in which they came: not of a judgement that was changed."""
    rows = await db.execute(
        select(Prompt.id, Prompt.messages, Demonstration.text)
        .join(Demonstration, Demonstration.prompt_id == Prompt.id)
        .outerjoin(Judgement, Judgement.id == Demonstration.judgement_id)
        .where(Prompt.project_id == project_id, Prompt.split == split, Judgement.superseded_by.is_(None))
        .order_by(Demonstration.id)
    )
    return [DemonstrationRecord(str(prompt_id), _conversation(messages), text) for prompt_id, messages, text in rows]


async def list_versions(db: AsyncSession, project_id: int, kind: DatasetKind = "preferences") -> list[DatasetVersion]:
    """Newest first."""
    return list(
        await db.scalars(
            select(DatasetVersion)
            .where(DatasetVersion.project_id == project_id, DatasetVersion.kind == kind)
            .order_by(DatasetVersion.number.desc())
        )
    )


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


def verify(version: DatasetVersion, home: Path) -> Path:
    """The version's file, after reading all of it. Raises BrokenDataset unless it is byte for byte what was cut."""
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


async def _judged_pairs(db: AsyncSession, project: Project) -> list[tuple[int, PreferenceRecord, str]]:
    """Judgement, record and kind, in the order of the judgements and of the responses' positions."""
    first, second = aliased(Completion), aliased(Completion)
    at_first, at_second = aliased(TaskCompletion), aliased(TaskCompletion)
    rows = await db.execute(
        select(
            Judgement.id, Judgement.kind, Judgement.answer_type, Judgement.preference, Judgement.ranks,
            Judgement.criteria, Judgement.safe, Judgement.less_harmful, Judgement.strength_said,
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
            *conditions.labels_of(project.id),
            Prompt.split != "held_out",
        )
        .order_by(Judgement.id, at_first.position, at_second.position)
    )  # fmt: skip
    records = []
    for row in rows:
        ranks = row.ranks and (row.ranks[row.position_a], row.ranks[row.position_b])
        probability = _probability(row.answer_type, row.preference, ranks)
        if probability is None:
            continue
        record = PreferenceRecord(
            prompt_id=str(row.prompt_id),
            prompt=_conversation(row.messages),
            response_a=row.text_a,
            response_b=row.text_b,
            preference=probability,
            split=cast(Split, row.split),
            source=f"{row.kind}:{row.id}",
            group="" if ranks is None else f"{row.kind}:{row.id}",
            strength=_strength(row.answer_type, row.preference) if _is_strength_said(row) else None,
            criteria={name: (side + 1) / 2 for name, side in sorted(row.criteria.items())},
            safe_a=None if row.safe is None else row.safe[0],
            safe_b=None if row.safe is None else row.safe[1],
            less_harmful=None if row.less_harmful is None else (row.less_harmful + 1) / 2,
        )
        records.append((row.id, record, row.kind))
    return records


def _labels_of_harm(records: Sequence[PreferenceRecord]) -> Json:
    """How many responses were called safe and unsafe, where anybody was asked."""
    said = Counter(safe for record in records for safe in (record.safe_a, record.safe_b) if safe is not None)
    return {"safe_responses": said[True], "unsafe_responses": said[False]} if said else {}


def _probability(answer_type: str, preference: int | None, ranks: tuple[int | None, int | None] | None) -> float | None:
    """That the first of two is better; None where nothing was said of the two.

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


async def _cut(
    db: AsyncSession,
    project: Project,
    kind: DatasetKind,
    records: Sequence[Record],
    counts: Json,
    home: Path,
    run_id: int | None,
) -> tuple[DatasetVersion, bool]:
    """The new version, or the latest one if it holds the same bytes; and whether it is new."""
    latest = await db.scalar(
        select(DatasetVersion)
        .where(DatasetVersion.project_id == project.id, DatasetVersion.kind == kind)
        .order_by(DatasetVersion.number.desc())
        .limit(1)
    )
    file = await asyncio.to_thread(_write, home, project.slug, kind, records, latest)
    if latest is not None and file.path == latest.path:
        return latest, False
    version = DatasetVersion(
        project_id=project.id,
        kind=kind,
        number=latest.number + 1 if latest else 1,
        path=file.path,
        sha256=file.sha256,
        row_count=len(records),
        counts=counts,
        run_id=run_id,
    )
    db.add(version)
    await db.flush()
    return version, True


@dataclass(frozen=True)
class _File:
    """What was written: path relative to the home folder, and its fingerprint."""

    path: str
    sha256: str


def _write(home: Path, slug: str, kind: DatasetKind, records: Iterable[Record], latest: DatasetVersion | None) -> _File:
    """The records' file, under the number after `latest`, or in its place if they are the same: a lost file is back."""
    folder = home / "datasets" / slug
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f"{kind}-draft.jsonl"
    write_records(draft, records)
    sha256 = _sha256(draft)
    number = latest.number + 1 if latest else 1
    path = f"datasets/{slug}/{kind}-{number:04}.jsonl"
    if latest is not None and latest.sha256 == sha256:
        path = latest.path
    draft.replace(home / path)
    _sync_folder(folder)
    return _File(path, sha256)


def _sync_folder(folder: Path) -> None:
    """A rename is on disk only once its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _conversation(messages: list[Json]) -> tuple[Message, ...]:
    return tuple(Message.from_json(message) for message in messages)
