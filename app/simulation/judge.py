"""The gold rule as judge of what the loop made: held-out pairs for the reward model, win rates for the policy.

Models write and score in `python -m training`; only texts come back, and only here is gold asked.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from app import starter
from app.db.base import Json
from app.errors import DomainError
from app.simulation.comparison import Interval, WinRate, duels, win_rate
from app.starter import gold
from training.records import CompletionRecord, Message, PreferenceRecord, PromptRecord, read_records, write_records

SAMPLES_PER_PROMPT = 3
PAIR_SAMPLES = 4


class JudgeError(DomainError):
    """A stage of the evaluation failed; the message holds the last of what it printed."""


@dataclass(frozen=True)
class Verdict:
    """A reward model on the SFT policy's pairs under clean gold; a policy against SFT on held-out prompts."""

    reward_accuracy: float
    reward_accuracy_ci: Interval
    gold_win_rate: WinRate
    unseen_topics: WinRate
    """Of it, the duels on topics that were held out whole: nothing in training is about them."""
    kl: float
    length_ratio: float
    eos_rate: float


class Judge:
    """Judges models of one loop in a folder of its own. `prompts` are the held-out ones, by id."""

    def __init__(self, folder: Path, prompts: dict[str, str], *, seed: int) -> None:
        self._folder = folder
        self._prompts = prompts
        self._seed = seed
        unseen = {prompt.text for prompt in starter.prompts() if prompt.topic_held_out}
        self._unseen = {key for key, text in prompts.items() if text in unseen}
        folder.mkdir(parents=True, exist_ok=True)
        self._prompt_file = folder / "prompts.jsonl"
        write_records(self._prompt_file, [PromptRecord(key, _asked(text)) for key, text in prompts.items()])

    def held_out_pairs(self, reference: Path) -> Path:
        """Pairs of the reference's samples with gold's clean word on each; ties are left out."""
        path = self._folder / "pairs.jsonl"
        if not path.exists():
            config = {"policy": str(reference), "samples_per_prompt": PAIR_SAMPLES, "seed": self._seed + 1}
            out = self._stage("pairs", "generate", config)
            write_records(path, self._pairs(texts_by_prompt(out / "completions.jsonl")))
        return path

    def verdict(self, number: int, *, policy: Path, reference: Path, reward: Path) -> Verdict:
        config = {
            "policy": str(policy),
            "reference": str(reference),
            "reward": str(reward),
            "preferences": str(self.held_out_pairs(reference)),
            "samples_per_prompt": SAMPLES_PER_PROMPT,
            "seed": self._seed + 2,
        }
        out = self._stage(f"round-{number}", "evaluate", config)
        figures = json.loads((out / "result.json").read_text())
        ours = texts_by_prompt(out / "completions.jsonl")
        theirs = texts_by_prompt(out / "reference_completions.jsonl")
        found = duels(self._prompts, ours, theirs, gold.score, tie_within=gold.TIE_BELOW)
        return Verdict(
            reward_accuracy=figures["accuracy"],
            reward_accuracy_ci=(figures["accuracy_low"], figures["accuracy_high"]),
            gold_win_rate=win_rate(found, seed=self._seed),
            unseen_topics=win_rate([duel for duel in found if duel.prompt_id in self._unseen], seed=self._seed),
            kl=figures["kl"],
            length_ratio=figures["length_ratio"],
            eos_rate=figures["eos_rate"],
        )

    def _pairs(self, texts: dict[str, list[str]]) -> list[PreferenceRecord]:
        pairs = []
        for key, samples in texts.items():
            for a, b in zip(samples[::2], samples[1::2], strict=True):
                word = gold.preference(self._prompts[key], a, b)
                if word:
                    prompt = _asked(self._prompts[key])
                    pairs.append(PreferenceRecord(key, prompt, a, b, float(word > 0), split="validation"))
        return pairs

    def _stage(self, name: str, stage: str, config: Json) -> Path:
        out = self._folder / name
        out.mkdir(exist_ok=True)
        (out / "config.json").write_text(json.dumps({"prompts": str(self._prompt_file), **config}))
        done = subprocess.run(
            [sys.executable, "-m", "training", stage, "--config", str(out / "config.json"), "--out", str(out)],
            env={"OMP_WAIT_POLICY": "PASSIVE", **os.environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            raise JudgeError(f"{stage} ended with {done.returncode}: {done.stdout[-2000:]}")
        return out


def texts_by_prompt(path: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in read_records(path, CompletionRecord):
        found.setdefault(row.prompt_id, []).append(row.text)
    return found


def _asked(text: str) -> tuple[Message, ...]:
    return (Message("user", text),)
