"""The loop without its database: the same stages on the same files, to try one idea at a time.

    python -m bench.loop_study --arms loop control ceiling --seeds 0 1 2 --labels 400 --folder DIR

Arms, all from the same SFT policy and first labels:
  loop     two rounds, L new labels each; round 2's are on pairs by round 1's policy
  control  round 2 without new labels: the same PPO steps again, against a reward model of round 1's labels alone
  ceiling  PPO with the gold rule itself as the reward
  fewer    round 1 again from the first N of its labels, for each N of --fewer

Prints a table and, last, one JSON object. A finished stage is not run again in the same folder.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from app import starter
from app.services.starter import DEMONSTRATIONS_PER_PROMPT, STAGE_SETTINGS
from app.simulation.comparison import WinRate, duels, mean_interval, win_rate
from app.simulation.judge import texts_by_prompt
from app.starter import gold
from training.records import (
    DemonstrationRecord,
    Message,
    PreferenceRecord,
    PromptRecord,
    Record,
    Split,
    write_records,
)

VALIDATION_SHARE = 0.1
HELD_OUT_SAMPLES = 3
GOLD_PPO = ("bench.gold_ppo",)


@dataclass(frozen=True)
class Outcome:
    seed: int
    arm: str
    round: int
    reward_accuracy: float
    gold_win_rate: float
    gold_win_rate_interval: tuple[float, float]
    by_length_tercile: tuple[float, float, float]
    kl: float
    length_ratio: float
    eos_rate: float
    seconds: dict[str, float]


class Study:
    def __init__(
        self, folder: Path, seed: int, labels: int, noise: float, settings: dict[str, dict[str, object]]
    ) -> None:
        self.folder = folder / f"seed-{seed}"
        self.seed, self.labels, self.noise, self.settings = seed, labels, noise, settings
        self.seconds: dict[str, float] = {}
        self.prompts = {str(i): prompt for i, prompt in enumerate(starter.prompts())}
        self.train = [key for key, prompt in self.prompts.items() if prompt.split == "train"]
        self.held_out = [key for key, prompt in self.prompts.items() if prompt.split != "train"]
        validation = random.Random(0).sample(self.train, int(len(self.train) * VALIDATION_SHARE))
        self.validation = frozenset(validation)
        self.folder.mkdir(parents=True, exist_ok=True)

    def stage(self, name: str, stage: str, config: dict[str, object], program: tuple[str, ...] | None = None) -> Path:
        """The folder of a finished stage; `program` runs it in place of `training STAGE`."""
        out = self.folder / name
        # What is said for this one run comes last.
        config = {"seed": self.seed, **STAGE_SETTINGS.get(stage, {}), **self.settings.get(stage, {}), **config}
        if not (out / "result.json").exists():
            out.mkdir(exist_ok=True)
            (out / "config.json").write_text(json.dumps(config, default=str, indent=1))
            started = time.monotonic()
            environment = {**os.environ, "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE")}
            command = [
                sys.executable,
                "-m",
                *(program or ("training", stage)),
                "--config",
                str(out / "config.json"),
                "--out",
                str(out),
            ]
            subprocess.run(command, check=True, env=environment)
            (out / "seconds").write_text(str(time.monotonic() - started))
        self.seconds[name] = round(float((out / "seconds").read_text()), 1)
        return out

    def write(self, name: str, rows: Sequence[Record]) -> Path:
        path = self.folder / name
        write_records(path, rows)
        return path

    def conversation(self, key: str) -> tuple[Message, ...]:
        return (Message("user", self.prompts[key].text),)

    def prompt_file(self, name: str, keys: Sequence[str]) -> Path:
        return self.write(name, [PromptRecord(key, self.conversation(key)) for key in keys])

    def sft(self, per_prompt: int) -> Path:
        keys = {prompt.text: key for key, prompt in self.prompts.items()}
        rows = [
            DemonstrationRecord(keys[prompt.text], self.conversation(keys[prompt.text]), response.text)
            for prompt, response in starter.demonstrations(self.seed, per_prompt)
            if keys[prompt.text] not in self.validation
        ]
        return self.stage("sft", "sft", {"demonstrations": self.write("demonstrations.jsonl", rows)}) / "artifact"

    def samples(self, name: str, policy: Path, keys: Sequence[str], per_prompt: int, seed: int) -> dict[str, list[str]]:
        prompts = self.prompt_file(f"{name}-prompts.jsonl", keys)
        config = {"policy": policy, "prompts": prompts, "samples_per_prompt": per_prompt, "seed": seed}
        return texts_by_prompt(self.stage(name, "generate", config) / "completions.jsonl")

    def label(
        self, name: str, policy: Path, *, clean: bool = False, keys: Sequence[str] | None = None
    ) -> list[PreferenceRecord]:
        """Gold's word on pairs of the policy's samples, wrong with probability `noise` unless `clean`."""
        draw = random.Random(f"{self.seed}-{name}")
        asked = [draw.choice(keys or self.train) for _ in range(self.labels)]
        found = self.samples(name, policy, sorted(set(asked), key=int), 8, self.seed + 17)
        rows = []
        for key in asked:
            a, b = draw.sample(found[key], 2)
            word = gold.preference(self.prompts[key].text, a, b)
            if not clean and draw.random() < self.noise:
                word = -word
            preference = 0.5 if word == 0 else float(word > 0)
            split: Split = "validation" if key in self.validation else "train"
            if a != b:
                rows.append(PreferenceRecord(key, self.conversation(key), a, b, preference, split=split, source=name))
        return rows

    def reward(self, name: str, policy: Path, rows: list[PreferenceRecord], seed: int) -> Path:
        config = {
            "policy": policy,
            "preferences": self.write(f"{name}.jsonl", rows),
            "prompts": self.prompt_file("train-prompts.jsonl", [k for k in self.train if k not in self.validation]),
            "seed": seed,
        }
        return self.stage(name, "reward", config) / "artifact"

    def ppo(
        self,
        name: str,
        sft: Path,
        reward: Path,
        seed: int,
        program: tuple[str, ...] | None = None,
        averaged: Path | None = None,
    ) -> Path:
        prompts = self.prompt_file("ppo-prompts.jsonl", [key for key in self.train if key not in self.validation])
        config = {"policy": sft, "reference": sft, "reward": reward, "prompts": prompts, "seed": seed}
        if averaged is not None:
            config["averaged"] = averaged
        return self.stage(name, "ppo", config, program) / "artifact"

    def outcome(self, arm: str, number: int, policy: Path, sft: Path, reward: Path | None) -> Outcome:
        name = f"{arm}-{number}-evaluate"
        config: dict[str, object] = {
            "policy": policy,
            "reference": sft,
            "prompts": self.prompt_file("held-out-prompts.jsonl", self.held_out),
            "samples_per_prompt": HELD_OUT_SAMPLES,
            "seed": self.seed + 1000,
        }
        if reward is not None:
            clean = self.label("held-out-pairs", sft, clean=True, keys=self.held_out)
            config |= {"reward": reward, "preferences": self.write("held-out-pairs.jsonl", clean)}
        out = self.stage(name, "evaluate", config)
        result = json.loads((out / "result.json").read_text())
        rate = self.gold_rate(
            texts_by_prompt(out / "completions.jsonl"), texts_by_prompt(out / "reference_completions.jsonl")
        )
        return Outcome(
            self.seed,
            arm,
            number,
            result.get("accuracy", float("nan")),
            rate.rate,
            rate.interval,
            rate.by_length_tercile,
            result["kl"],
            result["length_ratio"],
            result["eos_rate"],
            dict(self.seconds),
        )

    def gold_rate(self, ours: dict[str, list[str]], theirs: dict[str, list[str]]) -> WinRate:
        prompts = {key: self.prompts[key].text for key in self.held_out}
        found = duels(prompts, ours, theirs, gold.score, tie_within=gold.TIE_BELOW)
        return win_rate(found, seed=0)


def describe(study: Study, sft: Path) -> None:
    """What the SFT policy is like before anything is asked of it."""
    found = study.samples("sft-look", sft, study.held_out, 4, 5)
    scores = [(key, gold.score(study.prompts[key].text, text)) for key, group in found.items() for text in group]
    mean = sum(score for _, score in scores) / len(scores)
    low, high = mean_interval(scores, seed=0)
    print(f"seed {study.seed}: SFT's gold score on held-out prompts {mean:.2f} [{low:.2f}, {high:.2f}]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--arms", nargs="+", default=["loop"], choices=["loop", "control", "ceiling", "fewer"])
    parser.add_argument("--labels", type=int, default=400)
    parser.add_argument("--fewer", type=int, nargs="+", default=[200])
    parser.add_argument("--noise", type=float, default=0.1)
    parser.add_argument("--per-prompt", type=int, default=DEMONSTRATIONS_PER_PROMPT)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--settings", type=json.loads, default={}, help='e.g. \'{"ppo": {"kl_coefficient": 0.1}}\'')
    arguments = parser.parse_args()
    outcomes: list[Outcome] = []
    for seed in arguments.seeds:
        study = Study(arguments.folder, seed, arguments.labels, arguments.noise, arguments.settings)
        sft = study.sft(arguments.per_prompt)
        describe(study, sft)
        first = study.label("labels-1", sft)
        reward = study.reward("reward-1", sft, first, seed)
        policy = study.ppo("ppo-1", sft, reward, seed)
        outcomes.append(study.outcome("loop", 1, policy, sft, reward))
        report(outcomes[-1])
        if "loop" in arguments.arms:
            second = study.reward("reward-2", sft, first + study.label("labels-2", policy), seed)
            outcomes.append(study.outcome("loop", 2, study.ppo("ppo-2", sft, second, seed + 1), sft, second))
            report(outcomes[-1])
        if "control" in arguments.arms:
            again = study.ppo("ppo-control", sft, reward, seed + 1)
            outcomes.append(study.outcome("control", 2, again, sft, reward))
            report(outcomes[-1])
        if "ceiling" in arguments.arms:
            best = study.ppo("ppo-ceiling", sft, reward, seed, GOLD_PPO)
            outcomes.append(study.outcome("ceiling", 1, best, sft, None))
            report(outcomes[-1])
        if "fewer" in arguments.arms:
            for labels in arguments.fewer:
                less = study.reward(f"reward-{labels}-labels", sft, first[:labels], seed)
                policy = study.ppo(f"ppo-{labels}-labels", sft, less, seed)
                outcomes.append(study.outcome(f"{labels}-labels", 1, policy, sft, less))
                report(outcomes[-1])
    print(json.dumps({"bench": "loop_study", "outcomes": [asdict(outcome) for outcome in outcomes]}))


def report(outcome: Outcome) -> None:
    low, high = outcome.gold_win_rate_interval
    thirds = " ".join(f"{third:.2f}" for third in outcome.by_length_tercile)
    print(
        f"seed {outcome.seed} {outcome.arm} round {outcome.round}: reward accuracy {outcome.reward_accuracy:.3f}, "
        f"gold win rate {outcome.gold_win_rate:.3f} [{low:.3f}, {high:.3f}], by length tercile {thirds}, "
        f"KL {outcome.kl:.2f}, length × {outcome.length_ratio:.2f}, EOS {outcome.eos_rate:.3f}, {outcome.seconds}",
        flush=True,
    )


if __name__ == "__main__":
    main()
