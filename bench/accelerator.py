"""Every stage briefly on a device: tokens a second, the share of what the device can do at best, the peak of memory.

    python -m bench.accelerator [--device cuda] [--model DIR | --width 576 --layers 30] [--scale 1] [--stages sft,ppo]

Each is the real command in a process of its own, on texts of random words. The model is random unless one is named;
`--scale` multiplies how much of everything there is. The first step of a stage is left out of its pace: there the
device is still being woken. PPO runs in float32 and in bfloat16, the one stage with a choice. The limit is that of
float32 products of the model's own shapes. Prints a table and a line of JSON; a stage that fails is told and passed
over.
"""

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from models.architecture import Architecture
from models.backbone import build_language_model
from models.saving import save_language_model
from models.tokenization import train_tokenizer
from training.records import (
    Conversation,
    DemonstrationRecord,
    PreferenceRecord,
    PromptRecord,
    ResponseRecord,
    UnpairedRecord,
    conversation,
    write_records,
)
from training.runtime.device import found

WORDS = 400
PROMPTS = 64
PROMPT_WORDS, RESPONSE_WORDS = 20, 60
NEW_TOKENS = 64
STAGES = ("sft", "reward", "ppo", "ppo in bfloat16", "grpo", "dpo", "kto", "generate", "evaluate", "embed")


@dataclass(frozen=True, slots=True)
class Measured:
    """Of a stage; None where it doesn't tell."""

    stage: str
    seconds: float
    """From its start to its end, loading and saving included."""
    tokens_per_second: float | None
    """Of all steps but the first."""
    limit_share: float | None
    gflops: float | None
    """The limit, a billion operations a second."""
    device_gigabytes: float | None
    process_gigabytes: float


class World:
    """A model and the data of all stages, in a folder."""

    def __init__(self, folder: Path, model: Path | None, architecture: Architecture, scale: int) -> None:
        self.folder = folder
        self.scale = scale
        rng = random.Random(0)
        words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 8))) for _ in range(WORDS)]
        asked: list[Conversation] = [
            conversation(("user", " ".join(rng.choices(words, k=PROMPT_WORDS)))) for _ in range(PROMPTS * scale)
        ]

        def text() -> str:
            return " ".join(rng.choices(words, k=rng.randint(RESPONSE_WORDS // 3, RESPONSE_WORDS)))

        keyed = [(str(number), prompt) for number, prompt in enumerate(asked)]
        split = {key: "validation" if number % 8 == 0 else "train" for number, (key, _) in enumerate(keyed)}
        pairs = [
            PreferenceRecord(key, prompt, text(), text(), float(rng.random() < 0.5), split=split[key])  # type: ignore[arg-type]
            for key, prompt in keyed
            for _ in range(4)
        ]
        write_records(self.path("prompts"), [PromptRecord(key, prompt) for key, prompt in keyed])
        write_records(
            self.path("demonstrations"),
            [DemonstrationRecord(key, prompt, text()) for key, prompt in keyed for _ in range(8)],
        )
        write_records(self.path("preferences"), pairs)
        verdicts = [
            UnpairedRecord(pair.prompt_id, pair.prompt, pair.response_a, pair.preference > 0.5, split=pair.split)
            for pair in pairs
        ]
        write_records(self.path("verdicts"), verdicts)
        write_records(
            self.path("responses"),
            [
                ResponseRecord(str(number), row.prompt_id, row.prompt, row.response_a)
                for number, row in enumerate(pairs)
            ],
        )
        self.model = model or self._made(architecture, [prompt[0].content for prompt in asked])

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.jsonl"

    def settings(self, stage: str) -> Mapping[str, object]:
        policy = {"policy": self.model}
        sampled = {**policy, "prompts": self.path("prompts"), "max_new_tokens": NEW_TOKENS}
        optimised = sampled | {
            "reference": self.model,
            "reward": self.folder / "reward" / "artifact",
            "iterations": 3,
            "batch_size": 32 * self.scale,
            "minibatch_size": 16 * self.scale,
            "detector_responses": 0,
            "actor_learning_rate": 1e-6,
            "max_kl": None,
            "micro_batch_tokens": 4096 * self.scale,
        }
        batch = {"batch_tokens": 2048 * self.scale}
        match stage:
            case "sft":
                return batch | {"model": self.model, "demonstrations": self.path("demonstrations"), "epochs": 1}
            case "reward":
                learnt = {"preferences": self.path("preferences"), "method": "finetune", "reference_samples": 64}
                return sampled | batch | learnt | {"cross_validate_below_pairs": 0}
            case "ppo":
                return optimised | {"critic_warmup_iterations": 0}
            case "ppo in bfloat16":
                return optimised | {"critic_warmup_iterations": 0, "precision": "bfloat16"}
            case "grpo":
                return optimised | {"algorithm": "grpo", "samples_per_prompt": 4}
            case "dpo":
                return policy | batch | {"preferences": self.path("preferences")}
            case "kto":
                return policy | {"responses": self.path("verdicts")}
            case "generate":
                return sampled | {"batch_size": 32 * self.scale}
            case "evaluate":
                return sampled | {"reward": self.folder / "reward" / "artifact", "reference": self.model}
            case _:
                return policy | {"responses": self.path("responses")}

    def _made(self, architecture: Architecture, texts: Sequence[str]) -> Path:
        folder = self.folder / "model"
        save_language_model(build_language_model(architecture, train_tokenizer(texts, 2000), seed=0), folder)
        return folder


def measure(world: World, stage: str, device: str) -> Measured | None:
    """One run; None, and its last line, where it fails."""
    out = world.folder / stage.replace(" ", "-")
    config = out.with_suffix(".json")
    config.write_text(json.dumps({"seed": 0, **world.settings(stage)}, default=str))
    name = "ppo" if stage == "grpo" else stage.split()[0]
    command = [sys.executable, "-m", "training", name, "--config", str(config), "--out", str(out), "--device", device]
    began = time.perf_counter()
    with (out.with_suffix(".log")).open("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        told = log.read().splitlines()
    if process.returncode != 0:
        print(f"{stage}: ended with {process.returncode}: {told[-1] if told else ''}", flush=True)
        return None
    rows = [json.loads(line)["values"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    return Measured(
        stage=stage,
        seconds=time.perf_counter() - began,
        tokens_per_second=_mean(rows[1:], "tokens_per_second"),
        limit_share=_mean(rows[1:], "gemm_fraction"),
        gflops=_mean(rows, "gemm_gflops"),
        device_gigabytes=_mean(rows[-1:], "device_peak_gigabytes"),
        process_gigabytes=usage.ru_maxrss * 1024 / 1e9,
    )


def _mean(rows: Sequence[Mapping[str, tuple[float, float]]], name: str) -> float | None:
    told = [row[name] for row in rows if name in row]
    return sum(total for total, _ in told) / sum(count for _, count in told) if told else None


def machine(device: str) -> str:
    kind = found(device)
    name = torch.cuda.get_device_name(kind) if kind.type == "cuda" else platform.processor() or platform.machine()
    return f"{name} ({kind}), torch {torch.__version__}, {os.cpu_count()} cores"


def main() -> None:
    arguments = _arguments()
    print(machine(arguments.device), flush=True)
    architecture = Architecture(
        hidden_size=arguments.width,
        layers=arguments.layers,
        heads=max(1, arguments.width // 64),
        intermediate_size=8 * arguments.width // 3 // 8 * 8,
    )
    measured = []
    with tempfile.TemporaryDirectory(prefix="plumbline-accelerator-") as folder:
        world = World(Path(folder), arguments.model, architecture, arguments.scale)
        print(f"{'stage':<18}{'tokens/s':>12}{'of limit':>10}{'device GB':>11}{'process GB':>12}{'seconds':>9}")
        for stage in arguments.stages:
            if (one := measure(world, stage, arguments.device)) is not None:
                measured.append(one)
                columns = (one.tokens_per_second, one.limit_share, one.device_gigabytes, one.process_gigabytes)
                told = ["" if value is None else f"{value:.2f}" for value in columns]
                print(f"{stage:<18}{told[0]:>12}{told[1]:>10}{told[2]:>11}{told[3]:>12}{one.seconds:>9.1f}", flush=True)
    print(
        json.dumps({"bench": "accelerator", "machine": machine(arguments.device), "stages": [*map(asdict, measured)]})
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--model", type=Path, default=None, help="a directory; unset: random weights")
    parser.add_argument("--width", type=int, default=Architecture().hidden_size)
    parser.add_argument("--layers", type=int, default=Architecture().layers)
    parser.add_argument("--scale", type=int, default=1)
    parser.add_argument("--stages", type=lambda text: text.split(","), default=list(STAGES))
    return parser.parse_args()


if __name__ == "__main__":
    main()
