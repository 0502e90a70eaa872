"""Dataset versions: immutable files that training reads and programs download, cut from what is in the database.

A version is the same bytes for the same rows: records in the order of the judgements, nothing in them that depends on
when or where they were written. Files lie in `home/datasets/PROJECT/KIND-NUMBER.jsonl`.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Select, exists, func, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import DatasetJudgement, DatasetVersion, Demonstration, Judgement, Project, Prompt
from app.db.tables.lineage import DatasetKind
from app.errors import Conflict, NotFound
from app.phrases import phrase
from app.services import conditions
from app.services.data import held, judged_pairs, manifests
from app.services.data.beliefs import Beliefs
from app.services.data.drafts import Draft
from app.services.data.judged_pairs import conversation
from app.services.data.storing.loads import Watch
from app.services.judging.machines.counted import counted as counted_judges
from app.services.places.files import sha256_of
from app.services.projects.review import Review
from app.services.published.shelf import shelf_of
from app.services.published.thing import Broken, of_dataset
from training.records import DemonstrationRecord, PreferenceRecord, Split

NOTHING_SAID = phrase("There is no judgement yet to make a dataset of.")
NOTHING_DEMONSTRATED = phrase("There is no demonstration yet to make a dataset of.")


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
    await held.begin(db)
    current = select(func.count()).where(Judgement.project_id == project.id, Judgement.superseded_by.is_(None))
    total = await db.scalar(current) or 0
    with Draft(home, project.slug, "preferences") as draft:
        holdable = (*counted, Prompt.split != "held_out", ~Prompt.excluded)
        async for pairs in judged_pairs.counted(db, holdable, weight_of, beliefs):
            await asyncio.to_thread(draft.write, [pair.record for pair in pairs])
            for pair in pairs:
                tally.add(pair.judgement_id, pair.record, pair.kind)
            await held.remember(db, pairs)
            if watch is not None:
                watch.require_wanted()
                watch.tell(sum(tally.kinds.values()), total, "cutting")
        await held.remember_unpaired(db, counted)
        number = await held.count(db)
        unpaired = number - sum(tally.kinds.values())
        if not number:
            raise Conflict(NOTHING_SAID)
        counts = tally.counts() | ({"unpaired": unpaired} if unpaired else {})
        latest = await newest(db, project.id)
        is_same = _is_same(latest, draft) and latest is not None and await _holds(db, latest) == number
        settings: Json = {"prefers_verdicts": prefers_verdicts}
        if machines:
            settings["machines"] = [{"name": machine.name, "weight": machine.weight} for machine in machines]
        if beliefs is not None:
            settings["believed"] = beliefs.to_json()
        made = Made(counts, settings, await manifests.of_preferences(db, project), run_id)
        version = await _publish(db, project, draft, made, latest, is_same=is_same)
    if not is_same:
        await held.keep(db, version.id)
    return version


async def require_judgements(db: AsyncSession, project: Project) -> None:
    """Raises Conflict where nothing was said yet."""
    said = exists().where(
        Judgement.project_id == project.id, Judgement.superseded_by.is_(None), Judgement.kind != "machine"
    )
    if not await db.scalar(select(said)):
        raise Conflict(NOTHING_SAID)


async def require_demonstrations(db: AsyncSession, project: Project) -> None:
    """Raises Conflict where no training prompt has one."""
    if not await demonstrations(db, project.id, "train", most=1):
        raise Conflict(NOTHING_DEMONSTRATED)


async def cut_demonstrations(
    db: AsyncSession, project: Project, *, home: Path, run_id: int | None = None
) -> DatasetVersion:
    """A version with the demonstrations of the training prompts; an unchanged set is the latest version again."""
    await _hold(db, project)
    records = await demonstrations(db, project.id, "train")
    if not records:
        raise Conflict(NOTHING_DEMONSTRATED)
    with Draft(home, project.slug, "demonstrations") as draft:
        await asyncio.to_thread(draft.write, records)
        latest = await newest(db, project.id, "demonstrations")
        is_same = _is_same(latest, draft)
        made = Made({}, {}, await manifests.of_demonstrations(db, project), run_id)
        return await _publish(db, project, draft, made, latest, is_same=is_same)


async def demonstrations(
    db: AsyncSession, project_id: int, split: Split, *, last_id: int | None = None, most: int | None = None
) -> list[DemonstrationRecord]:
    """The demonstrations that count, in the order in which they came: not of a judgement that was changed."""
    until = true() if last_id is None else Demonstration.id <= last_id
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
            until,
        )
        .order_by(Demonstration.id)
        .limit(most)
    )
    return [DemonstrationRecord(str(prompt_id), conversation(messages), text) for prompt_id, messages, text in rows]


async def list_versions(
    db: AsyncSession, project_id: int, *, most: int = 50, before: int | None = None, tag: str | None = None
) -> list[DatasetVersion]:
    """Both kinds, newest first; `before`: those that are older than the one with this id."""
    found = in_project(project_id, tag=tag)
    if before is not None:
        found = found.where(DatasetVersion.id < before)
    return list(await db.scalars(found.order_by(DatasetVersion.id.desc()).limit(most)))


def in_project(project_id: int, *, tag: str | None = None) -> Select[DatasetVersion]:
    """The versions of a project, those with a tag alone if there is one."""
    found = select(DatasetVersion).where(DatasetVersion.project_id == project_id)
    return found if tag is None else found.where(DatasetVersion.tags.contains([tag]))


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
    """The version's file in the home, after reading all of it.

    Raises ErasedFrom, BrokenDataset unless it is byte for byte what was cut, and Away and NoRoom where it has to be
    copied from the storage.
    """
    require_whole(version)
    shelf, thing = shelf_of(home), of_dataset(version.path, version.sha256)
    try:
        path = shelf.bring(thing)
        if sha256_of(path) != version.sha256 and not shelf.heal(thing):
            raise Broken
    except OSError as error:
        raise BrokenDataset(f"The dataset file {version.path} can't be read: {error.strerror}.") from None
    except Broken:
        raise BrokenDataset(f"The dataset file {version.path} is not what was cut: its SHA-256 differs.") from None
    return path


async def _hold(db: AsyncSession, project: Project) -> None:
    """One cut at a time, and changes of judgements wait for it; leases and new judgements go on."""
    await db.execute(select(Project.id).where(Project.id == project.id).with_for_update(key_share=True))


@dataclass(frozen=True)
class Made:
    """What a version's row holds beside its file: see `DatasetVersion`."""

    counts: Json
    settings: Json
    manifest: Json
    run_id: int | None


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


async def _holds(db: AsyncSession, version: DatasetVersion) -> int:
    """How many judgements; what is said of single responses is in no file, so that files alone don't tell."""
    held = select(func.count()).where(DatasetJudgement.dataset_version_id == version.id)
    return await db.scalar(held) or 0


def _is_same(latest: DatasetVersion | None, draft: Draft) -> bool:
    """One from which something was erased is never cut again."""
    return latest is not None and latest.erased_from_at is None and latest.sha256 == draft.sha256


async def _publish(
    db: AsyncSession,
    project: Project,
    draft: Draft,
    made: Made,
    latest: DatasetVersion | None,
    *,
    is_same: bool,
) -> DatasetVersion:
    """The draft under the number after `latest`, or in its place if it is the same: a lost file is back."""
    if latest is not None and is_same:
        await asyncio.to_thread(_move, draft, latest.path)
        return latest
    number = await asyncio.to_thread(_free_number, draft, latest.number + 1 if latest else 1)
    path = _path_of(draft, number)
    await asyncio.to_thread(_move, draft, path)
    version = DatasetVersion(
        project_id=project.id,
        kind=draft.kind,
        number=number,
        path=path,
        sha256=draft.sha256,
        row_count=draft.count,
        counts=made.counts,
        settings=made.settings,
        manifest=made.manifest,
        run_id=made.run_id,
    )
    db.add(version)
    await db.flush()
    return version


def _move(draft: Draft, path: str) -> None:
    """Put the draft into its place, and into the storage where there is one. Raises Away."""
    draft.move(path)
    shelf_of(draft.home).keep(of_dataset(path, draft.sha256))


def _free_number(draft: Draft, number: int) -> int:
    """The first from `number` on under which the storage has nothing else: a cut that was taken back may have left it
    there. Raises Away."""
    shelf = shelf_of(draft.home)
    while shelf.is_taken(of_dataset(_path_of(draft, number), draft.sha256)):
        number += 1
    return number


def _path_of(draft: Draft, number: int) -> str:
    return f"{draft.folder}/{draft.kind}-{number:04}.jsonl"
