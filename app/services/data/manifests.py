"""What a dataset version came from, so that it can be understood years later and cut again: its manifest.

A part is stored when the version is cut, for it is gone afterwards; the rest stands in the version's own columns.
"""

import hashlib
import json
from importlib.metadata import version as version_of
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import DatasetJudgement, DatasetVersion, Demonstration, Project, Prompt
from app.services.data import held

FORMAT = 1

HOLDS = {
    "preferences": "current judgements of this project: not of checks, not of held-out or excluded prompts, not erased;"
    " a record for each two responses that one says something of, by judgement and position",
    "demonstrations": "demonstrations of training prompts that are not excluded, not of changed judgements, not erased,"
    " in the order in which they came",
}


async def of_preferences(db: AsyncSession, project: Project) -> Json:
    """What is stored of a version whose judgements were remembered just now."""
    last = await db.scalar(select(func.max(held.HELD.c.id)))
    units, per_cent = await held.agreement(db)
    return {
        **await _of_now(db, "judgement", last),
        "guidelines": {
            "version": project.guidelines_version,
            "text": project.guidelines,
            "judgements": await held.guidelines(db),
        },
        "agreement": {"pairs_judged_by_several": units, "said_the_same": per_cent},
        "question": project.question,
        "question_sha256": _digest(project.question),
    }


async def of_demonstrations(db: AsyncSession, project: Project) -> Json:
    of_project = select(func.max(Demonstration.id)).join(Prompt, Prompt.id == Demonstration.prompt_id)
    return await _of_now(db, "demonstration", await db.scalar(of_project.where(Prompt.project_id == project.id)))


async def manifest(db: AsyncSession, project: Project, version: DatasetVersion) -> Json:
    """All of it. What nobody kept when the version was cut is null."""
    stored = version.manifest
    return {
        "format": FORMAT,
        "project": project.slug,
        "kind": version.kind,
        "number": version.number,
        "cut_at": version.created_at.isoformat(),
        "cut_by_run": version.run_id,
        "query": {
            "holds": HOLDS[version.kind],
            "prefers_verdicts": version.prefers_verdicts,
            "machines": version.machines,
        },
        "aggregation": _aggregation(version),
        "watermark": stored.get("watermark"),
        "guidelines": stored.get("guidelines"),
        "question": stored.get("question"),
        "question_sha256": stored.get("question_sha256"),
        "agreement": stored.get("agreement"),
        "code": stored.get("code"),
        "counts": {"rows": version.row_count, "judgements": await _held(db, version), **version.counts},
        "files": [{"path": version.path.rpartition("/")[2], "sha256": version.sha256, "rows": version.row_count}],
        "erased_from_at": version.erased_from_at and version.erased_from_at.isoformat(),
        "note": version.note,
        "tags": version.tags,
    }


def _aggregation(version: DatasetVersion) -> Json | None:
    """How several judgements of one task count: each by itself, or each as far as its author is believed."""
    if version.kind != "preferences":
        return None
    if version.believed is None:
        return {"kind": "each judgement by itself"}
    return {"kind": "soft labels by the annotator model", **version.believed}


async def _of_now(db: AsyncSession, what: str, last: Any) -> Json:
    """`snapshot` names the transactions that were under way, in PostgreSQL's words: what they made isn't held."""
    now, snapshot = (await db.execute(text("SELECT now(), pg_current_snapshot()::text"))).one()
    return {
        "watermark": {"at": now.isoformat(), "snapshot": snapshot, f"last_{what}_id": last},
        "code": {"plumbline": version_of("plumbline")},
    }


async def _held(db: AsyncSession, version: DatasetVersion) -> int:
    """Counted by the kinds of people in its counts, and without them from the database."""
    kinds = [version.counts.get(kind) for kind in ("human", "simulated", "imported", "machine", "unpaired")]
    if version.kind == "preferences" and any(kinds):
        return sum(kind or 0 for kind in kinds)
    held_by = select(func.count()).where(DatasetJudgement.dataset_version_id == version.id)
    return await db.scalar(held_by) or 0


def _digest(value: Json) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
