"""The short stages, done by the worker itself: select, snapshot, gate, promote.

Each runs in the transaction that also finishes its run, so that it happens once and in full or not at all.
"""

import random
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import Gate, ModelVersion, Project, Round, Run
from app.jobs.inputs import seed_of
from app.services.data import datasets
from app.services.judging import labels
from app.services.loop import gates, models, selection
from app.services.loop.gates import PolicyBounds, RewardBounds
from app.services.loop.round_settings import settings_of


async def perform(db: AsyncSession, run: Run, home: Path) -> Json:
    """Do what the run is for and return its result. Raises DomainError in words."""
    project = await db.get_one(Project, run.project_id)
    match run.stage:
        case "select":
            return await _select(db, project, run)
        case "snapshot":
            return await _snapshot(db, project, run, home)
        case "gate":
            return await _decide(db, run)
        case "promote":
            return await _promote(db, run)
        case stage:
            raise AssertionError(f"{stage} is no step of the worker's own")


async def _select(db: AsyncSession, project: Project, run: Run) -> Json:
    wanted = run.settings.get("count") or settings_of(project).pairs_wanted(project.overlap)
    round_ = await db.get_one(Round, run.round_id) if run.round_id is not None else None
    selected = await selection.make_tasks(
        db,
        project,
        count=wanted,
        rng=random.Random(seed_of(run)),
        round_id=run.round_id,
        # People see the newest round's pairs before what earlier rounds left over.
        priority=float(round_.number) if round_ else 0.0,
    )
    places = await selection.open_places(db, project.id)
    return {
        "pairs_wanted": selected.wanted,
        "pairs_made": selected.made,
        "policies": list(selected.model_version_ids),
        "open_places": places,
        "reachable_labels": places + await labels.labels_at_hand(db, project.id),
        "note": _note(selected.made, selected.wanted, places),
    }


def _note(made: int, wanted: int, places: int) -> str:
    if made >= wanted:
        return f"Made {made} new pairs."
    if made == 0:
        return f"No policy has written pairs that are not in use yet; the open tasks take {places} more judgements."
    return f"Made {made} new pairs, all that there were of the {wanted} asked for."


async def _snapshot(db: AsyncSession, project: Project, run: Run, home: Path) -> Json:
    version = await datasets.cut_preferences(db, project, home=home, run_id=run.id)
    return {"dataset_version_id": version.id, "number": version.number, "rows": version.row_count}


async def _decide(db: AsyncSession, run: Run) -> Json:
    version = await db.get_one(ModelVersion, run.settings["model_version_id"])
    if version.kind == "reward":
        rules = gates.reward_rules(version.figures, RewardBounds.model_validate(run.settings["bounds"]))
    else:
        rules = gates.policy_rules(version.figures, PolicyBounds.model_validate(run.settings["bounds"]))
    passed = gates.passed(rules)
    db.add(
        Gate(
            project_id=run.project_id,
            run_id=run.id,
            model_version_id=version.id,
            passed=passed,
            rules=[rule.to_json() for rule in rules],
        )
    )
    await db.flush()
    if passed and version.kind == "reward":
        # No person is asked about a reward model: what it leads to is what the policy's gate judges.
        await _put_into_use(db, run, version)
    return {"model_version_id": version.id, "passed": passed, "reason": None if passed else gates.refusal(rules)}


async def _promote(db: AsyncSession, run: Run) -> Json:
    version = await db.get_one(ModelVersion, run.settings["model_version_id"])
    await _put_into_use(db, run, version)
    return {"model_version_id": version.id, "number": version.number}


async def _put_into_use(db: AsyncSession, run: Run, version: ModelVersion) -> None:
    current = await models.promoted(db, version.project_id, "reward" if version.kind == "reward" else "policy")
    if current is None or current.id != version.id:
        await models.promote(db, run.started_by_id, version, reason="Passed its gate.")
