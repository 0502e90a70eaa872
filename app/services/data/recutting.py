"""A version cut again from what was kept of it: the same bytes, or precisely why not."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version as version_of
from typing import BinaryIO

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import DatasetJudgement, DatasetVersion, Judgement, Prompt, Task
from app.services.data import datasets, judged_pairs
from training.records import Record, json_line


@dataclass(frozen=True)
class CutAgain:
    """`reasons` say why it isn't the same; none where it is."""

    sha256: str
    rows: int
    reasons: tuple[str, ...]

    @property
    def is_same(self) -> bool:
        return not self.reasons


async def cut_again(db: AsyncSession, version: DatasetVersion, file: BinaryIO | None = None) -> CutAgain:
    """Read once more what the version holds, with the splits and weights of then; into `file` if there is one."""
    digest, rows = hashlib.sha256(), 0
    async for records in _records(db, version):
        content = "".join(map(json_line, records)).encode()
        digest.update(content)
        rows += len(records)
        if file is not None:
            file.write(content)
    sha256 = digest.hexdigest()
    if sha256 == version.sha256:
        return CutAgain(sha256, rows, ())
    of_kind = _of_preferences if version.kind == "preferences" else _of_demonstrations
    return CutAgain(sha256, rows, await of_kind(db, version, rows) or (_unexplained(version),))


async def _records(db: AsyncSession, version: DatasetVersion) -> AsyncIterator[Sequence[Record]]:
    if version.kind == "preferences":
        async for pairs in judged_pairs.held(db, version):
            yield [pair.record for pair in pairs]
    else:
        last = version.manifest.get("watermark", {}).get("last_demonstration_id")
        yield await datasets.demonstrations(db, version.project_id, "train", last_id=last)


async def _of_preferences(db: AsyncSession, version: DatasetVersion, rows: int) -> tuple[str, ...]:
    erased, changed, unkept, moved = (
        await db.execute(
            select(
                func.count().filter(Task.erased_at.is_not(None)),
                func.count().filter(Judgement.superseded_by.is_not(None)),
                func.count().filter(DatasetJudgement.split.is_(None)),
                func.count().filter(DatasetJudgement.split.is_(None), Prompt.split == "held_out"),
            )
            .select_from(DatasetJudgement)
            .join(Judgement, Judgement.id == DatasetJudgement.judgement_id)
            .join(Task, Task.id == Judgement.task_id)
            .join(Prompt, Prompt.id == Task.prompt_id)
            .where(DatasetJudgement.dataset_version_id == version.id)
        )
    ).one()
    return _said(
        (erased, "the texts of %s of its judgements were erased"),
        (changed, "%s of its judgements were changed since"),
        (unkept, "of %s of its judgements neither split nor weight was kept when it was cut"),
        (moved, "the prompts of %s of its judgements were moved to the held-out ones"),
    )


async def _of_demonstrations(db: AsyncSession, version: DatasetVersion, rows: int) -> tuple[str, ...]:
    """Demonstrations are not held one by one: how many are left tells whether some went."""
    went = max(0, version.row_count - rows)
    came = max(0, rows - version.row_count)
    return _said(
        (went, "%s of its demonstrations were erased, excluded, moved to another split or replaced by a new answer"),
        (came, "%s demonstrations came to the training prompts since, by being included or moved"),
    )


def _said(*found: tuple[int, str]) -> tuple[str, ...]:
    return tuple(reason % f"{count:,}" for count, reason in found if count)


def _unexplained(version: DatasetVersion) -> str:
    then, now = version.manifest.get("code", {}).get("plumbline"), version_of("plumbline")
    return f"its texts are others, or Plumbline {now} writes rows otherwise than {then or 'the one that cut it'}"
