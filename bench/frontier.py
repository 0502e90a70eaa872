"""How much gold win rate a policy buys with its KL and with seconds: algorithms of policy optimisation beside best-of-n.

    python -m bench.frontier --folder DIR [--seeds 0 1 2] [--drawn 3] [--arms ppo rloo ...] [--reward gold learned]
        [--iterations N] [--settings JSON]

All start from one SFT policy of the starter a seed, and learn from the gold rule itself (`gold`) or from a reward model of
`--labels` noisy judgements (`learned`). While they learn they are measured on held-out prompts, 135 of them with three
samples each, against the SFT policy: win rate by gold, KL to it in nats a response, length. Seconds are those of
learning, without measuring. `--drawn` adds seeds that nobody chose. Prints a table and, last, one JSON object; what is
finished is not run again in the same folder.
"""

import argparse
import json
import math
import secrets
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import torch

from app.services.starter import DEMONSTRATIONS_PER_PROMPT, STAGE_SETTINGS
from app.simulation.comparison import duels, win_rate
from app.starter import gold
from bench.gold_ppo import GoldReward
from bench.loop_study import HELD_OUT_SAMPLES, Study
from models.backbone import LanguageModel
from models.generation import sample_responses
from training.config import PpoConfig
from training.data.encoding import encode_prompts
from training.data.examples import Prompt
from training.data.opening import facts_of, load, open_language_model, open_reward_model
from training.ppo.loop import PpoLoop
from training.ppo.models import build_models
from training.records import PromptRecord
from training.responses.likelihoods import log_probabilities
from training.responses.written import written
from training.reward.scoring import RewardModelScorer
from training.runtime.artifact import Lineage
from training.runtime.replicas import use_threads
from training.runtime.run import Run

OLD = {"iterations": 30, "epochs": 4, "kl_coefficient": 0.1}
ARMS: Mapping[str, Mapping[str, object]] = {
    "before": OLD,
}
BEST_OF = (1, 2, 4, 8, 16)
MEASURED = 6
MAX_NEW_TOKENS = 80
TEMPERATURE = 0.7
"""Points of an arm's way."""


@dataclass(frozen=True, slots=True)
class Point:
    """A policy on its way; `seconds` of learning until then."""

    seed: int
    reward: str
    arm: str
    iteration: int
    seconds: float
    responses: int
    win_rate: float
    interval: tuple[float, float]
    terciles: tuple[float, float, float]
    kl: float
    length_ratio: float


class Ground:
    """What all arms of a seed share: the SFT policy, its held-out samples, and what is paid."""

    def __init__(self, study: Study, labels: bool) -> None:
        self.study = study
        self.sft = study.sft(DEMONSTRATIONS_PER_PROMPT)
        self.reference = open_language_model(str(self.sft))
        self.reward = study.reward("reward-1", self.sft, study.label("labels-1", self.sft), study.seed)
        self.prompts = self._encoded("ppo-prompts.jsonl", [key for key in study.train if key not in study.validation])
        self.held_out = self._encoded("held-out-prompts.jsonl", study.held_out)

    def _encoded(self, name: str, keys: Sequence[str]) -> list[Prompt]:
        records = load(self.study.prompt_file(name, keys), PromptRecord)
        return encode_prompts(self.reference, records, max_new_tokens=MAX_NEW_TOKENS)[0]

    @cached_property
    def gold(self) -> GoldReward:
        reward = GoldReward()
        drawn = [self.prompts[place % len(self.prompts)] for place in range(512)]
        reward.normalise(drawn, written(self.reference, sampled(self.reference, drawn, self.study.seed)))
        return reward

    @cached_property
    def theirs(self) -> list[list[str]]:
        return self.texts(self.reference, self.study.seed + 2000)[0]

    def texts(self, model: LanguageModel, seed: int) -> tuple[list[list[str]], float, float]:
        """Samples of each held-out prompt, the mean KL to the SFT policy, and their mean length in tokens."""
        repeated = [prompt for prompt in self.held_out for _ in range(HELD_OUT_SAMPLES)]
        responses = sampled(model, repeated, seed)
        ids = [response.token_ids for response in responses]
        under = log_probabilities(
            self.reference, [prompt.token_ids for prompt in repeated], ids, temperature=0.7, batch_tokens=4096
        ).sum()
        own = sum(sum(response.log_probabilities) for response in responses)
        texts = [one.text for one in written(model, responses)]
        groups = [texts[place : place + HELD_OUT_SAMPLES] for place in range(0, len(texts), HELD_OUT_SAMPLES)]
        return groups, (own - float(under)) / len(repeated), statistics.fmean(map(len, ids))

    def measured(self, model: LanguageModel, iteration: int) -> tuple[dict[str, object], float]:
        began = time.monotonic()
        ours, kl, length = self.texts(model, self.study.seed + 1000)
        keys = self.study.held_out
        prompts = {key: self.study.prompts[key].text for key in keys}
        found = duels(
            prompts,
            dict(zip(keys, ours, strict=True)),
            dict(zip(keys, self.theirs, strict=True)),
            gold.score,
            tie_within=gold.TIE_BELOW,
        )
        rate = win_rate(found, seed=0)
        return {
            "iteration": iteration,
            "win_rate": rate.rate,
            "interval": rate.interval,
            "terciles": rate.by_length_tercile,
            "kl": kl,
            "length_ratio": length / self.length,
        }, time.monotonic() - began

    @cached_property
    def length(self) -> float:
        return self.texts(self.reference, self.study.seed + 2000)[2]


def sampled(model: LanguageModel, prompts: Sequence[Prompt], seed: int):
    return sample_responses(
        model,
        [prompt.token_ids for prompt in prompts],
        max_new_tokens=MAX_NEW_TOKENS,
        temperature=TEMPERATURE,
        seed=seed,
    )


class MeasuredLoop(PpoLoop):
    """PPO that is measured on its way."""

    def watch(self, ground: Ground, points: set[int], averages: Sequence[float]) -> None:
        self.ground, self.points, self.found = ground, points, []
        self.began, self.paused = time.monotonic(), 0.0
        self.averages = {decay: None for decay in averages}

    def _iterate(self, iteration: int):
        left = super()._iterate(iteration)
        model = self._models.policy
        weights = {name: weight.detach() for name, weight in model.model.named_parameters()}
        for decay, average in self.averages.items():
            if average is None:
                self.averages[decay] = {name: weight.clone() for name, weight in weights.items()}
            else:
                for name, weight in weights.items():
                    average[name].lerp_(weight, 1 - decay)
        if iteration + 1 in self.points:
            seconds = time.monotonic() - self.began - self.paused
            row, took = self.ground.measured(model, iteration + 1)
            self.paused += took
            self.found.append({"arm": "last", "seconds": seconds, **row})
            print(row_text(self.found[-1]), flush=True)
            kept = {name: weight.clone() for name, weight in weights.items()}
            for decay, average in self.averages.items():
                for name, weight in weights.items():
                    weight.copy_(average[name])
                row, took = self.ground.measured(model, iteration + 1)
                self.paused += took
                self.found.append({"arm": f"average {decay}", "seconds": seconds, **row})
                print(row_text(self.found[-1]), flush=True)
                for name, weight in weights.items():
                    weight.copy_(kept[name])
        return left


def row_text(row) -> str:
    low, high = row["interval"]
    thirds = " ".join(f"{third:.2f}" for third in row["terciles"])
    return (
        f"{row['arm']:<14}{row['iteration']:4d} {row['seconds']:6.0f} s  win {row['win_rate']:.3f} [{low:.2f}, {high:.2f}]"
        f"  KL {row['kl']:5.2f}  length {row['length_ratio']:.2f}  {thirds}"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--labels", type=int, default=400)
    parser.add_argument("--reward", default="gold")
    parser.add_argument("--points", type=int, default=5)
    parser.add_argument("--averages", type=float, nargs="*", default=[])
    parser.add_argument("--settings", type=json.loads, default={})
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--start", type=Path)
    arguments = parser.parse_args()
    use_threads(arguments.threads)
    ground = Ground(Study(arguments.folder, arguments.seed, arguments.labels, 0.1, {}), True)
    settings = {"detector_responses": 0, "sample_texts": 0, "max_kl": None, "checkpoint_steps": 10_000, **OLD, **arguments.settings}
    config = PpoConfig(
        seed=arguments.seed,
        policy=str(arguments.start or ground.sft),
        reference=str(ground.sft),
        reward=str(ground.reward),
        prompts=Path("x"),
        **settings,
    )
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), Lineage("ppo", {}, {}, settings, arguments.seed, "bench"))
        policy, reference = open_language_model(config.policy), open_language_model(config.reference)
        config = run.settle(config, facts_of(policy.model))
        rm = open_reward_model(config.reward)
        reward = ground.gold if arguments.reward == "gold" else RewardModelScorer(rm, policy)
        loop = MeasuredLoop(config, build_models(config, policy, reference, rm, reward), ground.prompts, run)
        n = config.iterations
        points = {max(1, round(n * k / arguments.points)) for k in range(1, arguments.points + 1)}
        ground.theirs
        ground.length
        print(json.dumps(arguments.settings), arguments.reward, flush=True)
        loop.watch(ground, points, arguments.averages)
        print("stopped", loop.train())
        rows = [json.loads(line)["values"] for line in (run.out / "metrics.jsonl").read_text().splitlines()]
        for name in ("explained_variance", "update_kl", "clip_fraction", "entropy", "generate_seconds", "score_seconds", "train_seconds", "kl_coefficient"):
            print(name, [round(row[name][0], 4) for row in rows if name in row][:: max(1, n // 6)])


if __name__ == "__main__":
    main()
