"""Comparisons from elsewhere: each is a prompt, two completions, a closed task and a judgement of kind imported. And
demonstrations."""

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.db.tables import Completion, Demonstration, Judgement, Project, Task, TaskCompletion
from app.errors import Invalid
from app.services import prompts
from app.services.data.files import BadRow
from app.services.data.hh_rlhf import Pair, read_pairs
from app.services.data.trl_demonstrations import Shown, read_demonstrations
from app.services.judging.answers import Answer
from app.services.prompts import NewPrompt

BATCH = 500
BETTER = 2  # of the seven choices, when a file says which response won but not by how much
AS_STORED = [0, 1]

RowT = TypeVar("RowT")


@dataclass(frozen=True)
class ImportReport:
    """`imported` rows are new, `already_there` were in the project or came twice in the file, `bad` can't be used."""

    rows: int
    imported: int
    already_there: int
    bad: tuple[BadRow, ...]


class _HasBadRows(Exception):
    """Takes the savepoint back."""


async def import_hh(
    db: AsyncSession,
    project: Project,
    file: Path,
    *,
    skip_bad: bool,
    choice: int = BETTER,
    demonstrate: bool = False,
) -> ImportReport:
    """Read hh-rlhf transcripts, plain or gzip. With a bad row and without `skip_bad` nothing at all is imported.

    `choice` (1 to 3) is how much better the chosen response is said to be; `demonstrate` makes demonstrations of the
    chosen responses too, for SFT to learn from. Raises Invalid for a file that breaks off.
    """
    if choice not in (1, 2, 3):
        raise Invalid("An imported choice is 1 (much better), 2 (better) or 3 (slightly better).")

    async def take(pairs: Sequence[Pair]) -> int:
        new = await _import(db, project, pairs, file.name, choice)
        if demonstrate:
            await _demonstrate(db, project, [Shown(pair.prompt, pair.chosen) for pair in pairs], file.name)
        return new

    return await _import_rows(db, project, read_pairs(file), take, skip_bad=skip_bad)


async def import_demonstrations(db: AsyncSession, project: Project, file: Path, *, skip_bad: bool) -> ImportReport:
    """Read responses to imitate, plain or gzip, for SFT to learn from. All or nothing as `import_hh`, and raises as
    that does."""

    async def take(shown: Sequence[Shown]) -> int:
        return await _demonstrate(db, project, shown, file.name)

    return await _import_rows(db, project, read_demonstrations(file), take, skip_bad=skip_bad)


async def _import_rows(
    db: AsyncSession,
    project: Project,
    found: Iterable[RowT | BadRow],
    take: Callable[[Sequence[RowT]], Awaitable[int]],
    *,
    skip_bad: bool,
) -> ImportReport:
    """`take` imports a batch and says how many rows of it are new."""
    # Two imports of one file at once: the second finds what the first brought.
    await db.execute(select(Project.id).where(Project.id == project.id).with_for_update(key_share=True))
    bad: list[BadRow] = []
    rows = imported = 0
    try:
        async with db.begin_nested():
            for batch in _batches(found):
                rows += len(batch)
                bad += [row for row in batch if isinstance(row, BadRow)]
                if skip_bad or not bad:
                    imported += await take([row for row in batch if not isinstance(row, BadRow)])
            if bad and not skip_bad:
                raise _HasBadRows
    except _HasBadRows:
        return ImportReport(rows, 0, 0, tuple(bad))
    return ImportReport(rows, imported, rows - imported - len(bad), tuple(bad))


def _batches(rows: Iterable[RowT]) -> Iterator[list[RowT]]:
    iterator = iter(rows)
    while batch := list(islice(iterator, BATCH)):
        yield batch


async def _import(db: AsyncSession, project: Project, pairs: Sequence[Pair], file_name: str, choice: int) -> int:
    """How many of `pairs` were new."""
    asked = [NewPrompt(pair.prompt, source=file_name[:200]) for pair in pairs]
    prompt_ids = await prompts.put(db, project, asked)
    known = await _known(db, list(prompt_ids.values()))
    new: dict[tuple[int, str, str], bytes] = {}
    for pair, prompt in zip(pairs, asked, strict=True):
        key = (prompt_ids[prompt.digest], pair.chosen, pair.rejected)
        if key not in known:
            new[key] = prompt.digest
    if new:
        await _insert(db, project, new, choice)
    return len(new)


async def _demonstrate(db: AsyncSession, project: Project, shown: Sequence[Shown], file_name: str) -> int:
    """How many were new: each response counts once for its prompt."""
    asked = [NewPrompt(one.prompt, source=file_name[:200]) for one in shown]
    prompt_ids = await prompts.put(db, project, asked)
    wanted = {(prompt_ids[prompt.digest], one.response): None for one, prompt in zip(shown, asked, strict=True)}
    known = select(Demonstration.prompt_id, Demonstration.text).where(Demonstration.prompt_id.in_(prompt_ids.values()))
    for prompt_id, text in await db.execute(known):
        wanted.pop((prompt_id, text), None)
    if wanted:
        rows = [{"prompt_id": prompt_id, "text": text, "source": "imported"} for prompt_id, text in wanted]
        await db.execute(insert(Demonstration), rows)
    return len(wanted)


async def _known(db: AsyncSession, prompt_ids: Sequence[int]) -> set[tuple[int, str, str]]:
    """What was imported about these prompts before: (prompt, chosen, rejected)."""
    at_chosen, at_rejected = aliased(TaskCompletion), aliased(TaskCompletion)
    chosen, rejected = aliased(Completion), aliased(Completion)
    rows = await db.execute(
        select(Task.prompt_id, chosen.text, rejected.text)
        .join(Judgement, Judgement.task_id == Task.id)
        .join(at_chosen, at_chosen.task_id == Task.id)
        .join(at_rejected, at_rejected.task_id == Task.id)
        .join(chosen, chosen.id == at_chosen.completion_id)
        .join(rejected, rejected.id == at_rejected.completion_id)
        .where(
            Task.prompt_id.in_(prompt_ids),
            Judgement.kind == "imported",
            (at_chosen.position == 0) == (Judgement.preference > 0),
            (at_rejected.position == 0) == (Judgement.preference < 0),
        )
    )
    return {(prompt_id, text, other) for prompt_id, text, other in rows}


async def _insert(db: AsyncSession, project: Project, pairs: dict[tuple[int, str, str], bytes], choice: int) -> None:
    keys = list(pairs)
    places = [_place_of_chosen(digest, chosen, rejected) for (_, chosen, rejected), digest in pairs.items()]
    texts = [
        {"prompt_id": prompt_id, "text": text, "source": "imported"}
        for (prompt_id, chosen, rejected), place in zip(keys, places, strict=True)
        for text in ((chosen, rejected) if place == 0 else (rejected, chosen))
    ]
    in_order = insert(Completion).returning(Completion.id, sort_by_parameter_order=True)
    completion_ids = (await db.scalars(in_order, texts)).all()
    closed = {"project_id": project.id, "state": "closed", "quota": 1, "taken": 1, "judged": 1}
    task_ids = (
        await db.scalars(
            insert(Task).returning(Task.id, sort_by_parameter_order=True),
            [{**closed, "prompt_id": prompt_id, "selection": {"rule": "imported"}} for prompt_id, _, _ in keys],
        )
    ).all()
    await db.execute(
        insert(TaskCompletion),
        [
            {"task_id": task_ids[number // 2], "position": number % 2, "completion_id": completion_id}
            for number, completion_id in enumerate(completion_ids)
        ],
    )
    answers = [Answer(choice if place == 0 else 8 - choice) for place in places]
    await db.execute(
        insert(Judgement),
        [
            {
                "project_id": project.id,
                "task_id": task_id,
                "kind": "imported",
                "shown_order": AS_STORED,
                **answer.to_row(AS_STORED),
                "guidelines_version": project.guidelines_version,
            }
            for task_id, answer in zip(task_ids, answers, strict=True)
        ],
    )


def _place_of_chosen(prompt_digest: bytes, chosen: str, rejected: str) -> int:
    """0 or 1, as good as drawn: a place that always held the better response would tell it."""
    return hashlib.sha256(prompt_digest + f"{chosen}\0{rejected}".encode()).digest()[0] % 2
