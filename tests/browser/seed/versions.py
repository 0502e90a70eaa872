"""Versions of data and models, and what was decided about them."""

import hashlib
import json
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import DatasetVersion, Gate, ModelVersion, Project, Promotion, Round, Run, User
from app.services.loop.gates import gates
from tests.browser.seed.runs import hours_ago, make_run


async def make_dataset(
    db: AsyncSession, project: Project, kind: str, number: int, rows: int, counts: dict[str, int], run: Run
) -> DatasetVersion:
    digest = f"{number:02x}c4b1{kind[0].encode().hex()}" * 8
    version = DatasetVersion(
        project_id=project.id,
        kind=kind,
        number=number,
        path=f"datasets/{project.slug}/{kind}-{number}.jsonl",
        sha256=digest[:64],
        row_count=rows,
        counts=counts,
        run_id=run.id,
        created_at=run.started_at,
    )
    db.add(version)
    await db.flush()
    return version


async def make_version(
    db: AsyncSession, run: Run, kind: str, number: int, figures: dict[str, Any], **parents: int
) -> ModelVersion:
    version = ModelVersion(
        project_id=run.project_id,
        kind=kind,
        number=number,
        run_id=run.id,
        folder=f"models/{kind}-{number}",
        manifest_sha256=manifest_sha256(kind, number),
        figures=figures,
        created_at=run.finished_at,
        **parents,
    )
    run.result = figures
    db.add(version)
    await db.flush()
    return version


def write_models(home: Path) -> None:
    """The files of all versions that a seeded database holds."""
    for kind, number in (("policy", 1), ("policy", 2), ("policy", 3), ("reward", 1), ("reward", 2)):
        folder = home / "models" / f"{kind}-{number}"
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_bytes(_manifest(kind, number))
        (folder / "weights.txt").write_bytes(_weights(kind, number))


def manifest_sha256(kind: str, number: int) -> str:
    return hashlib.sha256(_manifest(kind, number)).hexdigest()


def _manifest(kind: str, number: int) -> bytes:
    files = {"weights.txt": hashlib.sha256(_weights(kind, number)).hexdigest()}
    return json.dumps({"format": 1, "kind": kind, "files": files}).encode()


def _weights(kind: str, number: int) -> bytes:
    return f"{kind} {number}".encode()


async def promote(
    db: AsyncSession,
    version: ModelVersion,
    previous: ModelVersion | None,
    *,
    hours: float,
    actor: User | None,
    reason: str,
) -> None:
    if previous is not None:
        previous.state = "archived"
        await db.flush()
    version.state, version.promoted_at = "promoted", hours_ago(hours)
    db.add(
        Promotion(
            project_id=version.project_id,
            model_version_id=version.id,
            previous_id=previous.id if previous else None,
            action="promote",
            actor_id=actor.id if actor else None,
            reason=reason,
            created_at=hours_ago(hours),
        )
    )
    await db.flush()


async def make_gate(
    db: AsyncSession,
    project: Project,
    round_: Round,
    step: str,
    version: ModelVersion,
    rules: tuple[gates.Rule, ...],
    hours: float,
) -> None:
    run = await make_run(db, project, "gate", hours=hours, minutes=0.05, round_=round_, step=step)
    run.result = {"passed": gates.passed(rules)}
    db.add(
        Gate(
            project_id=project.id,
            run_id=run.id,
            model_version_id=version.id,
            passed=gates.passed(rules),
            rules=[rule.to_json() for rule in rules],
        )
    )
    await db.flush()
