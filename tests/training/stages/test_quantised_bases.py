"""Stages whose adapters learn beside a base in 8 or 4 bits: what they publish stands on the base as its file has it."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from models.adapter_files import is_adapter
from models.backbone import load_language_model
from models.reward import load_reward_model, scores
from tests.training import toy
from tests.training.device.pretended import on_pretended_device
from tests.training.ppo.test_ppo import means
from tests.training.stages.short_runs import MAX_NEW_TOKENS, brief, write_files
from tests.training.stages.test_adapters import CancelledAt
from tests.training.stages.test_bad_input import refused
from training.config import learning, read_config
from training.config.reading import config_from
from training.config.values import ConfigError
from training.runtime.run import Cancellation, Cancelled
from training.stages.registry import STAGES, runner_of

Runs = Callable[[str, str], Path]
STAGES_THAT_LEARN = ("sft", "reward", "cost", "dpo", "kto", "ppo")


@pytest.fixture(scope="module")
def base(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy's policy as somebody else would publish it in bfloat16."""
    folder = tmp_path_factory.mktemp("base") / "model"
    loaded = load_language_model(policy)
    loaded.model.to(torch.bfloat16).save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def runs(world: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """A run of each stage by what it publishes, made when it is first asked for."""
    folder = tmp_path_factory.mktemp("quantised")
    write_files(world, folder)

    @cache
    def run(stage: str, publish_as: str) -> Path:
        out = folder / f"{stage}-{publish_as}"
        given = settings_of(stage, base, folder) | {"publish_as": publish_as}
        if stage == "ppo":
            given["reward"] = run("reward", "merged") / "artifact"
        assert toy.run(stage, out, **given) == 0
        return out

    return run


def settings_of(stage: str, base: Path, folder: Path) -> dict[str, Any]:
    learning = {"lora_rank": 4, "weights": "nf4"}
    asked = {"policy": base, "prompts": folder / "prompts.jsonl", **learning}
    match stage:
        case "sft":
            few = {"max_tokens": 2000, "learning_rate": 5e-3, "checkpoint_steps": 1}
            return {"model": base, "demonstrations": folder / "demonstrations.jsonl", **few, **learning}
        case "reward" | "cost":
            pairs = folder / ("pairs.jsonl" if stage == "reward" else "harm.jsonl")
            return asked | brief(pairs) | {"method": "finetune", "finetune_learning_rate": 5e-3}
        case "dpo":
            return {"policy": base, "preferences": folder / "pairs.jsonl", "batch_tokens": 4096, **learning}
        case "kto":
            return {"policy": base, "responses": folder / "verdicts.jsonl", **learning}
        case _:
            short = {"iterations": 2, "batch_size": 8, "minibatch_size": 4, "max_new_tokens": MAX_NEW_TOKENS}
            return asked | short | {"reference": base, "critic_warmup_iterations": 0, "detector_responses": 0}


@pytest.mark.parametrize("stage", STAGES_THAT_LEARN)
def test_a_merged_model_is_the_files_weights_and_what_was_learnt(stage: str, runs: Runs, base: Path) -> None:
    """Bit for bit: by the adapters of a run that publishes them, which stand on the base as it is."""
    merged, adapter = (runs(stage, kind) / "artifact" for kind in ("merged", "adapter"))
    assert is_adapter(adapter)
    load = load_reward_model if stage in ("reward", "cost") else load_language_model
    said = load_file(merged / "model.safetensors")
    wanted = load(adapter).model.state_dict()
    before = load_file(base / "model.safetensors")
    layers = [name for name in said if name.endswith("_proj.weight")]
    assert len(layers) == 14
    assert all(torch.equal(said[name], wanted[name].to(torch.bfloat16)) for name in layers)
    assert any(not torch.equal(said[name], before[name]) for name in layers)
    assert all(torch.equal(said[name], before[name]) for name in said.keys() & before.keys() - set(layers))


def test_what_is_published_can_be_sampled_and_asked(runs: Runs, world: Path, tmp_path: Path) -> None:
    for kind in ("merged", "adapter"):
        models = {name: runs(stage, kind) / "artifact" for name, stage in (("policy", "sft"), ("reward", "reward"))}
        asked = {"prompts": world / "prompts.jsonl", "max_new_tokens": 4, "samples_per_prompt": 1}
        assert toy.run("evaluate", tmp_path / kind, **models, **asked) == 0
        assert toy.run("generate", tmp_path / f"{kind}-texts", policy=models["policy"], **asked) == 0
    merged, opened = (load_reward_model(runs("reward", kind) / "artifact") for kind in ("merged", "adapter"))
    with torch.no_grad():
        torch.testing.assert_close(scores(opened, [[5, 6, 30]]), scores(merged, [[5, 6, 30]]), atol=0.05, rtol=0.05)


@pytest.mark.parametrize("stage", ["sft", "ppo"])
def test_a_run_that_is_cancelled_goes_on_as_if_nothing_had_been(
    stage: str, runs: Runs, base: Path, tmp_path: Path
) -> None:
    whole = runs(stage, "merged")
    given = settings_of(stage, base, whole.parent)
    if stage == "ppo":
        given["reward"] = runs("reward", "merged") / "artifact"
    config = read_config(toy.write_config(tmp_path / "config.json", **given), STAGES[stage])
    with pytest.raises(Cancelled):
        runner_of(stage)(config, tmp_path / "out", CancelledAt(2))
    runner_of(stage)(config, tmp_path / "out", Cancellation())
    one, other = (load_file(out / "artifact" / "model.safetensors") for out in (whole, tmp_path / "out"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert toy.result(whole) == toy.result(tmp_path / "out")


def test_a_reference_is_the_same_base_without_adapters(runs: Runs) -> None:
    assert means(runs("ppo", "merged"), "kl")[0] == pytest.approx(0, abs=1e-6)


def test_what_a_quantised_reference_says_is_kept_apart(policy: Path, runs: Runs, tmp_path: Path) -> None:
    pairs = runs("dpo", "merged").parent
    for weights in ("float32", "nf4"):
        given = settings_of("dpo", policy, pairs) | {"weights": weights, "reference_cache": tmp_path / "kept"}
        assert toy.run("dpo", tmp_path / weights, **given) == 0
    one, other = (load_file(path)["log_probabilities"] for path in (tmp_path / "kept").glob("*.safetensors"))
    assert 0 < (one - other).abs().max() < 1


@pytest.mark.parametrize("weights", ["int8", "nf4"])
def test_a_base_of_whatever_format_teaches_nearly_what_it_teaches_in_float32(
    weights: str, policy: Path, world: Path, tmp_path: Path
) -> None:
    """The base in float16, its loss that of the model which is published."""
    loaded = load_language_model(policy)
    loaded.model.half().save_pretrained(tmp_path / "base")
    loaded.tokenizer.save_pretrained(tmp_path / "base")
    given = settings_of("sft", tmp_path / "base", world) | {"held_out": world / "held_out.jsonl"}
    found = {}
    for kind in ("float32", weights):
        assert toy.run("sft", tmp_path / kind, **given | {"weights": kind}) == 0
        found[kind] = toy.result(tmp_path / kind)
    assert found[weights].pop("parameters") == found["float32"].pop("parameters")
    assert found[weights]["nll"] == pytest.approx(found["float32"]["nll"], abs=0.02)
    assert found[weights]["nll"] != found["float32"]["nll"]


def test_without_the_package_a_run_is_refused_before_it_starts(
    base: Path, world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "find_spec", lambda name: None)
    said = refused("sft", tmp_path / "out", capfd, **settings_of("sft", base, world))
    assert said == "weights: nf4 needs the package bitsandbytes (pip install 'plumbline[quantised]')\n"
    for stage in STAGES_THAT_LEARN:
        with pytest.raises(ConfigError, match="bitsandbytes"):
            config_from({"seed": 0, **strings(settings_of(stage, base, world))}, STAGES[stage], world)


def strings(given: dict[str, Any]) -> dict[str, Any]:
    needed = {"reward": "r"} if "reference" in given else {}
    return {name: str(value) if isinstance(value, Path) else value for name, value in given.items()} | needed


def test_what_can_not_be_quantised_is_refused_in_a_line(
    base: Path, world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = settings_of("sft", base, world)
    assert "without adapters" in refused("sft", tmp_path / "out", capfd, **given | {"lora_rank": 0})
    with on_pretended_device():
        said = refused("sft", tmp_path / "elsewhere", capfd, **given)
    assert said == "weights: nf4 needs a processor or a GPU with CUDA, and this is pretended\n"


def test_adapters_learn_beside_what_adapters_made(policy: Path, world: Path, tmp_path: Path) -> None:
    """A policy that is adapters itself is quantised as what they make of their base, and published on that."""
    first, second = tmp_path / "first", tmp_path / "second"
    given = settings_of("sft", policy, world) | {"max_tokens": 500}
    assert toy.run("sft", first, **given, publish_as="adapter") == 0
    assert toy.run("sft", second, **given | {"model": first / "artifact", "learning_rate": 1e-9}) == 0
    before, after = (load_language_model(out / "artifact").model.state_dict() for out in (first, second))
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)
