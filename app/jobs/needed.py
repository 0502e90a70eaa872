"""What a run works on, at hand in the home folder while it does: a storage may have to be asked for it first."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import DatasetVersion, ModelVersion, Run
from app.jobs.context import WorkerContext
from app.jobs.held_lease import HeldLease
from app.jobs.watched import Unwanted
from app.services.published.bucket import Heard
from app.services.published.shelf import Shelf, shelf_of
from app.services.published.thing import Published, of_dataset, of_model

MODELS = frozenset(
    {
        *("policy_id", "reference_id", "reward_id", "previous_reward_id", "held_out_reward_id", "cost_id"),
        *("averaged_id", "model_id"),
    }
)
"""Settings of runs that name a model version."""
DATASET = "dataset_version_id"


@asynccontextmanager
async def at_hand(context: WorkerContext, run_id: int, lease: HeldLease) -> AsyncIterator[None]:
    """Copy what the run's settings name, outside of every transaction, and keep it here until the block ends.

    Raises Unwanted when the run isn't to go on, Away and NoRoom.
    """
    shelf = shelf_of(context.home)
    if shelf.bucket is None:
        yield
        return
    things = await context.database.run(lambda db: _named_by(db, run_id))
    with ExitStack() as held:
        await asyncio.to_thread(_bring, shelf, things, held, while_wanted(context, lease))
        yield


def while_wanted(context: WorkerContext, lease: HeldLease) -> Heard:
    """Hears what passes to or from the storage for a run, and raises Unwanted when that isn't to go on."""

    def heard(_size_bytes: int) -> None:
        if lease.lost.is_set() or lease.cancel_requested.is_set() or context.stopping.is_set():
            raise Unwanted
        context.storage_waits.end()

    return heard


def _bring(shelf: Shelf, things: list[Published], held: ExitStack, heard: Heard) -> None:
    for thing in things:
        held.enter_context(shelf.using(thing, heard))


async def _named_by(db: AsyncSession, run_id: int) -> list[Published]:
    settings = (await db.get_one(Run, run_id, populate_existing=True)).settings
    ids = {settings[name] for name in MODELS & settings.keys()} - {None}
    models = await db.scalars(select(ModelVersion).where(ModelVersion.id.in_(ids)).order_by(ModelVersion.id))
    things = [of_model(model.folder, model.manifest_sha256) for model in models]
    dataset = await db.get(DatasetVersion, settings.get(DATASET) or 0)
    if dataset is not None and dataset.file_removed_at is None:
        things.append(of_dataset(dataset.path, dataset.sha256))
    return things
