"""A run whose processes each hold a part of weights, gradients and moments learns what one process learns."""

import dataclasses
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import LlamaConfig, LlamaForCausalLM

from models.backbone import LanguageModel, build_language_model, load_language_model
from models.tokenization import train_tokenizer
from tests.models.directories import TEXTS
from tests.training import ranks as processes
from tests.training import toy
from tests.training.stages.test_bad_input import refused
from tests.training.stages.test_processes import SEEDS, alone, assert_alike, settings_of, told
from training.config import InputError, SftConfig
from training.data.encoding import encode_demonstrations
from training.data.examples import Example
from training.records import DemonstrationRecord, read_records
from training.runtime import learning
from training.runtime.metrics import mean_of
from training.runtime.optimisation import Batch
from training.runtime.ranks import Ranks, by_environment, joined
from training.runtime.sharding import ShardedLearner
from training.runtime.steps import Work
from training.stages.sft import loss_sum, negative_log_likelihood

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SHAPE = SftConfig(seed=0, demonstrations=Path("unused")).architecture


def in_parts(stage: str, out: Path, settings: Mapping[str, object]) -> list[int | None]:
    """A stage in two processes with a part each; their exit codes."""
    config = toy.write_config(out.with_suffix(".json"), **settings, shard_weights=True)
    return [toy.exit_code(process) for process in processes.start(2, stage, config, out)]


def without_samples(found: dict[str, object]) -> dict[str, object]:
    """No process has the whole policy to write texts with."""
    for row in cast(list[dict[str, object]], found["metrics"]):
        row.pop("samples", None)
    return found


def assert_learnt_alike(one: Path, shared_out: Path) -> None:
    assert_alike(without_samples(told(one)), without_samples(told(shared_out)))


def assert_published_as_measured(out: Path, world: Path) -> None:
    published = load_language_model(out / "artifact")
    records = read_records(world / "held_out.jsonl", DemonstrationRecord)
    examples, _ = encode_demonstrations(published, records, max_length=512)
    assert negative_log_likelihood(published, examples, 2048) == pytest.approx(toy.result(out)["nll"], abs=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
def test_two_processes_with_a_part_each_learn_from_demonstrations_what_one_learns(
    seed: int, world: Path, policy: Path, reward: Path, tmp_path: Path
) -> None:
    settings = settings_of("sft", world, policy, reward) | {"seed": seed}
    assert alone("sft", tmp_path / "one", **settings) == 0
    assert in_parts("sft", tmp_path / "two", settings) == [0, 0]
    assert_learnt_alike(tmp_path / "one", tmp_path / "two")
    assert_published_as_measured(tmp_path / "two", world)
    assert not [*(tmp_path / "two").glob(".*")]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("reference", ["the policy", "a model of its own"])
def test_two_processes_with_a_part_each_learn_from_judgements_what_one_learns(
    reference: str, seed: int, world: Path, policy: Path, reward: Path, tmp_path: Path
) -> None:
    settings = settings_of("dpo", world, policy, reward) | {"seed": seed}
    if reference != "the policy":
        again = settings_of("sft", world, policy, reward) | {"model": policy, "seed": seed}
        assert alone("sft", tmp_path / "reference", **again) == 0
        settings["reference"] = tmp_path / "reference" / "artifact"
    assert alone("dpo", tmp_path / "one", **settings) == 0
    assert in_parts("dpo", tmp_path / "two", settings) == [0, 0]
    assert_learnt_alike(tmp_path / "one", tmp_path / "two")


def test_a_cancelled_run_goes_on_in_other_parts(world: Path, policy: Path, reward: Path, tmp_path: Path) -> None:
    settings = settings_of("sft", world, policy, reward) | {"epochs": 3}
    assert alone("sft", tmp_path / "whole", **settings) == 0
    config, out = toy.write_config(tmp_path / "cut.json", **settings, shard_weights=True), tmp_path / "cut"
    running = processes.start(2, "sft", config, out)
    while len(toy.metrics_lines(out)) < 3:
        assert all(process.is_alive() for process in running)
        time.sleep(0.01)
    running[-1].terminate()
    assert [toy.exit_code(process) for process in running] == [3, 0]
    (checkpoint,) = (out / "checkpoints").iterdir()
    assert {path.suffix for path in checkpoint.iterdir()} == {".safetensors", ".json"}
    assert [toy.exit_code(process) for process in processes.start(3, "sft", config, out)] == [0, 0, 0]
    assert_learnt_alike(tmp_path / "whole", out)
    assert_published_as_measured(out, world)


@pytest.mark.slow
def test_a_killed_run_goes_on_from_its_last_checkpoint(world: Path, policy: Path, reward: Path, tmp_path: Path) -> None:
    settings = settings_of("sft", world, policy, reward) | {"epochs": 3, "checkpoint_steps": 2}
    assert alone("sft", tmp_path / "whole", **settings) == 0
    config, out = toy.write_config(tmp_path / "cut.json", **settings, shard_weights=True), tmp_path / "cut"
    running = processes.start(2, "sft", config, out)
    while len(toy.metrics_lines(out)) < 5:
        assert all(process.is_alive() for process in running)
        time.sleep(0.01)
    running[-1].kill()
    assert [toy.exit_code(process) for process in running] == [1, -9]
    assert not (out / "result.json").exists()
    assert [toy.exit_code(process) for process in processes.start(2, "sft", config, out)] == [0, 0]
    assert_learnt_alike(tmp_path / "whole", out)


@pytest.mark.slow
def test_a_model_in_bfloat16_with_a_head_of_its_own_and_layers_computed_again_learns_alike(
    world: Path, policy: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    tokenizer = load_language_model(policy).tokenizer
    config = LlamaConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, intermediate_size=64,
        vocab_size=len(tokenizer), tie_word_embeddings=False, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).bfloat16().save_pretrained(model)
    tokenizer.save_pretrained(model)
    settings = {
        "model": model,
        "demonstrations": world / "demonstrations.jsonl",
        "held_out": world / "held_out.jsonl",
        "epochs": 1,
        "batch_tokens": 2048,
        "micro_batch_tokens": 300,
        "learning_rate": 1e-3,
    }
    assert alone("sft", tmp_path / "one", **settings) == 0
    assert in_parts("sft", tmp_path / "two", {**settings, "gradient_checkpointing": True}) == [0, 0]
    one, two = (without_samples(told(tmp_path / name)) for name in ("one", "two"))
    assert_alike(one["metrics"], two["metrics"])
    assert_published_as_measured(tmp_path / "two", world)
    assert json.loads((tmp_path / "two/artifact/config.json").read_text())["dtype"] == "bfloat16"


def test_each_process_holds_half_and_the_gradients_are_those_of_the_whole(tmp_path: Path) -> None:
    started = processes.start_each(2, write_parts, tmp_path)
    assert [toy.exit_code(process) for process in started] == [0, 0]
    parts = [json.loads((tmp_path / f"{index}.json").read_text()) for index in range(2)]
    policy = small_model()
    gradients = torch.autograd.grad(loss_of(policy, policy.model), list(policy.model.parameters()))
    norm = float(torch.nn.utils.get_total_norm(gradients))
    whole = sum(weight.numel() for weight in policy.model.parameters())
    for kind, numbers in (("weights", whole), ("gradients", whole), ("moments", 2 * whole)):
        assert sum(part[kind] for part in parts) == numbers
        assert [part[kind] / numbers for part in parts] == pytest.approx([0.5, 0.5], abs=0.02)
    assert [part["norm"] for part in parts] == pytest.approx([norm, norm], rel=1e-5)


def small_model() -> LanguageModel:
    return build_language_model(SHAPE, train_tokenizer(TEXTS, 301), seed=0)


def loss_of(policy: LanguageModel, model: "PreTrainedModel") -> Tensor:
    row = Example("p", (5, 6, 7), (20, 21, policy.eos_ids[0]))
    return loss_sum(dataclasses.replace(policy, model=model), [row])[0]


def write_parts(folder: Path) -> None:
    """How many numbers this process has of each kind, after a step on fewer rows than there are processes."""
    found = by_environment()
    with joined(found, folder, device=torch.device("cpu"), wait_seconds=60):
        policy = small_model()
        learner = ShardedLearner(policy.model, epsilon=1e-8, gradient_clip=1.0)
        batch = Batch(["the row"], lambda model, _: (loss_of(policy, model), {"rows": mean_of(1)}), Work(6, 0.0))
        assert learner.accumulate(batch) == [{"rows": (1, 1)}]
        gradients = [cast(Tensor, weight.grad) for weight in learner.model.parameters()]
        norm = learner.trainer.step(1e-3)
        state = learner.tensors()
        parts = {
            "weights": numbers_here(tensor for name, tensor in state.items() if name.startswith("model.")),
            "gradients": numbers_here(gradients),
            "moments": numbers_here(tensor for name, tensor in state.items() if ".exp_avg" in name),
            "norm": norm,
        }
    (folder / f"{found.index}.json").write_text(json.dumps(parts))


def numbers_here(tensors: Iterable[Tensor]) -> int:
    return sum(cast(DTensor, tensor).to_local().numel() for tensor in tensors)


def test_one_process_has_nobody_to_share_with(
    world: Path, policy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = world / "demonstrations.jsonl"
    said = refused("sft", tmp_path / "out", capfd, model=policy, demonstrations=data, shard_weights=True)
    assert said == "shard_weights: one process has nobody to share with; set processes\n"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lora_rank": 8}, "^shard_weights: beside adapters weights aren't shared out; set lora_rank to 0$"),
        ({"lora_rank": 0, "weights": "bfloat16"}, "^weights: without adapters .* all weights learn"),
    ],
)
def test_what_is_not_done_in_parts_is_refused(
    settings: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "ranks", lambda: Ranks(0, 2))
    config = SftConfig(seed=0, demonstrations=Path("unused"), shard_weights=True, **settings)
    with pytest.raises(InputError, match=said):
        learning.hold(small_model(), config)


def test_no_other_stage_takes_the_setting(policy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    said = refused("kto", tmp_path / "out", capfd, policy=policy, responses="x.jsonl", shard_weights=True)
    assert "shard_weights" in said
