"""A task in which helpfulness and harmlessness pull apart: PPO alone, with fixed penalties on cost, and PPO-Lagrangian.

    python -m bench.safety --folder DIR --world starter --seeds 0 1 2

Requests are harmless or risky. Details make any response more helpful; in answer to a risky request two of them are
unsafe. So a policy that learns to help learns to harm, and one that is made to say little helps nobody. In the world
`toy` (bench.safety_toy) details are words of a tiny model; in the world `starter` (bench.safety_starter) they are the
steps for which gold pays, the policy is the starter's and so are the prompts. Policy, reward model and cost model are
made by the ordinary stages from simulated judgements; then every arm gets the same number of PPO iterations, and
publishes the policy that earned most within the limit on prompts that PPO doesn't ask.

`--judge rules` rewards and charges responses by the rules themselves, so that the optimisers are compared and not how
well a cost model resists them; the models only seed the critics. `--judge models` is the whole pipeline. What is
reported is measured on fresh samples: the mean cost by whoever judged, which is what the limit is about, and by the
rules how helpful responses are and how many of those to risky requests are unsafe.

Prints a table and, last, one JSON object. A finished stage is not run again in the same folder.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean

import torch

from bench.safety_starter import Starter
from bench.safety_toy import Toy
from bench.safety_world import Stages, World
from models.generation import sample_responses
from models.saving import save_language_model
from training.config import PpoConfig
from training.data.encoding import encode_prompts
from training.data.examples import Prompt
from training.data.opening import facts_of, load, open_language_model, open_reward_model
from training.ppo.loop import PpoLoop
from training.ppo.models import build_models
from training.preferences.intervals import Interval, clustered
from training.records import PromptRecord
from training.responses.written import WrittenResponse, written
from training.reward.scoring import Reward, RewardModelScorer
from training.runtime.artifact import lineage_of
from training.runtime.replicas import use_threads
from training.runtime.run import Run

WORLDS: Mapping[str, type[Toy] | type[Starter]] = {"toy": Toy, "starter": Starter}


@dataclass(frozen=True)
class Outcome:
    """Means over fresh samples, with 95 % intervals by prompt."""

    seed: int
    arm: str
    cost: Interval
    helpfulness: Interval
    helpfulness_when_harmless: float
    helpfulness_when_risky: float
    details_when_harmless: float
    details_when_risky: float
    unsafe_when_risky: float
    multiplier: float
    published_iteration: int | None
    limit: float
    holds: bool


class Study:
    def __init__(self, world: World, stages: Stages, judge: str, iterations: int) -> None:
        self.world, self.stages, self.judge, self.iterations = world, stages, judge, iterations
        self.limit = 0.0
        start = self.outcome("sft", world.models.policy, {})
        self.limit = world.share_of_start * start.cost.mean
        self.start = replace(start, limit=self.limit, holds=start.cost.mean <= self.limit)

    def changes(self) -> Mapping[str, Mapping[str, object]]:
        """Of PPO's settings by arm; without any there is no cost model."""
        best = {"publish": "best", "held_out_prompts": self.world.prompts.selecting, "cost_limit": self.limit}
        lagrangian = {f"lagrangian-{rate:g}": {**best, "multiplier_learning_rate": rate} for rate in self.world.rates}
        fixed = {
            f"fixed-{penalty:g}": {**best, "multiplier_start": penalty, "multiplier_learning_rate": 0}
            for penalty in self.world.fixed_penalties
        }
        return {"lagrangian": best, **lagrangian, **fixed, "ppo": {}}

    def arms(self, wanted: list[str] | None) -> Iterator[Outcome]:
        yield self.start
        for arm, change in self.changes().items():
            if wanted is None or arm in wanted:
                yield self.run(arm, change)

    def run(self, arm: str, change: Mapping[str, object]) -> Outcome:
        models = self.world.models
        settings = {
            **self.world.ppo_settings,
            "policy": models.policy,
            "reference": models.policy,
            "reward": models.reward,
            "prompts": self.world.prompts.asked,
            "iterations": self.iterations,
            **({"cost": models.cost} if change else {}),
            **change,
        }
        name = f"{self.judge}-{arm}"
        out = self.stages.folder / name
        if self.judge == "models":
            self.stages.run(name, "ppo", settings)
        else:
            self.improve_by_rules(out, self.stages.config(name, "ppo", settings))
        return self.outcome(arm, out / "artifact", json.loads((out / "result.json").read_text()))

    def improve_by_rules(self, out: Path, config: PpoConfig) -> None:
        parents = {"policy": config.policy, "reference": config.reference, "reward": config.reward, "cost": config.cost}
        run = Run(out, lineage_of("ppo", config, parents, {"prompts": config.prompts}))
        if run.finished:
            return
        use_threads(self.stages.threads)
        policy, reference = open_language_model(config.policy), open_language_model(config.reference)
        config = run.settle(config, facts_of(policy.model))
        cost_model = open_reward_model(config.cost, kind="cost") if config.cost is not None else None
        models = build_models(
            config,
            policy,
            reference,
            open_reward_model(config.reward),
            self.world.helpfulness,
            cost_model=cost_model,
            cost=self.world.cost,
        )
        asked, selecting = (
            encode_prompts(policy, load(path, PromptRecord), max_new_tokens=config.max_new_tokens)[0]
            for path in (config.prompts, self.world.prompts.selecting)
        )
        loop = PpoLoop(config, models, asked, run, held_out=selecting)
        loop.train()
        run.finish(loop.summary(), artifact=("policy", lambda folder: save_language_model(policy, folder)))

    def outcome(self, arm: str, location: Path, result: Mapping[str, object]) -> Outcome:
        policy, length = open_language_model(str(location)), self.world.max_new_tokens
        known, _ = encode_prompts(policy, load(self.world.prompts.measured, PromptRecord), max_new_tokens=length)
        asked = [prompt for prompt in known for _ in range(self.world.samples_per_prompt)]
        sampled = sample_responses(
            policy,
            [prompt.token_ids for prompt in asked],
            max_new_tokens=length,
            temperature=0.7,
            seed=1000 + self.stages.seed,
        )
        responses = written(policy, sampled)
        costing: Reward = self.world.cost
        if self.judge == "models":
            costing = RewardModelScorer(open_reward_model(str(self.world.models.cost), kind="cost"), policy)
        return self.figures(arm, asked, responses, costing(asked, responses).tolist(), result)

    def figures(
        self,
        arm: str,
        asked: list[Prompt],
        responses: list[WrittenResponse],
        costs: list[float],
        result: Mapping[str, object],
    ) -> Outcome:
        world = self.world
        keys = [prompt.prompt_id for prompt in asked]
        texts = [response.text for response in responses]
        helped = [world.helpfulness_of(key, text) for key, text in zip(keys, texts, strict=True)]
        details = [float(world.details(text)) for text in texts]
        risky = [world.is_risky(key) for key in keys]
        cost = clustered(costs, keys)
        iteration = result.get("published_iteration")
        return Outcome(
            self.stages.seed,
            arm,
            cost,
            clustered(helped, keys),
            mean_where(helped, risky, False),
            mean_where(helped, risky, True),
            mean_where(details, risky, False),
            mean_where(details, risky, True),
            mean_where([float(world.is_unsafe(key, text)) for key, text in zip(keys, texts, strict=True)], risky, True),
            float(str(result.get("multiplier", 0.0))),
            iteration if isinstance(iteration, int) else None,
            self.limit,
            cost.mean <= self.limit,
        )


def mean_where(values: list[float], flags: list[bool], wanted: bool) -> float:
    return fmean(value for value, flag in zip(values, flags, strict=True) if flag is wanted)


def report(outcome: Outcome) -> None:
    cost, helped = outcome.cost, outcome.helpfulness
    print(
        f"seed {outcome.seed} {outcome.arm:>15}: cost {cost.mean:+.2f} [{cost.low:+.2f}, {cost.high:+.2f}] "
        f"{'within' if outcome.holds else 'above':>6} {outcome.limit:+.2f}, "
        f"helpful {helped.mean:.2f} [{helped.low:.2f}, {helped.high:.2f}], "
        f"{outcome.helpfulness_when_harmless:.2f} when harmless, {outcome.helpfulness_when_risky:.2f} when risky, "
        f"details {outcome.details_when_harmless:.2f} and {outcome.details_when_risky:.2f}, "
        f"unsafe when risky {outcome.unsafe_when_risky:.2f}, multiplier {outcome.multiplier:.2f}, "
        f"published iteration {outcome.published_iteration}",
        flush=True,
    )


def kept(outcomes: list[Outcome], arm: str) -> float:
    """Mean helpfulness over the seeds."""
    return fmean(outcome.helpfulness.mean for outcome in outcomes if outcome.arm == arm)


def summary(outcomes: list[Outcome], least_helpful: float | None) -> dict[str, object]:
    arms = list(dict.fromkeys(outcome.arm for outcome in outcomes))
    holding = [arm for arm in arms if all(one.holds for one in outcomes if one.arm == arm)]
    fixed = [arm for arm in holding if arm.startswith("fixed")]
    best = max(fixed, key=lambda arm: kept(outcomes, arm), default=None)
    least = kept(outcomes, "sft") if least_helpful is None else least_helpful
    ratio = None
    if best and "lagrangian" in holding:
        ratio = (kept(outcomes, "lagrangian") - least) / (kept(outcomes, best) - least)
    return {
        "ratio": ratio,
        "goal": 1.0,
        "holding_on_every_seed": holding,
        "best_fixed": best,
        "helpfulness": {arm: kept(outcomes, arm) for arm in arms},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--world", choices=list(WORLDS), default="toy")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", help="as they are named in the table; all, if not said")
    parser.add_argument("--judge", choices=["rules", "models"], default="rules")
    parser.add_argument("--iterations", type=int, help="of PPO; as many as is usual in the world, if not said")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    kind = WORLDS[arguments.world]
    outcomes: list[Outcome] = []
    for seed in arguments.seeds:
        stages = Stages(arguments.folder / f"seed-{seed}", seed, arguments.threads)
        stages.folder.mkdir(parents=True, exist_ok=True)
        study = Study(kind(stages), stages, arguments.judge, arguments.iterations or kind.iterations)
        for outcome in study.arms(arguments.arms):
            outcomes.append(outcome)
            report(outcome)
    print(
        json.dumps(
            {
                "bench": "safety",
                "world": arguments.world,
                "judge": arguments.judge,
                **summary(outcomes, kind.least_helpful),
                "outcomes": [asdict(outcome) for outcome in outcomes],
            }
        )
    )


if __name__ == "__main__":
    main()
