"""What a training stage left behind, taken over into the database in the transaction that finishes its run."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project, Run
from app.errors import Invalid
from app.jobs.work import work_of
from app.services.loop.models import artifacts
from app.services.loop.models.artifacts import ArtifactBroken, Manifest
from app.services.loop.runs import leases, starting
from app.services.loop.stages.registry import TRAINING
from app.services.loop.stages.stage import Outcome, TrainingStage
from app.services.loop.storable import storable
from app.services.published.shelf import shelf_of
from app.services.published.thing import of_model
from training.records import Record, RecordError, read_records

RESULT = "result.json"
ARTIFACT = "artifact"


class BrokenOutcome(Invalid):
    """The training process left files that can't be trusted."""


async def read(home: Path, project: Project, run: Run) -> Outcome | None:
    """What the stage has finished, None if it hasn't. Raises BrokenOutcome."""
    return await asyncio.to_thread(_read, home, project.slug, run)


async def take_over(db: AsyncSession, home: Path, run_id: int, token: int, outcome: Outcome) -> None:
    """Publish, register, and finish the run: all of it or nothing. Raises LeaseLost."""
    work = await work_of(db, home, await leases.hold(db, run_id, token))
    follows = await TRAINING[work.run.stage].take_over(work, outcome)
    if follows is not None:
        await starting.start(db, follows.started_by_id, work.project, follows.stage, inputs=follows.inputs)
    await leases.finish(db, run_id, token, "succeeded", result=outcome.result)


def publish(home: Path, outcome: Outcome) -> None:
    """Put the model into the storage, where there is one; done twice it is done once. Before the run is finished,
    outside of every transaction: it takes as long as the model is large. Raises Taken, Away."""
    if outcome.manifest is not None:
        place = outcome.target if outcome.target.exists() else outcome.source
        thing = of_model(outcome.target.relative_to(home).as_posix(), outcome.manifest.sha256)
        shelf_of(home).keep(thing, place)


def discard(home: Path, project: Project, run: Run) -> None:
    """Remove a result that can't be trusted, so that the next attempt makes it anew."""
    folder, target = _places(home, project.slug, run)
    (folder / RESULT).unlink(missing_ok=True)
    shelf_of(home).remove(target.relative_to(home).as_posix())
    for broken in (folder / ARTIFACT, target):
        shutil.rmtree(broken, ignore_errors=True)


def _places(home: Path, slug: str, run: Run) -> tuple[Path, Path]:
    """The run's folder, and where its model stays: named after the run, because a run publishes one model at most,
    and a try that broke off between rename and commit is found again under the same name."""
    assert run.folder is not None
    kind = TRAINING[run.stage].makes or run.stage
    return home / run.folder, home / "models" / slug / f"{kind}-run-{run.id}"


def _read(home: Path, slug: str, run: Run) -> Outcome | None:
    folder, target = _places(home, slug, run)
    list(folder.iterdir())  # one that is shared over a network is looked at anew by this, not by asking for a file
    if not (folder / RESULT).exists():
        return None
    source = folder / ARTIFACT
    manifest = None
    stage = TRAINING[run.stage]
    if stage.makes is not None:
        manifest = _verified(target if target.exists() else source)
        if manifest.kind != stage.makes:
            raise BrokenOutcome(f"{source} holds a {manifest.kind} model.")
    records = _records(folder, stage)
    return Outcome(_result(folder / RESULT), stage.makes, manifest, source, target, records)


def _records(folder: Path, stage: TrainingStage) -> tuple[Record, ...]:
    if stage.leaves is None:
        return ()
    name, kind = stage.leaves
    try:
        return tuple(read_records(folder / name, kind))
    except (OSError, RecordError) as error:
        raise BrokenOutcome(f"The completions can't be read: {error}") from error


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
