"""How far PPO may go: what the reward model says, what a held-out one says, and gold, against the root of the KL.

    python -m bench.over_optimisation --folder DIR --seed 0 --labels 400 --settings '{"max_kl": null, "iterations": 60}'

Reward model and held-out reward model learn one half of the labels each. Prints every evaluation with its alarms, the
law of Gao et al. 2022 for reinforcement learning fitted to gold, R = d (a - b log d) with d the root of the KL, the
seconds that watching took, and, last, one JSON object. Finished stages are not run again in the same folder.
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch

from app.services.starter import DEMONSTRATIONS_PER_PROMPT, STAGE_SETTINGS
from bench.gold_ppo import GoldReward
from bench.loop_study import Study
from training.config import PpoConfig
from training.data.encoding import encode_prompts
from training.data.opening import facts_of, load, open_language_model, open_reward_model
from training.hacking.watch import Judges
from training.ppo.loop import PpoLoop
from training.ppo.models import build_models
from training.records import PromptRecord
from training.reward.scoring import RewardModelScorer
from training.runtime.artifact import Lineage
from training.runtime.replicas import use_threads
from training.runtime.run import Run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--labels", type=int, default=400)
    parser.add_argument("--noise", type=float, default=0.1)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--name", default="watched", help="of the PPO run, for several settings in one folder")
    parser.add_argument("--settings", type=json.loads, default={}, help="of PPO, over the starter's")
    arguments = parser.parse_args()
    study = Study(arguments.folder, arguments.seed, arguments.labels, arguments.noise, {})
    sft = study.sft(DEMONSTRATIONS_PER_PROMPT)
    labels = study.label("labels", sft)
    reward = study.reward("reward", sft, labels[::2], arguments.seed)
    held_out = study.reward("held-out-reward", sft, labels[1::2], arguments.seed + 1)
    prompts = study.prompt_file("ppo-prompts.jsonl", [key for key in study.train if key not in study.validation])
    settings = {**STAGE_SETTINGS["ppo"], **arguments.settings}
    config = PpoConfig(
        seed=arguments.seed,
        policy=str(sft),
        reference=str(sft),
        reward=str(reward),
        held_out_reward=str(held_out),
        prompts=prompts,
        **settings,
    )
    run = Run(study.folder / arguments.name, Lineage("ppo", {}, {}, settings, arguments.seed, "bench"))
    began = time.monotonic()
    loop = watched(config, run)
    stopped = loop.train()
    seconds = time.monotonic() - began
    report = loop.summary()["reward_hacking"]
    assert isinstance(report, dict)
    evaluations = report["evaluations"]
    for row in evaluations:
        alarms = ", ".join(f"{alarm['detector']} {alarm['value']:.2f}" for alarm in row["alarms"]) or "quiet"
        print(
            f"iteration {row['iteration']:3d}  sqrt KL {row['sqrt_kl']:.2f}  reward {row['reward_gain']:+.2f}  "
            f"held out {row['held_out_gain']:+.2f}  gold {row['gold_gain']:+.2f}  {alarms}"
        )
    rows = [json.loads(line)["values"] for line in (run.out / "metrics.jsonl").read_text().splitlines()]
    watching = sum(row["watch_seconds"][0] for row in rows if "watch_seconds" in row)
    law = fitted([(row["sqrt_kl"], row["gold_gain"]) for row in evaluations])
    print(
        f"gold = d ({law[0]:.2f} - {law[1]:.2f} log d), watching {watching:.1f} of {seconds:.1f} s, stopped: {stopped}"
    )
    print(json.dumps({"bench": "over_optimisation", "seed": arguments.seed, "law": law, "evaluations": evaluations}))


def watched(config: PpoConfig, run: Run) -> PpoLoop:
    """PPO on a reward model, with gold looking on."""
    use_threads(torch.get_num_threads())
    policy, reference = open_language_model(config.policy), open_language_model(config.reference)
    config = run.settle(config, facts_of(policy.model))
    prompts, _ = encode_prompts(policy, load(config.prompts, PromptRecord), max_new_tokens=config.max_new_tokens)
    reward_model = open_reward_model(config.reward)
    assert config.held_out_reward is not None
    judges = Judges(RewardModelScorer(open_reward_model(config.held_out_reward), policy), GoldReward())
    models = build_models(config, policy, reference, reward_model, RewardModelScorer(reward_model, policy))
    return PpoLoop(config, models, prompts, run, judges=judges)


def fitted(points: list[tuple[float, float]]) -> tuple[float, float]:
    """Least squares of R = d (a - b log d) over evaluations that left the reference."""
    rows = [(d, -d * math.log(d), gain) for d, gain in points if d > 0.1]
    left = torch.tensor([row[:2] for row in rows], dtype=torch.float64)
    right = torch.tensor([row[2:] for row in rows], dtype=torch.float64)
    a, b = torch.linalg.lstsq(left, right).solution.flatten().tolist()
    return a, b


if __name__ == "__main__":
    main()
