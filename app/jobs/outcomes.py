"""What a training stage left behind, taken over into the database in the transaction that finishes its run."""

import asyncio
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import Completion, ModelVersion, Project, Run
from app.db.tables.lineage import ModelKind
from app.errors import Invalid
from app.services.loop import artifacts, leases, models, round_rows, stages
from app.services.loop.artifacts import ArtifactBroken, Manifest
from app.services.loop.storable import storable
from training.records import CompletionRecord, RecordError, read_records

RESULT = "result.json"
ARTIFACT = "artifact"
COMPLETIONS = "completions.jsonl"

KIND_OF_STAGE: dict[str, ModelKind] = {
    "sft": "policy",
    "reward": "reward",
    "cost": "cost",
    "ppo": "policy",
    "dpo": "policy",
}

# Rows of one INSERT: PostgreSQL takes 65,535 parameters, a completion has eight.
INSERT_ROWS = 5_000


class BrokenOutcome(Invalid):
    """The training process left files that can't be trusted."""


@dataclass(frozen=True)
class Outcome:
    """A stage's result, read and checked. `source` is where its model is now, `target` where it is to stay."""

    result: Json
    manifest: Manifest | None
    source: Path
    target: Path
    completions: tuple[CompletionRecord, ...]


async def read(home: Path, project: Project, run: Run) -> Outcome | None:
    """What the stage has finished, None if it hasn't. Raises BrokenOutcome."""
    return await asyncio.to_thread(_read, home, project.slug, run)


async def take_over(db: AsyncSession, home: Path, run_id: int, token: int, outcome: Outcome) -> None:
    """Publish, register, and finish the run: all of it or nothing. Raises LeaseLost."""
    run = await leases.hold(db, run_id, token)
    project = await db.get_one(Project, run.project_id)
    match run.stage:
        case "sft":
            await _add_sft_policy(db, home, project, run, outcome)
        case "reward" | "cost" | "ppo" | "dpo":
            await _register(db, home, run, outcome)
        case "generate":
            await _add_completions(db, project, run, outcome.completions)
        case "evaluate":
            await _add_figures(db, run, outcome.result)
    await leases.finish(db, run.id, token, "succeeded", result=outcome.result)


def discard(home: Path, project: Project, run: Run) -> None:
    """Remove a result that can't be trusted, so that the next attempt makes it anew."""
    folder, target = _places(home, project.slug, run)
    (folder / RESULT).unlink(missing_ok=True)
    for broken in (folder / ARTIFACT, target):
        shutil.rmtree(broken, ignore_errors=True)


def _places(home: Path, slug: str, run: Run) -> tuple[Path, Path]:
    """The run's folder, and where its model stays: named after the run, because a run publishes one model at most,
    and a try that broke off between rename and commit is found again under the same name."""
    assert run.folder is not None
    kind = KIND_OF_STAGE.get(run.stage, run.stage)
    return home / run.folder, home / "models" / slug / f"{kind}-run-{run.id}"


def _read(home: Path, slug: str, run: Run) -> Outcome | None:
    folder, target = _places(home, slug, run)
    if not (folder / RESULT).exists():
        return None
    source = folder / ARTIFACT
    manifest = None
    if run.stage in KIND_OF_STAGE:
        manifest = _verified(target if target.exists() else source)
        if manifest.kind != KIND_OF_STAGE[run.stage]:
            raise BrokenOutcome(f"{source} holds a {manifest.kind} model.")
    try:
        completions = read_records(folder / COMPLETIONS, CompletionRecord) if run.stage == "generate" else []
    except (OSError, RecordError) as error:
        raise BrokenOutcome(f"The completions can't be read: {error}") from error
    return Outcome(_result(folder / RESULT), manifest, source, target, tuple(completions))


def _verified(folder: Path) -> Manifest:
    try:
        return artifacts.verify(folder)
    except ArtifactBroken as error:
        raise BrokenOutcome(error.message) from error


def _result(path: Path) -> dict[str, Any]:
    try:
        result = json.loads(path.read_bytes())
    except ValueError as error:
        raise BrokenOutcome(f"{path} is not JSON.") from error
    if not isinstance(result, dict):
        raise BrokenOutcome(f"{path} is not a JSON object.")
    return storable(result)


async def _register(db: AsyncSession, home: Path, run: Run, outcome: Outcome) -> ModelVersion:
    assert outcome.manifest is not None
    artifacts.move(outcome.source, outcome.target)
    made_from = run.settings
    return await models.register(
        db,
        project_id=run.project_id,
        kind=KIND_OF_STAGE[run.stage],
        run_id=run.id,
        folder=outcome.target.relative_to(home).as_posix(),
        manifest_sha256=outcome.manifest.sha256,
        parent_id=made_from.get("policy_id"),
        reference_id=made_from.get("reference_id"),
        reward_id=made_from.get("reward_id"),
        cost_id=made_from.get("cost_id"),
        dataset_version_id=made_from.get("dataset_version_id"),
        figures=outcome.result,
    )


async def _add_sft_policy(db: AsyncSession, home: Path, project: Project, run: Run, outcome: Outcome) -> None:
    """The project's first policy is put into use and writes the first pairs; a later one waits to be chosen."""
    version = await _register(db, home, run, outcome)
    if await models.promoted(db, run.project_id) is None:
        await models.promote(db, run.started_by_id, version, reason="The first policy.")
        await stages.start_generate(db, run.started_by_id, project)


async def _add_completions(
    db: AsyncSession, project: Project, run: Run, completions: tuple[CompletionRecord, ...]
) -> None:
    """Put what the policy wrote into the pool, and make pairs of it when people are short of them outside a round."""
    rows = [
        {
            "prompt_id": int(completion.prompt_id),
            "text": storable(completion.text),
            "source": "policy",
            "model_version_id": run.settings["policy_id"],
            "run_id": run.id,
            "sample": completion.sample,
            "temperature": completion.temperature,
            "token_count": completion.token_count,
            "ended_with_eos": completion.ended_with_eos,
        }
        for completion in completions
    ]
    for first in range(0, len(rows), INSERT_ROWS):
        await db.execute(insert(Completion).values(rows[first : first + INSERT_ROWS]).on_conflict_do_nothing())
    if run.round_id is None and await round_rows.active(db, project.id) is None:
        await stages.serve_pairs(db, project)


async def _add_figures(db: AsyncSession, run: Run, result: Json) -> None:
    version = await db.get_one(ModelVersion, run.settings["policy_id"])
    version.figures = {**version.figures, **result}
    await db.flush()
