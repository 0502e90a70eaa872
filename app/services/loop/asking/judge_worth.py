"""How many labels of people the machines' judgements of a project have saved."""

import asyncio
from pathlib import Path

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project
from app.phrases import phrase
from app.services.judging.machines.counted import counted
from app.services.loop.asking import features as embedded
from app.services.loop.asking import said
from app.services.selection import label_worth
from app.services.selection.label_worth import MOST_LABELS, Worth

NO_FEATURES = phrase("The pairs haven’t been read by a policy, so what machines are worth can’t be measured.")


async def measure(db: AsyncSession, project: Project, home: Path, seed: int) -> Worth | None:
    """None where no judge is calibrated. What is computed is bounded, and in a thread."""
    weight_of = {judge.user_id: judge.weight for judge in await counted(db, project)}
    if not weight_of:
        return None
    folder = await embedded.folder_of_latest(db, project.id)
    found = None if folder is None else await asyncio.to_thread(embedded.read_features, home / folder)
    if found is None:
        return Worth(why=NO_FEATURES)
    people = await said.judged_pairs(db, project.id, found)
    machines = await said.judged_by_machines(db, found, weight_of)
    newest = np.arange(len(people)) < MOST_LABELS
    return await asyncio.to_thread(label_worth.worth_of, people.only(newest), machines, np.random.default_rng(seed))
