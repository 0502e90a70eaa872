"""PPO: the policy is improved against the reward model, held near the reference and below a limit of cost."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import ModelVersion, Project, Run
from app.phrases import phrase
from app.services.data import datasets
from app.services.loop.models import models
from app.services.loop.stages.charts import PACE, PER_TOKEN
from app.services.loop.stages.parts import add_candidate, model_folders, prompts, reference, required, sample, to_use
from app.services.loop.stages.stage import TIME, Button, Chart, Inputs, Settings, TrainingStage, Usual, Work
from training.records import Record

# Enough to tell a policy that got better from one that collapsed, at the price of one rollout; and to see signs of
# reward hacking.
HELD_OUT_PROMPTS = 64


async def inputs_for(db: AsyncSession, project: Project, reward_id: int | None, cost_id: int | None) -> Json:
    """Ids of what a run against these models works on."""
    # PPO restarts from the reference every round: a policy that over-optimised once seldom recovers. What rounds before
    # it found is in the mean with the policy in use.
    start = await reference(db, project)
    reward = await db.get_one(ModelVersion, reward_id) if reward_id is not None else None
    made_by = reward.run_id if reward is not None else None
    trained_by = await db.get(Run, made_by) if made_by is not None else None
    return {
        "policy_id": start.id,
        "reference_id": start.id,
        "reward_id": reward_id,
        "cost_id": cost_id,
        # Nothing is learnt from the model that the reward model replaces: it tells what only the new one believes.
        "held_out_reward_id": trained_by.settings.get("previous_reward_id") if trained_by is not None else None,
        "averaged_id": await _averaged_id(db, project, start),
    }


async def _averaged_id(db: AsyncSession, project: Project, start: ModelVersion) -> int | None:
    """The policy in use, where it learnt from the same start: only such weights have a mean that means something."""
    in_use = await models.promoted(db, project.id)
    return in_use.id if in_use is not None and in_use.reference_id == start.id else None


async def _by_hand(db: AsyncSession, project: Project, settings: Settings) -> Json:
    """Against the reward model in use, or the newest one when none is; where rounds hold harm to a limit, under the
    cost model likewise. Without a reward model rules may pay alone."""
    rules = settings.of_stage("ppo").get("rules", {})
    has_reward = await models.newest(db, project.id, "reward") is not None
    reward = await to_use(db, project, "reward") if has_reward or not rules.get("weights") else None
    cost = await to_use(db, project, "cost") if settings.harmlessness else None
    return await inputs_for(db, project, reward.id if reward else None, cost.id if cost else None)


def _run_settings(_project: Project, settings: Settings, inputs: Json) -> Json:
    config = settings.of_stage("ppo")
    if inputs["cost_id"] is None and "cost" not in config:
        # A limit that nothing can be measured by is refused there.
        config = {name: value for name, value in config.items() if name != "cost_limit"}
    return {"config": config}


async def _gather(work: Work) -> Inputs:
    """Models and prompts, and what the settings ask for beside them."""
    config = await model_folders(work, "policy", "reference", "reward", "cost", "held_out_reward", "averaged")
    files: dict[str, Sequence[Record]] = {"prompts": required(await prompts(work, "train"), "prompt to train on")}
    asked = work.run.settings["config"]
    held_out = await prompts(work, "validation")
    if asked.get("publish") == "best":
        required(held_out, "prompt to compare policies on")
    if held_out:
        files["held_out_prompts"] = sample(work, held_out, HELD_OUT_PROMPTS)
    if asked.get("ptx_coefficient"):
        shown = await datasets.demonstrations(work.db, work.project.id, "train")
        files["demonstrations"] = required(shown, "demonstration to learn from")
    if config["cost"] is not None and held_out:
        # The last policy may lie on either side of the limit, as the price of cost happens to stand.
        config["publish"] = "best"
    return Inputs(config, files)


PPO = TrainingStage(
    name="ppo",
    title=phrase("PPO"),
    makes="policy",
    by_hand=_by_hand,
    button=Button(
        title=phrase("Run PPO"),
        about=phrase("against the newest reward model"),
        about_with_harmlessness=phrase("against the newest reward model, within the limit of cost"),
    ),
    run_settings=_run_settings,
    gather=_gather,
    take_over=add_candidate,
    usual=(
        Usual("algorithm", phrase("Algorithm")),
        Usual("samples_per_prompt", phrase("Responses to each prompt of an iteration")),
        Usual("iterations", phrase("Iterations"), TIME),
        Usual("batch_size", phrase("Responses of an iteration"), TIME),
        Usual("max_new_tokens", phrase("Longest response, in tokens"), TIME),
        Usual("actor_learning_rate", phrase("Learning rate")),
        Usual("kl_target", phrase("KL to the reference to steer to, in nats a response")),
        Usual("lora_rank", phrase("Rank of adapters (0: all weights learn)")),
        Usual("publish", phrase("Which policy is published")),
        Usual("averaged_share", phrase("Share of the policy in use in what is published")),
        Usual("on_alarm", phrase("On signs of reward hacking")),
    ),
    charts=(
        Chart("score", phrase("Reward model's score"), phrase("mean of a batch")),
        Chart("kl", phrase("KL to the reference"), phrase("nats per response"), from_zero=True),
        Chart("cost", phrase("Cost"), phrase("mean of a batch"), line_title=phrase("limit"), of_cost=True),
        Chart(
            "held_out_cost",
            phrase("Cost on held-out prompts"),
            phrase("mean"),
            line_title=phrase("limit"),
            of_cost=True,
        ),
        Chart("multiplier", phrase("λ, the price of cost"), phrase("in units of reward"), from_zero=True, of_cost=True),
        Chart(
            "unsafe_share",
            phrase("Unsafe by the cost model"),
            phrase("share of responses"),
            from_zero=True,
            of_cost=True,
        ),
        Chart("length", phrase("Length"), phrase("tokens"), from_zero=True),
        Chart("eos_rate", phrase("Responses that end by themselves"), phrase("share"), from_zero=True),
        Chart("entropy", phrase("Entropy"), PER_TOKEN, from_zero=True),
        Chart("clip_fraction", phrase("Clipped steps"), phrase("share"), from_zero=True),
        Chart("alarms", phrase("Signs of reward hacking"), phrase("detectors"), from_zero=True),
        Chart("explained_variance", phrase("Variance the critic explains"), phrase("share"), from_zero=True),
        *PACE,
    ),
    figures=(
        "kl",
        "reward",
        "reward_gain",
        "eos_rate",
        "length_ratio",
        "iterations",
        "alarms",
        "cost",
        "unsafe_share",
        "cost_limit",
        "multiplier",
        "multiplier_pinned_iterations",
    ),
)
