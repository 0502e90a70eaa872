"""A stage program that keeps the contract of `python -m training` with arithmetic in place of learning.

Its "weights" are a chain of hashes over the steps, so that a resumed run ends in the same ones as an uninterrupted run,
and only then. The config says how it behaves: `steps`, `step_seconds`, `crash_at`, `crash_once_at`, `refuse`, `deaf`,
`waits_at` (for a file `go`, or to be stopped).
"""

import argparse
import hashlib
import json
import os
import signal
import struct
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from training import ending
from training.disk import NO_ROOM, is_full
from training.ending import Ending
from training.records import (
    CompletionRecord,
    DemonstrationRecord,
    DuelRecord,
    PreferenceRecord,
    PromptRecord,
    ResponseRecord,
    ScoredPairRecord,
    UnpairedRecord,
    read_records,
    write_records,
)

KIND = dict.fromkeys(("sft", "adopt", "ppo", "dpo", "kto"), "policy") | {"reward": "reward", "cost": "cost"}
INPUTS = {
    "demonstrations": DemonstrationRecord,
    "held_out": DemonstrationRecord,
    "preferences": PreferenceRecord,
    "prompts": PromptRecord,
    "held_out_prompts": PromptRecord,
    "responses": UnpairedRecord,
}
MODELS = ("policy", "reference", "reward", "cost", "held_out_reward", "averaged", "previous_reward")
FIGURES: dict[str, dict[str, Any]] = {
    "sft": {
        "nll": 1.5,
        "held_out_demonstrations": 2,
        "from_nothing": True,
        "unigram_nll": 5.5,
        "unigram_gain": 4.0,
        "unigram_gain_low": 3.8,
        "unigram_gain_high": 4.2,
    },
    "adopt": {
        "parameters": 8,
        "report": {
            "family": "llama",
            "parameters": 8,
            "dtypes": ["F32"],
            "licence": None,
            "context": 128,
            "has_template": True,
            "rendered": "<|user|>Is water wet?<|end|><|assistant|>Yes.<|end|>",
            "end_of_turn": "<|end|>",
            "ends": ["<|end|>"],
            "flop_rate": 1e10,
        },
        "probe": None,
    },
    "reward": {
        "validation_pairs": 80,
        "accuracy": 0.75,
        "accuracy_low": 0.65,
        "accuracy_high": 0.84,
        "previous_accuracy": None,
        "accuracy_difference": None,
        "accuracy_difference_low": None,
        "accuracy_difference_high": None,
    },
    "cost": {"accuracy": 0.7, "safety_accuracy": 0.8, "safe_recognised": 0.9, "unsafe_recognised": 0.7},
    "ppo": {"kl": 3.0, "reward_gain": 1.0},
    "dpo": {"accuracy": 0.7, "accuracy_low": 0.6, "accuracy_high": 0.8, "margin": 0.4},
    "kto": {"steps": 2, "train_responses": 8, "train_desirable": 4, "desirable_margin": 0.4},
    "generate": {"eos_rate": 1.0},
    "embed": {"responses": 0, "features": 0, "responses_dropped": 0},
    "evaluate": {
        "proxy_win_rate": 0.8,
        "proxy_win_rate_low": 0.7,
        "proxy_win_rate_high": 0.9,
        "kl": 3.5,
        "eos_rate": 0.99,
        "length_ratio": 1.1,
        "distinct_2": 0.5,
        "reference_distinct_2": 0.6,
    },
}

stopping = False


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("stage")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    ending.begin(arguments.out)
    return ending.leave(arguments.out, ended(arguments))


def ended(arguments: argparse.Namespace) -> Ending:
    config = json.loads(arguments.config.read_text())
    heard = arguments.out / "stopping"
    heard.unlink(missing_ok=True)
    signal.signal(signal.SIGTERM, signal.SIG_IGN if config.get("deaf") else partial(stop, heard))
    print(f"{arguments.stage} runs as {os.getpid()}")  # noqa: T201 - into the run's log
    try:
        return Ending(run(arguments.stage, arguments.config, arguments.out))
    except OSError as error:
        if not is_full(error):
            raise
        sys.stderr.write(f"No room on the disk: {error}\n")
        return Ending(NO_ROOM, f"No room on the disk: {error}")
    finally:
        heard.unlink(missing_ok=True)


def run(stage: str, config_path: Path, out: Path) -> int:
    config = json.loads(config_path.read_text())
    if config.get("refuse"):
        sys.stderr.write("the config says no\n")
        return 2
    inputs = read_inputs(stage, config_path.parent, config)
    check_models(config_path.parent, config)
    if not (out / "result.json").exists():
        weights = work(out, config)
        if weights is None:
            return 3
        leave(stage, out, config, inputs, weights)
    return 0


def stop(heard: Path, *_: object) -> None:
    global stopping
    stopping = True
    heard.touch()


def read_inputs(stage: str, base: Path, config: dict[str, Any]) -> dict[str, Any]:
    kinds = INPUTS | ({"responses": ResponseRecord} if stage == "embed" else {})
    return {role: read_records(base / config[role], kind) for role, kind in kinds.items() if config.get(role)}


def check_models(base: Path, config: dict[str, Any]) -> None:
    for role in MODELS:
        if config.get(role) is not None and not (base / config[role] / "manifest.json").is_file():
            raise SystemExit(f"no model {role}")


def work(out: Path, config: dict[str, Any]) -> str | None:
    checkpoint = out / "checkpoints" / "state.json"
    checkpoint.parent.mkdir(exist_ok=True)
    state: dict[str, Any] = {"step": 0, "weights": str(config["seed"])}
    if checkpoint.exists():
        state = json.loads(checkpoint.read_text())
    total = config.get("steps", 3)
    for step in range(state["step"] + 1, total + 1):
        time.sleep(config.get("step_seconds", 0))
        while step == config.get("waits_at") and not stopping and not (out / "go").exists():
            time.sleep(0.02)
        crash(out, config, step)
        state = {"step": step, "weights": hashlib.sha256(f"{state['weights']} {step}".encode()).hexdigest()}
        write_metrics(out, step, total, config.get("step_seconds", 0))
        write(checkpoint, state)
        if stopping and step < total:
            (out / "stopped").touch()
            return None
    return str(state["weights"])


def crash(out: Path, config: dict[str, Any], step: int) -> None:
    if config.get("crash_at") == step:
        raise RuntimeError("poisoned")
    marker = out / "crashed"
    if config.get("crash_once_at") == step and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def write_metrics(out: Path, step: int, total: int, seconds: float) -> None:
    values = {"loss": [2.0 / step, 2], "seconds": [seconds, 1]}
    row = {"step": step, "total_steps": total, "phase": "learning", "values": values}
    with (out / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


def leave(stage: str, out: Path, config: dict[str, Any], inputs: dict[str, Any], weights: str) -> None:
    if stage in KIND:
        publish(stage, out, weights)
    if stage == "generate":
        write_records(out / "completions.jsonl", completions(inputs["prompts"], config))
    if stage == "embed":
        leave_features(out, inputs["responses"])
    if stage == "reward":
        write_records(out / "scored_pairs.jsonl", scored_pairs(inputs["preferences"]))
    if stage == "evaluate" and config.get("prompts"):
        write_records(out / "duels.jsonl", duels(inputs["prompts"], config))
    write(out / "result.json", FIGURES[stage] | config.get("figures", {}))


def publish(stage: str, out: Path, weights: str) -> None:
    artifact = out / "artifact"
    artifact.mkdir(exist_ok=True)
    (artifact / "weights.txt").write_text(weights)
    manifest = {
        "format": 1,
        "kind": KIND[stage],
        "files": {"weights.txt": hashlib.sha256(weights.encode()).hexdigest()},
        "lineage": {"stage": stage},
    }
    write(artifact / "manifest.json", manifest)


def completions(prompts: list[PromptRecord], config: dict[str, Any]) -> list[CompletionRecord]:
    return [
        CompletionRecord(
            prompt_id=prompt.prompt_id,
            sample=sample,
            text=f"Seed {config['seed']}, answer {sample}\x00",
            token_count=5,
            ended_with_eos=True,
            seed=config["seed"],
            temperature=1.0,
        )
        for prompt in prompts
        for sample in range(config["samples_per_prompt"])
    ]


def leave_features(out: Path, responses: list[ResponseRecord], width: int = 4) -> None:
    """As far as anybody can tell, what a model made of the texts."""
    digests = [hashlib.sha256(f"{row.prompt_id} {row.response}".encode()).digest() for row in responses]
    rows = b"".join(struct.pack(f"<{width}f", *(byte / 256 for byte in digest[:width])) for digest in digests)
    told = {"dtype": "F32", "shape": [len(responses), width], "data_offsets": [0, len(rows)]}
    header = json.dumps({"features": told}).encode()
    (out / "features.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + rows)
    write(out / "rows.json", [row.response_id for row in responses])


def scored_pairs(preferences: list[PreferenceRecord]) -> list[ScoredPairRecord]:
    """A model that has A ahead of B in every pair, the later ones by more; the one before it was on the other side."""
    held_out = [record for record in preferences if record.split == "validation"]
    places = Counter[str]()
    rows = []
    for number, record in enumerate(held_out, start=1):
        rows.append(ScoredPairRecord(record.source, places[record.source], 0.1 * number, -0.1 * number))
        places[record.source] += 1
    return rows


def duels(prompts: list[PromptRecord], config: dict[str, Any]) -> list[DuelRecord]:
    """Of the new policy's responses every second is said to be the better one, but for those that are `level`."""
    own = "Level" if config.get("level") else "New"
    return [
        DuelRecord(
            prompt_id=prompt.prompt_id,
            sample=0,
            text=f"{own} {'' if config.get('level') else place}",
            reference_text=f"Level {'' if config.get('level') else place}",
            token_count=5,
            reference_token_count=6,
            ended_with_eos=True,
            reference_ended_with_eos=True,
            reward=float(place % 2),
            reference_reward=0.5,
            temperature=1.0,
        )
        for place, prompt in enumerate(prompts)
    ]


def write(path: Path, value: object) -> None:
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(value))
    temporary.rename(path)


if __name__ == "__main__":
    sys.exit(main())
