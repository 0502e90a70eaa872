"""Which run a stage needs: the versions it works on and its settings, fixed when it is queued.

A round queues its steps here, and so do the admin's buttons for single runs.
"""

from typing import Any, Literal

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import DatasetVersion, Demonstration, Judgement, ModelVersion, Project, Prompt, Round, Run
from app.db.tables.runs import RoundStep, Stage
from app.errors import Conflict
from app.services import conditions
from app.services.loop import models, runs, selection
from app.services.loop.round_settings import RoundSettings, settings_of
from app.services.projects.question import question_of

STAGE_OF_STEP: dict[RoundStep, Stage] = {
    "select": "select",
    "snapshot": "snapshot",
    "reward": "reward",
    "reward_gate": "gate",
    "cost": "cost",
    "ppo": "ppo",
    "evaluate": "evaluate",
    "policy_gate": "gate",
    "promote": "promote",
    "generate": "generate",
}


async def start_sft(db: AsyncSession, actor_id: int | None, project: Project) -> Run:
    """Train a policy on the demonstrations. The project's first one is put into use."""
    demonstrated = exists().where(Demonstration.prompt_id == Prompt.id, Prompt.project_id == project.id)
    if not await db.scalar(select(demonstrated)):
        raise Conflict("There is no demonstration to learn from.")
    return await _queue_single(db, actor_id, project, "sft", {"model": project.policy_source})


async def start_reward(db: AsyncSession, actor_id: int | None, project: Project) -> Run:
    """Train a reward model on what people have said so far; the run cuts a dataset version first."""
    await _require_judgements(db, project)
    return await _queue_single(db, actor_id, project, "reward", await _reward_inputs(db, project, None))


async def start_cost(db: AsyncSession, actor_id: int | None, project: Project) -> Run:
    """Train a cost model on what people have said of harm so far; the run cuts a dataset version first."""
    said = exists().where(*conditions.labels_of(project.id), Judgement.safe.is_not(None))
    if not await db.scalar(select(said)):
        raise Conflict("Nobody has said yet which responses are safe.")
    return await _queue_single(db, actor_id, project, "cost", await _cost_inputs(db, project, None))


async def start_ppo(db: AsyncSession, actor_id: int | None, project: Project) -> Run:
    """Improve the policy against the reward model in use, or the newest one when none is; where the project's rounds
    hold harm to a limit, under the cost model likewise."""
    reward = await _to_use(db, project, "reward")
    cost = await _to_use(db, project, "cost") if settings_of(project).harmlessness else None
    inputs = await _ppo_inputs(db, project, reward.id, cost.id if cost else None)
    return await _queue_single(db, actor_id, project, "ppo", inputs)


async def start_dpo(db: AsyncSession, actor_id: int | None, project: Project) -> Run:
    """Train a policy on what people have said so far, with no reward model between; the run cuts a dataset version
    first. Like PPO it starts from the reference and is held near it."""
    await _require_judgements(db, project)
    reference = await _reference(db, project)
    inputs = {"policy_id": reference.id, "reference_id": reference.id, "dataset_version_id": None}
    return await _queue_single(db, actor_id, project, "dpo", inputs)


async def start_generate(db: AsyncSession, actor_id: int | None, project: Project) -> Run:
    """Let the policy in use write responses for the pool."""
    return await _queue_single(db, actor_id, project, "generate", await _generate_inputs(db, project))


async def start_evaluate(
    db: AsyncSession, actor_id: int | None, project: Project, *, policy: ModelVersion | None = None
) -> Run:
    """Compare a policy, by default the one in use, with the one it started from: by the reward model that it was
    trained against, or by today's if it was trained without one."""
    policy = policy or await models.promoted(db, project.id)
    if policy is None or policy.reference_id is None:
        raise Conflict("There is no policy yet that was trained on judgements.")
    reward_id = policy.reward_id or (await _to_use(db, project, "reward")).id
    inputs = _evaluate_inputs(policy, reward_id)
    return await _queue_single(db, actor_id, project, "evaluate", inputs)


async def serve_pairs(db: AsyncSession, project: Project) -> Run | None:
    """Make tasks of the pool outside a round when people are about to run out of pairs."""
    if not await _is_short_of_pairs(db, project):
        return None
    return await _queue_single(db, None, project, "select", {})


async def queue_step(db: AsyncSession, project: Project, round_: Round) -> Run | None:
    """The run of the round's step, or None while a policy that it needs is still in the making."""
    inputs = await _step_inputs(db, project, round_)
    if inputs is None:
        return None
    step: RoundStep = round_.step  # type: ignore[assignment]  # the database checks it
    stage = STAGE_OF_STEP[step]
    return await runs.queue_run(
        db,
        project_id=project.id,
        stage=stage,
        settings=_run_settings(project, stage, settings_of_round(round_), inputs),
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


async def replenish(db: AsyncSession, project: Project) -> Run | None:
    """Let the policy in use write more when people are about to run out of pairs and nothing is on its way."""
    on_its_way = exists().where(
        Run.project_id == project.id, Run.stage.in_(("generate", "select")), Run.state.in_(("queued", "running"))
    )
    if await db.scalar(select(on_its_way)) or await models.promoted(db, project.id) is None:
        return None
    if not await _is_short_of_pairs(db, project):
        return None
    return await start_generate(db, None, project)


async def _is_short_of_pairs(db: AsyncSession, project: Project) -> bool:
    """Whether the open tasks can take fewer judgements than a round asks for."""
    return await selection.open_places(db, project.id) < settings_of(project).label_target


def settings_of_round(round_: Round) -> RoundSettings:
    """What was settled when the round was started."""
    return RoundSettings.model_validate(round_.settings)


async def _queue_single(db: AsyncSession, actor_id: int | None, project: Project, stage: Stage, inputs: Json) -> Run:
    settings = _run_settings(project, stage, settings_of(project), inputs)
    return await runs.queue_run(db, project_id=project.id, stage=stage, settings=settings, started_by_id=actor_id)


def _run_settings(project: Project, stage: Stage, settings: RoundSettings, inputs: Json) -> Json:
    """Settings of a run: the ids of what it works on, `seed`, and for a training stage its `config`.

    Of every prompt there are at least as many samples as a task of the project compares.
    """
    common: Json = {**inputs, "seed": settings.seed}
    match stage:
        case "ppo" if inputs["cost_id"] is None and "cost" not in settings.ppo:
            # A limit that nothing can be measured by is refused there.
            return {**common, "config": {name: value for name, value in settings.ppo.items() if name != "cost_limit"}}
        case "sft" | "reward" | "cost" | "ppo" | "dpo":
            return {**common, "config": getattr(settings, stage)}
        case "generate":
            samples = max(settings.samples_per_prompt, question_of(project).size)
            config = {"samples_per_prompt": samples, **settings.generate}
            return {**common, "config": config, "prompts": settings.generate_prompts}
        case "evaluate":
            return {**common, "config": settings.evaluate, "prompts": settings.evaluate_prompts}
        case _:
            return common


async def _step_inputs(db: AsyncSession, project: Project, round_: Round) -> Json | None:
    settings = settings_of_round(round_)
    if round_.step in ("reward", "cost", "ppo", "generate") and await models.promoted(db, project.id) is None:
        return None
    match round_.step:
        case "select":
            return {"count": settings.pairs_wanted(project.overlap)}
        case "snapshot":
            return {}
        case "reward":
            return await _reward_inputs(db, project, round_.dataset_version_id)
        case "reward_gate":
            return {"model_version_id": round_.reward_id, "bounds": settings.reward_gate.model_dump()}
        case "cost":
            return await _cost_inputs(db, project, round_.dataset_version_id)
        case "ppo":
            return await _ppo_inputs(db, project, _made(round_.reward_id), round_.cost_id)
        case "evaluate":
            policy = await db.get_one(ModelVersion, _made(round_.policy_id))
            return _evaluate_inputs(policy, _made(policy.reward_id))
        case "policy_gate":
            bounds = settings.policy_gate.model_dump()
            if round_.cost_id is not None and settings.policy_gate.cost is None:
                bounds["cost"] = settings.cost_limit
            return {"model_version_id": round_.policy_id, "bounds": bounds}
        case "promote":
            return {"model_version_id": round_.policy_id}
        case "generate":
            return await _generate_inputs(db, project)
        case step:
            raise AssertionError(f"step {step} has no run")


async def _reward_inputs(db: AsyncSession, project: Project, dataset_version_id: int | None) -> Json:
    policy = await _reference(db, project)
    previous = await models.promoted(db, project.id, "reward")
    return {
        "policy_id": policy.id,
        "dataset_version_id": dataset_version_id,
        "previous_reward_id": previous.id if previous else None,
    }


async def _cost_inputs(db: AsyncSession, project: Project, dataset_version_id: int | None) -> Json:
    policy = await _reference(db, project)
    return {"policy_id": policy.id, "dataset_version_id": dataset_version_id}


async def _ppo_inputs(db: AsyncSession, project: Project, reward_id: int, cost_id: int | None) -> Json:
    # PPO restarts from the reference every round: a policy that over-optimised once seldom recovers.
    reference = await _reference(db, project)
    reward = await db.get_one(ModelVersion, reward_id)
    trained_by = await db.get(Run, reward.run_id) if reward.run_id is not None else None
    return {
        "policy_id": reference.id,
        "reference_id": reference.id,
        "reward_id": reward_id,
        "cost_id": cost_id,
        # Nothing is learnt from the model that the reward model replaces: it tells what only the new one believes.
        "held_out_reward_id": trained_by.settings.get("previous_reward_id") if trained_by is not None else None,
    }


async def _generate_inputs(db: AsyncSession, project: Project) -> Json:
    policy = await models.promoted(db, project.id)
    if policy is None:
        raise Conflict("There is no policy in use yet: train one first.")
    return {"policy_id": policy.id}


def _evaluate_inputs(policy: ModelVersion, reward_id: int) -> dict[str, Any]:
    return {
        "policy_id": policy.id,
        "reference_id": _made(policy.reference_id),
        "reward_id": reward_id,
        "cost_id": policy.cost_id,
    }


async def _reference(db: AsyncSession, project: Project) -> ModelVersion:
    reference = await models.reference_policy(db, project.id)
    if reference is None:
        raise Conflict("There is no policy in use yet: train one first.")
    return reference


async def _to_use(db: AsyncSession, project: Project, kind: Literal["reward", "cost"]) -> ModelVersion:
    """The model in use, or the newest one when none is."""
    model = await models.promoted(db, project.id, kind) or await models.newest(db, project.id, kind)
    if model is None and kind == "cost":
        raise Conflict("There is no cost model yet: train one first.")
    if model is None:
        raise Conflict("There is no reward model yet: train one first.")
    return model


async def _require_judgements(db: AsyncSession, project: Project) -> None:
    judged = exists().where(*conditions.labels_of(project.id))
    if not await db.scalar(select(judged)):
        raise Conflict("There is no judgement to learn from.")


def _made(version_id: int | None) -> int:
    """The version that an earlier step of the round made."""
    assert version_id is not None
    return version_id
