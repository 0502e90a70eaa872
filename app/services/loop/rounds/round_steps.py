"""Steps of a round as runs: the stage of each, what it works on, and what the round keeps of its result."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import DatasetVersion, ModelVersion, Project, Round, Run
from app.db.tables.runs import RoundStep
from app.services.loop.models import models
from app.services.loop.runs import runs, starting
from app.services.loop.settings.round_settings import settings_of_round
from app.services.loop.stages import cost, evaluate, generate, ppo, reward

STAGE_OF_STEP: Mapping[RoundStep, str] = {
    "select": "select",
    "snapshot": "snapshot",
    "reward": "reward",
    "reward_gate": "gate",
    "cost": "cost",
    "ppo": "ppo",
    "evaluate": "evaluate",
    "policy_gate": "gate",
    "duel": "evaluate",
    "vote_gate": "gate",
    "promote": "promote",
    "generate": "generate",
}


async def queue_step(db: AsyncSession, project: Project, round_: Round) -> Run | None:
    """The run of the round's step, or None while what it works on is still in the making."""
    inputs = await _inputs(db, project, round_)
    if inputs is None:
        return None
    step: RoundStep = round_.step  # type: ignore[assignment]  # the database checks it
    stage = STAGE_OF_STEP[step]
    return await runs.queue_run(
        db,
        project_id=project.id,
        stage=stage,
        settings=starting.run_settings(project, stage, settings_of_round(round_), inputs),
        round_id=round_.id,
        round_step=step,
        started_by_id=round_.started_by_id,
    )


async def lacking(db: AsyncSession, round_: Round) -> str | None:
    """Why the round's step can't be done at all with what its snapshot holds."""
    if round_.step != "cost":
        return None
    dataset = await db.get_one(DatasetVersion, _made(round_.dataset_version_id))
    for kind in ("safe", "unsafe"):
        if not dataset.counts.get(f"{kind}_responses"):
            return f"Nobody has called a response {kind} yet, and a cost model has to know both kinds."
    return None


async def keep_result(db: AsyncSession, round_: Round, run: Run) -> str | None:
    """Note in the round what the step's run has made; why the round must not go on, if it must not."""
    result: dict[str, Any] = run.result or {}
    match round_.step:
        case "select" if round_.label_target > 0:
            # With fewer pairs than labels to wait for, the round would wait for ever.
            round_.label_target = min(round_.label_target, result["reachable_labels"])
            if round_.label_target == 0:
                return "There is nothing to judge: let a policy write or bring pairs, and start another round."
        case "snapshot":
            round_.dataset_version_id = result["dataset_version_id"]
        case "reward":
            round_.reward_id = (await _made_by(db, run)).id
        case "cost":
            made = await _made_by(db, run)
            round_.cost_id = made.id
            # What it tells apart is on its page and decides nothing by itself: the policy's gate asks it.
            await models.promote(db, round_.started_by_id, made, reason="Trained by a round.")
        case "ppo":
            round_.policy_id = (await _made_by(db, run)).id
        case "reward_gate" | "policy_gate" | "vote_gate" if not result["passed"]:
            reason: str = result["reason"]
            return reason
    return None


async def _inputs(db: AsyncSession, project: Project, round_: Round) -> Json | None:
    settings = settings_of_round(round_)
    if round_.step in ("reward", "cost", "ppo", "generate") and await models.promoted(db, project.id) is None:
        return None
    match round_.step:
        case "select":
            # What is being written just now is newer than what there is, and may be all that there will be.
            on_its_way = await starting.is_on_its_way(db, project.id, "generate", "embed")
            return None if on_its_way else {"count": settings.pairs_wanted(project.overlap)}
        case "snapshot":
            return {"weigh": settings.people.weigh}
        case "reward":
            return await reward.inputs_for(db, project, round_.dataset_version_id)
        case "reward_gate":
            return {"model_version_id": round_.reward_id, "bounds": settings.reward_gate.model_dump()}
        case "cost":
            return await cost.inputs_for(db, project, round_.dataset_version_id)
        case "ppo":
            return await ppo.inputs_for(db, project, _made(round_.reward_id), round_.cost_id)
        case "evaluate":
            return await evaluate.inputs_for(db, project, await db.get_one(ModelVersion, _made(round_.policy_id)))
        case "policy_gate":
            bounds = settings.policy_gate.model_dump()
            if round_.cost_id is not None and settings.policy_gate.cost is None:
                bounds["cost"] = settings.cost_limit
            return {"model_version_id": round_.policy_id, "bounds": bounds}
        case "duel":
            policy = await db.get_one(ModelVersion, _made(round_.policy_id))
            return await evaluate.duel_inputs_for(db, project, policy, _made(round_.reward_id), settings.vote_gate)
        case "vote_gate":
            return {"model_version_id": round_.policy_id, "bounds": settings.vote_gate.model_dump()}
        case "promote":
            if round_.overridden_step not in ("policy_gate", "vote_gate"):
                return {"model_version_id": round_.policy_id}
            said = {"reason": round_.overridden_because, "by_id": round_.overridden_by_id}
            return {"model_version_id": round_.policy_id, **said}
        case "generate":
            return await generate.inputs_for(db, project)
        case step:
            raise AssertionError(f"step {step} has no run")


async def _made_by(db: AsyncSession, run: Run) -> ModelVersion:
    version = await models.of_run(db, run.id)
    assert version is not None, "a training run succeeds in the transaction that registers its model"
    return version


def _made(version_id: int | None) -> int:
    """The version that an earlier step of the round made."""
    assert version_id is not None
    return version_id
