"""Comparisons from elsewhere: each is a prompt, two completions, a closed task and a judgement of kind imported."""

import hashlib
from collections.abc import Sequence

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.db.tables import Completion, Judgement, Project, Task, TaskCompletion
from app.services import prompts
from app.services.data.imports import demonstrations
from app.services.data.imports.format import Maker, Wanted
from app.services.data.imports.rows import ComparisonRow, DemonstrationRow
from app.services.judging.answers import Answer
from app.services.prompts import NewPrompt

AS_STORED = [0, 1]


async def put(db: AsyncSession, project: Project, rows: Sequence[ComparisonRow], wanted: Wanted) -> int:
    """How many were new."""
    asked = [NewPrompt(row.prompt, source=wanted.source) for row in rows]
    prompt_ids = await prompts.put(db, project, asked)
    known = await _known(db, list(prompt_ids.values()))
    new: dict[tuple[int, str, str], bytes] = {}
    for row, prompt in zip(rows, asked, strict=True):
        key = (prompt_ids[prompt.digest], row.chosen, row.rejected)
        if key not in known:
            new[key] = prompt.digest
    if new:
        await _insert(db, project, new, wanted.choice)
    if wanted.demonstrate:
        await demonstrations.put(db, project, [DemonstrationRow(row.prompt, row.chosen) for row in rows], wanted)
    return len(new)


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


COMPARISONS = Maker("comparisons", put)
