"""How many times as fast as TRL's our stages are with a real model and adapters, and in how much memory.

    python -m bench.real_vs_trl MODEL [--stages sft,dpo] [--peers trl,trl-rows] [--rows 16] [--seeds 2]

MODEL is the directory of a chat model. Both programs get it, the same pairs or prompts of people, adapters of one rank
on the same layers, rates and as many steps of as many rows; both compute in float32 and keep activations. Ours has
micro-batches of one long row. `trl` computes a step's rows at once, `trl-rows` one after the other, which pads less and
needs less memory; `trl-bf16` is that in bfloat16, weights too. PPO is TRL 1.12.0's, the rest 1.16.0's (`make oracle`).

One thread each, in turns, watched from outside: the log says when steps end. Start and saving count for neither; the
time of DPO's reference does, and PPO's and GRPO's is the median of all updates but the first.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median
from typing import cast

from bench.ppo_vs_trl import PEER_PYTHON as PPO_PYTHON
from bench.ppo_vs_trl import machine
from bench.preference_race import PEER_PYTHON, TRANSCRIPTS, timed
from bench.preference_world import Work, World, write_world
from bench.watched import Watched, watch
from models.backbone import load_language_model
from training.data.batches import draw
from training.data.encoding import encode_prompts
from training.data.examples import Prompt
from training.data.opening import load
from training.records import PromptRecord

GOAL = 1.5
OURS = "ours"
RANK, ALPHA = 8, 16
LORA = {"r": RANK, "lora_alpha": ALPHA, "lora_dropout": 0.0, "target_modules": "all-linear"}
LEARNING_RATE = 1e-4
PAIRS_A_STEP, MAX_LENGTH = 2, 256
TEMPERATURE = 0.7
RESPONSES, RESPONSE_TOKENS, GROUP = 4, 48, 4
"""Of a rollout; and as many responses to a prompt in GRPO."""
UPDATES, EPOCHS = 2, 2
KL_COEFFICIENT = 0.05
PAD = "<|endoftext|>"
"""In TRL's PPO, which hides from the model all tokens of the prompt that are like the padding."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One of our stages beside one trainer."""

    command: str
    ours: Callable[[World, int], Mapping[str, object]]
    theirs: Callable[[World, int], Mapping[str, object]]
    phases: tuple[str, ...] = ()
    """Of our log, that count, where a run goes once through all rows; none: updates count, all but the first."""
    tokens: Callable[[World], int] = lambda world: world.sides_tokens
    """Real ones that such a run learns from."""
    module: str = "bench.trl_preferences"
    python: Path = PEER_PYTHON


def _prompts(world: World, seed: int, count: int) -> list[Prompt]:
    """In the order in which our loop draws them."""
    policy = load_language_model(world.policy)
    prompts, _ = encode_prompts(policy, load(world.prompts, PromptRecord), max_new_tokens=RESPONSE_TOKENS)
    return draw(prompts, start=0, count=count, seed=seed, purpose="prompts")


def _trained(world: World, **more: object) -> dict[str, object]:
    return {"per_device_train_batch_size": PAIRS_A_STEP, "num_train_epochs": 1, "max_length": MAX_LENGTH, **more}


def _trainer(stage: str, world: World, **arguments: object) -> dict[str, object]:
    common = {
        "learning_rate": LEARNING_RATE,
        "max_grad_norm": 1.0,
        "gradient_checkpointing": False,
        "bf16": False,
        "dataloader_pin_memory": False,
        "logging_steps": 1,
    }
    return {
        "stage": stage,
        "model": str(world.policy),
        "tokens": str(world.tokens),
        "arguments": {**common, **arguments},
    }


def _rollouts(world: World, seed: int, **more: object) -> dict[str, object]:
    """What our loop is told for both algorithms: fixed prices, nothing watched, no end but the last update."""
    return {
        "policy": str(world.policy),
        "reference": str(world.policy),
        "reward": str(world.reward),
        "prompts": str(world.prompts),
        "iterations": UPDATES,
        "batch_size": RESPONSES,
        "minibatch_size": RESPONSES,
        "max_new_tokens": RESPONSE_TOKENS,
        "temperature": TEMPERATURE,
        "actor_learning_rate": LEARNING_RATE,
        "kl_coefficient": KL_COEFFICIENT,
        "kl_controller": "fixed",
        "max_update_kl": None,
        "max_kl": None,
        "missing_eos_penalty": None,
        "sample_texts": 0,
        "detector_responses": 0,
        **more,
    }


STAGES: Mapping[str, Stage] = {
    "sft": Stage(
        "sft",
        lambda world, _: {
            "model": str(world.policy),
            "demonstrations": str(world.demonstrations),
            "epochs": 1,
            "learning_rate": LEARNING_RATE,
            "batch_tokens": world.demonstration_batch_tokens,
        },
        lambda world, _: _trainer("sft", world, **_trained(world)),
        phases=("sft",),
        tokens=lambda world: world.demonstration_tokens,
    ),
    "reward": Stage(
        "reward",
        lambda world, _: {
            "policy": str(world.policy),
            "preferences": str(world.preferences),
            "prompts": str(world.prompts),
            "method": "finetune",
            "finetune_learning_rate": LEARNING_RATE,
            "batch_tokens": world.batch_tokens,
            "reference_samples": 2,
            "max_new_tokens": 2,
        },
        lambda world, _: _trainer("reward", world, **_trained(world)) | {"model": str(world.reward)},
        phases=("finetune",),
    ),
    "dpo": Stage(
        "dpo",
        lambda world, _: {
            "policy": str(world.policy),
            "preferences": str(world.preferences),
            "learning_rate": LEARNING_RATE,
            "batch_tokens": world.batch_tokens,
        },
        lambda world, _: _trainer("dpo", world, beta=0.1, **_trained(world)),
        phases=("reference", "dpo"),
    ),
    "grpo": Stage(
        "ppo",
        lambda world, seed: _rollouts(world, seed, algorithm="grpo", samples_per_prompt=GROUP, epochs=1),
        lambda world, seed: {
            **_trainer(
                "grpo",
                world,
                per_device_train_batch_size=RESPONSES,
                num_generations=GROUP,
                steps_per_generation=1,
                max_completion_length=RESPONSE_TOKENS,
                temperature=TEMPERATURE,
                beta=KL_COEFFICIENT,
                loss_type="grpo",
                max_steps=UPDATES,
                shuffle_dataset=False,
            ),
            "reward": str(world.reward),
            "prompts": [
                [{"role": message.role, "content": message.content} for message in prompt.conversation]
                for prompt in _prompts(world, seed, UPDATES * RESPONSES // GROUP)
            ],
        },
    ),
    "ppo": Stage(
        "ppo",
        lambda world, seed: _rollouts(
            world, seed, epochs=EPOCHS, critic_warmup_iterations=0, critic_learning_rate=LEARNING_RATE
        ),
        lambda world, seed: {
            "policy": str(world.policy),
            "reward": str(world.reward),
            "tokenizer": {"pad_token": PAD},
            "prompts": [prompt.token_ids for prompt in _prompts(world, seed, UPDATES * RESPONSES)],
            "arguments": {
                "total_episodes": UPDATES * RESPONSES,
                "per_device_train_batch_size": RESPONSES,
                "gradient_accumulation_steps": 1,
                "local_rollout_forward_batch_size": RESPONSES,
                "num_mini_batches": 1,
                "num_ppo_epochs": EPOCHS,
                "response_length": RESPONSE_TOKENS,
                "stop_token": "eos",
                "temperature": TEMPERATURE,
                "learning_rate": LEARNING_RATE,
                "kl_coef": KL_COEFFICIENT,
                "missing_eos_penalty": None,
            },
        },
        module="bench.trl_ppo",
        python=PPO_PYTHON,
    ),
}


def _row_by_row(settings: Mapping[str, object]) -> dict[str, object]:
    arguments = dict(cast(Mapping[str, object], settings["arguments"]))
    rows = arguments["per_device_train_batch_size"]
    arguments |= {"per_device_train_batch_size": 1, "gradient_accumulation_steps": rows}
    if "steps_per_generation" in arguments:
        arguments["steps_per_generation"] = rows
    return {**settings, "arguments": arguments}


def _in_bfloat16(settings: Mapping[str, object]) -> dict[str, object]:
    by_row = _row_by_row(settings)
    arguments = cast(Mapping[str, object], by_row["arguments"])
    return {**by_row, "dtype": "bfloat16", "arguments": {**arguments, "bf16": True}}


PEERS: Mapping[str, Callable[[Mapping[str, object]], Mapping[str, object]]] = {
    "trl": dict,
    "trl-rows": _row_by_row,
    "trl-bf16": _in_bfloat16,
}


@dataclass(frozen=True, slots=True)
class Execution:
    """One program on the rows of one seed."""

    stage: str
    system: str
    seed: int
    steps: int
    seconds: float
    """Of all rows, or of an update."""
    cpu_seconds: float
    peak_mib: float
    other_cores: float
    loss: float | None
    """Mean over the steps of a run that goes once through all rows, to see that both learn the same."""


def run(name: str, system: str, world: World, seed: int) -> Execution:
    """Raises `SystemExit` with what the program said last, if it fails."""
    stage = STAGES[name]
    with tempfile.TemporaryDirectory(prefix="plumbline-real-") as temporary:
        folder = Path(temporary)
        seen = _ours(stage, world, folder, seed) if system == OURS else _theirs(stage, system, world, folder, seed)
        losses = _losses(stage, seen, folder / "lines.log")
    if not stage.phases:
        seconds, cpu = (
            median(getattr(update, kind) for update in seen.updates[1 - UPDATES :])
            for kind in ("seconds", "cpu_seconds")
        )
        steps = UPDATES - 1
    else:
        phases = stage.phases if system == OURS else ("train",)
        seconds, cpu = timed(seen, phases, stage.tokens(world))
        steps = sum(line["phase"] == phases[-1] for line in seen.lines)
    loss = fmean(losses) if losses else None
    return Execution(name, system, seed, steps, seconds, cpu, seen.peak_mib, seen.other_cores, loss)


def _losses(stage: Stage, seen: Watched, theirs: Path) -> list[float]:
    """Of every step of a run that goes once through all rows."""
    if not stage.phases:
        return []
    if theirs.exists():
        return [row["loss"] for row in json.loads(theirs.read_text(encoding="utf-8")) if "loss" in row]
    measured = (line["values"] for line in seen.lines if line["phase"] == stage.phases[-1])
    return [total / count for total, count in (cast(dict[str, list[float]], values)["loss"] for values in measured)]


def _ours(stage: Stage, world: World, folder: Path, seed: int) -> Watched:
    config, out = folder / "run.json", folder / "out"
    common = {
        "seed": seed,
        "lora_rank": RANK,
        "lora_alpha": ALPHA,
        "micro_batch_tokens": MAX_LENGTH,
        "checkpoint_steps": 10**6,
    }
    config.write_text(json.dumps({**common, **stage.ours(world, seed)}), encoding="utf-8")
    command = [sys.executable, "-m", "training", stage.command, "--config", str(config), "--out", str(out)]
    return watch([*command, "--threads", "1"], _environment(), out / "metrics.jsonl", folder / "log")


def _theirs(stage: Stage, system: str, world: World, folder: Path, seed: int) -> Watched:
    settings, lines = folder / "settings.json", folder / "lines.jsonl"
    content = dict(PEERS[system](stage.theirs(world, seed)))
    content["arguments"] = {"seed": seed, **cast(Mapping[str, object], content["arguments"])}
    content |= {"lora": LORA, "out": str(folder / "model")}
    settings.write_text(json.dumps(content), encoding="utf-8")
    command = [str(stage.python), "-W", "ignore", "-m", stage.module, str(settings), str(lines), "1"]
    return watch(command, _environment(), lines, folder / "log")


def _environment() -> dict[str, str]:
    return os.environ | {
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }


def measure(work: Work, stages: Sequence[str], peers: Sequence[str], seeds: Sequence[int]) -> list[Execution]:
    """Every other seed begins with the last system, so that what else the machine does falls on all alike."""
    systems = (OURS, *peers)
    executions = []
    for seed in seeds:
        with tempfile.TemporaryDirectory(prefix="plumbline-real-") as folder:
            world = write_world(Path(folder), work, seed=seed)
            for stage in stages:
                for system in systems if seed % 2 == 0 else reversed(systems):
                    executions.append(run(stage, system, world, seed))
                    print(json.dumps(asdict(executions[-1])), flush=True)
    return executions


def print_comparison(executions: Sequence[Execution], stage: str, peer: str) -> None:
    """How many times our processor time and peak memory the peer took, medians over seeds with the range."""
    ours, theirs = (
        sorted((one for one in executions if (one.stage, one.system) == (stage, system)), key=lambda one: one.seed)
        for system in (OURS, peer)
    )
    pairs = list(zip(ours, theirs, strict=True))
    cpu = sorted(other.cpu_seconds / one.cpu_seconds for one, other in pairs)
    peak = sorted(other.peak_mib / one.peak_mib for one, other in pairs)
    met = "met" if median(cpu) >= GOAL and peak[0] >= 1 else "NOT MET"
    print(
        f"{stage:<8}{peer:<10}processor {median(cpu):.2f} [{cpu[0]:.2f}, {cpu[-1]:.2f}] times ours, "
        f"peak {median(peak):.2f} [{peak[0]:.2f}, {peak[-1]:.2f}]: {met}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--transcripts", type=Path, default=TRANSCRIPTS, help="hh-rlhf, plain or gzip")
    parser.add_argument("--stages", type=lambda text: text.split(","), default=list(STAGES))
    parser.add_argument("--peers", type=lambda text: [name for name in text.split(",") if name], default=["trl-rows"])
    parser.add_argument("--rows", type=int, default=16, help="pairs to learn from")
    parser.add_argument("--seeds", type=lambda text: [int(one) for one in text.split(",")], default=[0, 1])
    arguments = parser.parse_args()
    work = Work(
        arguments.transcripts,
        rows=arguments.rows,
        held_out=1,
        length=(1, MAX_LENGTH),
        model=arguments.model.resolve(),
        pairs_a_step=PAIRS_A_STEP,
    )
    print(machine())
    executions = measure(work, arguments.stages, arguments.peers, arguments.seeds)
    for stage in arguments.stages:
        for peer in arguments.peers:
            print_comparison(executions, stage, peer)


if __name__ == "__main__":
    main()
