"""What a policy's gold win rate costs in KL and seconds: algorithms of policy optimisation beside best-of-n.

    python -m bench.frontier --folder DIR [--seeds 0 1 2] [--drawn 3] [--arms before ppo rloo expert] [--rewards gold]
        [--labels 400] [--points 4] [--settings JSON]

All start from one SFT policy of the starter a seed and learn from the gold rule itself (`gold`) or from a reward model
of `--labels` noisy judgements (`learned`). On their way they are measured on held-out prompts, three samples each,
against the SFT policy's: win rate by gold, KL to it in nats a response, length, also by tercile of the difference in
length. Seconds are those of learning, measuring left out. Best of n is chosen by gold itself, its KL by
log n - (n - 1) / n (an upper bound, Beirami et al. 2024). `--drawn` adds seeds that nobody chose. What is finished is
not run again in the same folder. Prints a line a point and, last, one JSON object.
"""

import argparse
import json
import math
import random
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from app.services.starter import DEMONSTRATIONS_PER_PROMPT, STAGE_SETTINGS
from app.simulation.comparison import duels, win_rate
from app.starter import gold
from bench.gold_ppo import GoldReward
from bench.loop_study import HELD_OUT_SAMPLES, Study
from models.backbone import LanguageModel
from models.generation import Response, sample_responses
from training.config import PpoConfig
from training.data.encoding import encode_prompts
from training.data.examples import Prompt
from training.data.opening import facts_of, load, open_language_model, open_reward_model
from training.ppo.loop import PpoLoop
from training.ppo.models import build_models, reward_of
from training.records import PromptRecord
from training.responses.likelihoods import log_probabilities
from training.responses.written import written
from training.reward.best_of import best_of_kl
from training.runtime.artifact import Lineage
from training.runtime.replicas import use_threads
from training.runtime.run import Run

MAX_NEW_TOKENS = 80
TEMPERATURE = 0.7
LARGE = {
    "iterations": 36,
    "batch_size": 256,
    "minibatch_size": 32,
    "epochs": 1,
    "actor_learning_rate": 2.5e-4,
    "kl_controller": "fixed",
    "kl_coefficient": 0.05,
}
ARMS: Mapping[str, Mapping[str, object]] = {
    "starter": STAGE_SETTINGS["ppo"],
    "ppo": LARGE,
    "ppo-fast": {**LARGE, "actor_learning_rate": 5e-4},
    "ppo-student": {**LARGE, "paid_by": "model"},
    "ppo-held": {**LARGE, "kl_coefficient": 0.3},
    "rloo": {**LARGE, "algorithm": "rloo", "samples_per_prompt": 8},
    "grpo": {**LARGE, "algorithm": "grpo", "samples_per_prompt": 8},
    "expert": {
        "algorithm": "expert_iteration",
        "samples_per_prompt": 16,
        "batch_size": 9_312,
        "minibatch_size": 48,
        "iterations": 3,
        "kl_coefficient": 0.0,
    },
}
"""Settings of PPO over its defaults. An iteration of `expert` answers each of the starter's 582 prompts 16 times."""
BEST_OF = (1, 2, 4, 8, 16)
UNWATCHED: Mapping[str, object] = {
    "detector_responses": 0,
    "sample_texts": 0,
    "max_kl": None,
    "checkpoint_steps": 10_000,
}


@dataclass(frozen=True, slots=True)
class Point:
    """A policy on its way, or best of `iteration` samples."""

    seed: int
    reward: str
    arm: str
    iteration: int
    seconds: float
    win_rate: float
    interval: tuple[float, float]
    terciles: tuple[float, float, float]
    kl: float
    length_ratio: float

    def __str__(self) -> str:
        low, high = self.interval
        thirds = " ".join(f"{third:.2f}" for third in self.terciles)
        return (
            f"seed {self.seed:<6}{self.reward:<8}{self.arm:<10}{self.iteration:4d}{self.seconds:7.0f} s  gold "
            f"{self.win_rate:.3f} [{low:.3f}, {high:.3f}]  by length {thirds}  KL {self.kl:5.2f}  "
            f"length x {self.length_ratio:.2f}"
        )


@dataclass(frozen=True, slots=True)
class Answers:
    """Texts to each held-out prompt, and means over them."""

    texts: Mapping[str, Sequence[str]]
    kl: float
    tokens: float


class Ground:
    """What all arms of a seed share: the SFT policy, what it writes to held-out prompts, and what is paid."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.sft = study.sft(DEMONSTRATIONS_PER_PROMPT)
        self.reference = open_language_model(str(self.sft))
        self.prompts = self._encoded("ppo-prompts.jsonl", [key for key in study.train if key not in study.validation])
        self.held_out = self._encoded("held-out-prompts.jsonl", study.held_out)

    @cached_property
    def reward_model(self) -> Path:
        """Of the first labels; where gold pays it gives the critic its trunk alone."""
        return self.study.reward("reward-1", self.sft, self.study.label("labels-1", self.sft), self.study.seed)

    @cached_property
    def gold(self) -> GoldReward:
        return GoldReward.against(
            self.reference,
            self.prompts,
            max_new_tokens=MAX_NEW_TOKENS,
            temperature=TEMPERATURE,
            seed=self.study.seed,
        )

    @cached_property
    def theirs(self) -> Answers:
        return self.answers(self.reference, self.study.seed + 2_000, HELD_OUT_SAMPLES)

    def answers(self, model: LanguageModel, seed: int, samples: int) -> Answers:
        prompts = [prompt for prompt in self.held_out for _ in range(samples)]
        responses = _sampled(model, prompts, seed)
        under = log_probabilities(
            self.reference,
            [prompt.token_ids for prompt in prompts],
            [response.token_ids for response in responses],
            temperature=TEMPERATURE,
            batch_tokens=4_096,
        )
        own = math.fsum(math.fsum(response.log_probabilities) for response in responses)
        texts = [one.text for one in written(model, responses)]
        keys = self.study.held_out
        return Answers(
            {key: texts[samples * place : samples * (place + 1)] for place, key in enumerate(keys)},
            (own - float(under.double().sum())) / len(prompts),
            sum(len(response.token_ids) for response in responses) / len(prompts),
        )

    def point(self, reward: str, arm: str, iteration: int, seconds: float, ours: Answers) -> Point:
        prompts = {key: self.study.prompts[key].text for key in self.study.held_out}
        found = duels(prompts, ours.texts, self.theirs.texts, gold.score, tie_within=gold.TIE_BELOW)
        rate = win_rate(found, seed=0)
        return Point(
            self.study.seed,
            reward,
            arm,
            iteration,
            round(seconds, 1),
            rate.rate,
            rate.interval,
            rate.by_length_tercile,
            ours.kl,
            ours.tokens / self.theirs.tokens,
        )

    def best_of_n(self) -> Iterator[Point]:
        """Gold's choice among n samples of the SFT policy."""
        pool = self.answers(self.reference, self.study.seed + 3_000, HELD_OUT_SAMPLES * max(BEST_OF))
        for n in BEST_OF:
            chosen = {
                key: [
                    max(texts[start : start + n], key=partial(gold.score, self.study.prompts[key].text))
                    for start in range(0, HELD_OUT_SAMPLES * n, n)
                ]
                for key, texts in pool.texts.items()
            }
            words = [
                sum(len(text.split()) for texts in of.values() for text in texts) for of in (chosen, self.theirs.texts)
            ]
            ours = Answers(chosen, best_of_kl(n), self.theirs.tokens * words[0] / words[1])
            yield self.point("gold", "best of n", n, 0.0, ours)

    def _encoded(self, name: str, keys: Sequence[str]) -> list[Prompt]:
        records = load(self.study.prompt_file(name, keys), PromptRecord)
        return encode_prompts(self.reference, records, max_new_tokens=MAX_NEW_TOKENS)[0]


@dataclass
class Pace:
    """Seconds since the start, pauses left out."""

    began: float = field(default_factory=time.monotonic)
    paused: float = 0.0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began - self.paused


class MeasuredLoop(PpoLoop):
    """PPO that is looked at after some of its iterations."""

    def __init__(self, ground: Ground, reward: str, arm: str, points: int, config: PpoConfig, *loop: Any) -> None:
        super().__init__(config, *loop)
        self.found: list[Point] = []
        self._ground, self._reward, self._arm = ground, reward, arm
        self._looks = {max(1, round(config.iterations * place / points)) for place in range(1, points + 1)}
        self._pace_so_far = Pace()

    def _iterate(self, iteration: int) -> str | None:
        left = super()._iterate(iteration)
        if iteration + 1 in self._looks:
            seconds, began = self._pace_so_far.seconds, time.monotonic()
            ours = self._ground.answers(self._models.policy, self._ground.study.seed + 1_000, HELD_OUT_SAMPLES)
            self.found.append(self._ground.point(self._reward, self._arm, iteration + 1, seconds, ours))
            print(self.found[-1], flush=True)
            self._pace_so_far.paused += time.monotonic() - began
        return left


def run_arm(ground: Ground, reward: str, arm: str, settings: Mapping[str, object], points: int) -> list[Point]:
    folder = ground.study.folder / f"frontier-{reward}-{arm}"
    done = folder / "points.json"
    if done.exists():
        return [Point(**row) for row in json.loads(done.read_text())]
    config = PpoConfig(
        seed=ground.study.seed,
        policy=str(ground.sft),
        reference=str(ground.sft),
        reward=str(ground.reward_model),
        prompts=ground.study.folder / "ppo-prompts.jsonl",
        **{**UNWATCHED, **settings},  # type: ignore[arg-type]
    )
    run = Run(folder / secrets.token_hex(4), Lineage("ppo", {}, {}, dict(settings), ground.study.seed, "bench"))
    policy, reference = open_language_model(config.policy), open_language_model(config.reference)
    reward_model = open_reward_model(str(ground.reward_model))
    config = run.settle(config, facts_of(policy.model))
    paid = ground.gold if reward == "gold" else reward_of(config, reward_model, policy, reference)
    models = build_models(config, policy, reference, reward_model, paid)
    assert ground.theirs, "measured before the clock starts"
    loop = MeasuredLoop(ground, reward, arm, points, config, models, ground.prompts, run)
    loop.train()
    done.write_text(json.dumps([asdict(point) for point in loop.found]))
    return loop.found


def _sampled(model: LanguageModel, prompts: Sequence[Prompt], seed: int) -> list[Response]:
    return sample_responses(
        model,
        [prompt.token_ids for prompt in prompts],
        max_new_tokens=MAX_NEW_TOKENS,
        temperature=TEMPERATURE,
        seed=seed,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--drawn", type=int, default=0)
    parser.add_argument("--arms", nargs="*", choices=ARMS, default=list(ARMS))
    parser.add_argument("--rewards", nargs="*", choices=["gold", "learned"], default=["gold", "learned"])
    parser.add_argument("--labels", type=int, default=400)
    parser.add_argument("--noise", type=float, default=0.1)
    parser.add_argument("--points", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--settings", type=json.loads, default=None, help="one arm more, `tried`, with these")
    arguments = parser.parse_args()
    use_threads(arguments.threads)
    arms = {name: ARMS[name] for name in arguments.arms}
    if arguments.settings is not None:
        arms[f"tried {random.Random(json.dumps(arguments.settings)).randrange(10**6)}"] = arguments.settings
    points: list[Point] = []
    for seed in [*arguments.seeds, *(secrets.randbelow(10**6) for _ in range(arguments.drawn))]:
        ground = Ground(Study(arguments.folder, seed, arguments.labels, arguments.noise, {}))
        for point in ground.best_of_n():
            print(point, flush=True)
            points.append(point)
        for reward in arguments.rewards:
            for arm, settings in arms.items():
                points += run_arm(ground, reward, arm, settings, arguments.points)
    print(json.dumps({"bench": "frontier", "points": [asdict(point) for point in points]}))


if __name__ == "__main__":
    main()
