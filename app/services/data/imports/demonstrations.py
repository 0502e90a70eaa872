"""Responses to imitate: a demonstration for each row."""

from collections.abc import Sequence

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Demonstration, Project
from app.services import prompts
from app.services.data.imports.format import Maker, Wanted
from app.services.data.imports.rows import DemonstrationRow
from app.services.prompts import NewPrompt


async def put(db: AsyncSession, project: Project, rows: Sequence[DemonstrationRow], wanted: Wanted) -> int:
    """How many were new: each response counts once for its prompt."""
    asked = [NewPrompt(row.prompt, source=wanted.source) for row in rows]
    prompt_ids = await prompts.put(db, project, asked)
    new = {(prompt_ids[prompt.digest], row.response): None for row, prompt in zip(rows, asked, strict=True)}
    known = select(Demonstration.prompt_id, Demonstration.text).where(Demonstration.prompt_id.in_(prompt_ids.values()))
    for prompt_id, text in await db.execute(known):
        new.pop((prompt_id, text), None)
    if new:
        values = [{"prompt_id": prompt_id, "text": text, "source": "imported"} for prompt_id, text in new]
        await db.execute(insert(Demonstration), values)
    return len(new)


DEMONSTRATIONS = Maker("demonstrations", put)
