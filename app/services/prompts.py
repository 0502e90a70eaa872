"""Prompts: one row per conversation and project, and a split that follows from the text alone."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import Project, Prompt
from app.db.tables.content import Split

VALIDATION_SHARE = 0.1


@dataclass(frozen=True)
class NewPrompt:
    """A conversation that waits for a response; without `split` it is drawn from the digest."""

    messages: tuple[tuple[str, str], ...]
    source: str
    topic: str | None = None
    split: Split | None = None

    @property
    def json(self) -> list[Json]:
        return [{"role": role, "content": content} for role, content in self.messages]

    @property
    def digest(self) -> bytes:
        canonical = json.dumps(self.json, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).digest()


def split_of(digest: bytes) -> Split:
    """The split that follows from a prompt's digest: the same in every project and at every import."""
    drawn = int.from_bytes(digest[:8], "big") / 2**64
    return "validation" if drawn < VALIDATION_SHARE else "train"


async def put(db: AsyncSession, project: Project, new: Sequence[NewPrompt]) -> dict[bytes, int]:
    """Id of every prompt by its digest; those that the project has already keep their split, topic and source."""
    if not new:
        return {}
    rows = [
        {
            "project_id": project.id,
            "messages": prompt.json,
            "digest": prompt.digest,
            "split": prompt.split or split_of(prompt.digest),
            "topic": prompt.topic,
            "source": prompt.source,
        }
        for prompt in new
    ]
    await db.execute(insert(Prompt).on_conflict_do_nothing(index_elements=["project_id", "digest"]), rows)
    known = await db.execute(
        select(Prompt.digest, Prompt.id).where(
            Prompt.project_id == project.id, Prompt.digest.in_([row["digest"] for row in rows])
        )
    )
    return {digest: prompt_id for digest, prompt_id in known}  # noqa: C416 - rows are no pairs to a type checker
