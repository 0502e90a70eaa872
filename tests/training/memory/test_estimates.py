"""The memory that stages are said to take, held against the peaks of real runs."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from models.backbone import load_language_model
from models.tokenization import train_tokenizer
from tests.training import toy
from training.config import StageConfig
from training.config.by_model import ModelFacts, chosen, settled
from training.config.reading import config_from
from training.memory.estimate import Texts, estimate
from training.memory.shape import ModelShape, read_shape
from training.records import PreferenceRecord, PromptRecord, conversation, write_records
from training.stages.registry import STAGES

WITHIN = 0.25
PROMPT, RESPONSE, OTHER = (
    "soup and bread " * 8,
    "some bread and then some soup " * 7,
    "some soup and then some bread " * 7,
)
PAIRS = 24
FEW = {"iterations": 1, "batch_size": 16, "minibatch_size": 16, "epochs": 1, "max_new_tokens": 40,
       "detector_responses": 0, "sample_texts": 0, "checkpoint_steps": 1}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some nine million parameters, two thirds of them for a vocabulary of 24,000: each term is worth megabytes."""
    folder = tmp_path_factory.mktemp("memory") / "model"
    tokenizer = train_tokenizer([PROMPT, RESPONSE, OTHER], 300)
    config = LlamaConfig(
        hidden_size=256, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, intermediate_size=768,
        vocab_size=24_000, max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def texts(model: Path) -> Texts:
    """Of which all are alike, so that their lengths say all."""
    prompts = {f"prompt-{number}": conversation(("user", PROMPT)) for number in range(PAIRS)}
    write_records(model / "prompts.jsonl", [PromptRecord(name, prompt) for name, prompt in prompts.items()])
    pairs = [
        PreferenceRecord(name, prompt, RESPONSE, OTHER, float(row % 2), split="validation" if row < 4 else "train")
        for row, (name, prompt) in enumerate(prompts.items())
    ]
    write_records(model / "preferences.jsonl", pairs)
    language_model = load_language_model(model)
    (prompt,) = language_model.encode_prompts([conversation(("user", PROMPT))])
    (response,) = language_model.encode_responses([RESPONSE])
    return Texts(len(prompt), len(response), PAIRS - 4)


def predicted(stage: str, model: Path, texts: Texts, settings: Mapping[str, object], *, threads: int = 2) -> int:
    shape = read_shape(model)
    assert shape is not None
    given = {"seed": 0, **{name: str(value) if isinstance(value, Path) else value for name, value in settings.items()}}
    wanted = usual(config_from(given, STAGES[stage], model), shape)
    found = estimate(stage, shape, wanted, texts=texts, threads=threads)
    assert found is not None
    return found.bytes


def usual(config: StageConfig, shape: ModelShape) -> dict[str, object]:
    return asdict(settled(config, chosen(vars(config), ModelFacts(shape.parameters))))


def settings_of(stage: str, model: Path, **more: object) -> dict[str, object]:
    files = {"generate": ("prompts",), "dpo": ("preferences",), "reward": ("preferences", "prompts")}[stage]
    return {"policy": model, **{name: model / f"{name}.jsonl" for name in files}, **more}


@pytest.mark.parametrize(
    ("stage", "more"),
    [
        ("generate", {"max_new_tokens": 12}),
        # In `make proof`, with the other stages that learn: 9 s of a processor each.
        pytest.param("dpo", {"lora_rank": 8, "batch_tokens": 1024, "micro_batch_tokens": 1024}, marks=pytest.mark.slow),
        pytest.param(
            "dpo",
            {"lora_rank": 8, "batch_tokens": 1024, "micro_batch_tokens": 1024, "weights": "nf4"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_run_takes_what_was_said_within_a_quarter(
    stage: str, more: dict[str, object], model: Path, texts: Texts, tmp_path: Path
) -> None:
    settings = settings_of(stage, model, **more)
    measured = peak_of_fork(stage, toy.write_config(tmp_path / "run.json", **settings), tmp_path / "out")
    assert measured == pytest.approx(predicted(stage, model, texts, settings, threads=1), rel=WITHIN)


@pytest.mark.slow
def test_every_stage_takes_what_was_said_within_a_quarter(model: Path, texts: Texts, tmp_path: Path) -> None:
    reward = settings_of("reward", model, method="finetune", reference_samples=64, max_new_tokens=40)
    runs: dict[str, tuple[str, dict[str, object]]] = {
        "reward": ("reward", reward),
        "distilled reward": ("reward", {**reward, "method": "distil", "distil_steps": 2}),
        "generate": ("generate", settings_of("generate", model, max_new_tokens=40)),
        "dpo": ("dpo", settings_of("dpo", model)),
        "dpo by adapters": ("dpo", settings_of("dpo", model, lora_rank=8)),
    }
    ppo = {"policy": model, "reference": model, "reward": tmp_path / "reward" / "artifact",
           "prompts": model / "prompts.jsonl", **FEW}  # fmt: skip
    runs |= {
        "ppo": ("ppo", ppo),
        "ppo by adapters": ("ppo", {**ppo, "lora_rank": 8}),
        "ppo with a shared critic": ("ppo", {**ppo, "lora_rank": 8, "critic": "shared"}),
    }
    found = {}
    for name, (stage, settings) in runs.items():
        config = toy.write_config(tmp_path / f"{name}.json", **settings)
        measured = peak_of_command(stage, config, tmp_path / name)
        found[name] = measured / predicted(stage, model, texts, settings)
    assert {name: ratio for name, ratio in found.items() if abs(ratio - 1) > WITHIN} == {}


def test_each_term_moves_as_its_setting_says() -> None:
    shape = ModelShape(10**9, 2 * 10**9, 24, 2048, 5632, 2048, 512, 32_000, gated=True, tied=False)
    texts = Texts(64, 96)

    def taken(stage: str, shape: ModelShape = shape, **settings: object) -> int:
        wanted = usual(config_from({"seed": 0, **GIVEN[stage], **settings}, STAGES[stage], Path()), shape)
        found = estimate(stage, shape, wanted, texts=texts, threads=2)
        assert found is not None
        return found.bytes

    assert taken("generate") < taken("dpo", lora_rank=8) < taken("dpo", lora_rank=0) < taken("ppo", lora_rank=0)
    adapted = taken("ppo", lora_rank=8, critic="adapter")
    assert taken("ppo", lora_rank=8, critic="shared") <= adapted < taken("ppo", lora_rank=8, critic="separate")
    assert taken("ppo", lora_rank=8) == adapted
    assert taken("dpo", lora_rank=64, lora_targets="attention") < taken("dpo", lora_rank=64)
    large = {"lora_rank": 8, "micro_batch_tokens": 2048}
    assert taken("dpo", lora_rank=8) == taken("dpo", lora_rank=8, micro_batch_tokens=512) < taken("dpo", **large)
    assert taken("dpo", **large, gradient_checkpointing=True) < taken("dpo", **large)
    separate = taken("ppo", lora_rank=8, critic="separate")
    assert taken("ppo", algorithm="rloo", samples_per_prompt=4, lora_rank=8) < separate
    assert taken("generate", batch_size=8) < taken("generate")
    assert taken("generate", engine="vllm") > taken("generate") + 4 * shape.parameters
    assert taken("sft", micro_batch_tokens=512) < taken("sft", micro_batch_tokens=2048)
    half = replace(shape, in_bfloat16=True)
    in_parts = {"lora_rank": 0, "shard_weights": True}
    assert taken("sft", half, **in_parts, processes=8) < taken("sft", half, **in_parts, processes=2)
    assert taken("sft", half, **in_parts, processes=2) < taken("sft", half, lora_rank=0)
    held = {"lora_rank": 8, "weights": "bfloat16"}
    assert taken("dpo", half, lora_rank=8) == taken("dpo", half, **held) < taken("dpo", lora_rank=8)
    assert taken("dpo", half, lora_rank=8, weights="float32") > taken("dpo", half, **held)
    nf4 = {"lora_rank": 8, "weights": "nf4"}
    assert taken("dpo", half, **nf4, publish_as="adapter") <= taken("dpo", half, **nf4) < taken("dpo", half, **held)
    assert taken("dpo", half, **nf4) < taken("dpo", half, lora_rank=8, weights="int8")
    assert taken("generate", half, weights="bfloat16") < taken("generate", half)
    smaller = replace(half, parameters=10**9 - 1)
    assert taken("dpo", smaller, lora_rank=8) > taken("dpo", smaller, **held), "sampling would wait for it"
    assert estimate("embed", shape, {}, texts=texts, threads=2) is None


GIVEN: Mapping[str, Mapping[str, object]] = {
    "generate": {"policy": "p", "prompts": "p.jsonl"},
    "sft": {"demonstrations": "d.jsonl"},
    "dpo": {"policy": "p", "preferences": "p.jsonl"},
    "ppo": {"policy": "p", "reference": "p", "reward": "r", "prompts": "p.jsonl"},
}


def peak_of_fork(stage: str, config: Path, out: Path) -> int:
    """A forked process has loaded the libraries already: as much as it would have taken for them."""
    assert toy.exit_code(toy.child(stage, config, out)) == 0
    return int(toy.peak_file(out).read_text())


def peak_of_command(stage: str, config: Path, out: Path) -> int:
    """Of the real command, which a small process of its own waits for, so that nobody else's peak is measured."""
    waiting = (
        "import os, subprocess, sys; "
        "child = subprocess.Popen([sys.executable, '-m', 'training', *sys.argv[1:]], stdout=subprocess.DEVNULL); "
        "_, status, usage = os.wait4(child.pid, 0); print(usage.ru_maxrss * 1024); sys.exit(status != 0)"
    )
    arguments = (stage, "--config", str(config), "--out", str(out), "--threads", "2", "--device", "cpu")
    done = subprocess.run(
        [sys.executable, "-c", waiting, *arguments],
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return int(json.loads(done.stdout))
