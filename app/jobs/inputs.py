"""What a training stage reads: its config and JSONL files, written from the database into the run's folder.

Written once per run and in full or not at all, so that a resumed attempt reads the same, and an attempt that was taken
for dead can't change what the next one reads.
"""

import asyncio
import json
import os
import shutil
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Run
from app.jobs.context import WorkerContext
from app.jobs.transactions import at_length
from app.jobs.work import work_of
from app.services.loop.runs import leases
from app.services.loop.stages.registry import TRAINING
from app.services.loop.stages.stage import Inputs
from training.records import write_records

FOLDER = "inputs"
CONFIG = "config.json"


async def prepare(context: WorkerContext, run: Run, token: int) -> Path:
    """The run's config, written now unless an earlier attempt has. Raises Invalid in words, LeaseLost."""
    assert run.folder is not None
    folder = context.home / run.folder / FOLDER
    if not (folder / CONFIG).exists():
        inputs = await context.database.run(at_length(lambda db: _gather(db, context.home, run.id, token)))
        await asyncio.to_thread(_write, folder, inputs, token)
    return folder / CONFIG


def discard(context: WorkerContext, run: Run) -> None:
    """Forget the inputs, so that a retry writes them anew."""
    assert run.folder is not None
    shutil.rmtree(context.home / run.folder / FOLDER, ignore_errors=True)


def _write(folder: Path, inputs: Inputs, token: int) -> None:
    temporary = folder.with_name(f".{FOLDER}-{token}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        for name, records in inputs.files.items():
            write_records(temporary / name, records)
        (temporary / CONFIG).write_text(json.dumps(inputs.config, indent=1) + "\n", encoding="utf-8")
        temporary.rename(folder)
    except OSError:
        if not (folder / CONFIG).exists():  # else another attempt was faster, with the same
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


async def _gather(db: AsyncSession, home: Path, run_id: int, token: int) -> Inputs:
    work = await work_of(db, home, await leases.hold(db, run_id, token))
    gathered = await TRAINING[work.run.stage].gather(work)
    names = {role: f"{role}.jsonl" for role in gathered.files}
    assert work.run.folder is not None
    folder = home / work.run.folder / FOLDER
    own = {name: _from(folder, home, value) for name, value in gathered.config.items()}
    config = {**own, **names, **work.run.settings["config"], "seed": work.seed}
    return Inputs(config, {names[role]: records for role, records in gathered.files.items()})


def _from(folder: Path, home: Path, value: object) -> object:
    """A place in the home as seen from the config's folder, so that a home can be moved between attempts."""
    if isinstance(value, str) and Path(value).is_relative_to(home):
        return os.path.relpath(value, folder)
    return value
