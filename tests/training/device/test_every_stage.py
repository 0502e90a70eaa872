"""Every stage on a device that isn't there: nothing is left behind on the host, and the figures are the processor's."""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.models.directories import write_directory
from tests.models.encoders import write_encoder
from tests.training import toy
from tests.training.device.pretended import on_pretended_device
from tests.training.stages.short_runs import write_files
from training.runtime import replicas
from training.stages.reward import SCORED_PAIRS

Settings = dict[str, Any]

ARCHITECTURE = {**toy.ARCHITECTURE, "hidden_size": 16, "layers": 1, "intermediate_size": 32}
LEARNING = {"batch_tokens": 512, "max_tokens": 1024}
FEW = 40
"""Records of a file."""
SAMPLING = {"max_new_tokens": 10}
"""More than are read at once."""


@contextmanager
def on_processor() -> Iterator[None]:
    """As a device adds up: a batch whole and not in halves, attention step by step."""
    with pytest.MonkeyPatch.context() as patch, sdpa_kernel(SDPBackend.MATH):
        patch.setattr(replicas, "SHARDS", 1)
        yield


class Runs:
    """Each run once on the processor, when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        toy.write_world(folder)
        (folder / "inputs").mkdir()
        write_files(folder, folder / "inputs")
        for name in ("pairs", "harm", "verdicts"):
            lines = self.input(name).read_text().splitlines(keepends=True)
            self.input(name).write_text("".join(lines[:FEW]))
        self.encoder = write_encoder("bert", folder / "bert")
        self.other_family = write_directory("gpt2", folder / "gpt2")
        self.of = cache(self._of)

    def artifact(self, name: str) -> Path:
        return self.of(name) / "artifact"

    def _of(self, name: str) -> Path:
        out = self.folder / "processor" / name
        assert self.go(name, out, on_processor()) == 0
        return out

    def go(self, name: str, out: Path, where: AbstractContextManager[None]) -> int:
        settings = self.settings(name)
        with where:
            return toy.run(name.partition(",")[0], out, **settings)

    def settings(self, name: str) -> Settings:
        stage, _, kind = name.partition(", ")
        if name == "sft":
            architecture = {"architecture": ARCHITECTURE, "held_out": self.folder / "held_out.jsonl"}
            return {"demonstrations": self.input("demonstrations"), **LEARNING, **architecture}
        asked: Settings = {"policy": self.policy, "prompts": self.input("prompts"), **SAMPLING}
        reward: Settings = {"reference_samples": 24, "batch_tokens": 2048, "distil_steps": 2, "mismatch_steps": 2}
        match stage:
            case "sft":
                packed = {"model": self.policy, "packing": True}
                return {"demonstrations": self.input("demonstrations"), **LEARNING, **packed}
            case "reward":
                return asked | reward | {"preferences": self.input("pairs")} | self._reward(kind)
            case "cost":
                return asked | reward | {"preferences": self.input("harm")}
            case "ppo":
                return asked | self._ppo(kind)
            case "dpo":
                adapted = {"lora_rank": 2, "sft_coefficient": 0.1}
                return {"policy": self.policy, "preferences": self.input("pairs"), "batch_tokens": 4096, **adapted}
            case "kto":
                return {"policy": self.policy, "responses": self.input("verdicts"), "batch_size": 64}
            case "generate":
                other = {"policy": self.other_family} if kind else {}
                return asked | other
            case "evaluate":
                judges = {"reward": self.artifact("reward"), "cost": self.artifact("cost")}
                return asked | judges | {"reference": self.policy, "preferences": self.input("pairs")}
            case "adopt":
                return {"model": self.policy}
            case _:
                model = {"reward": self.artifact("reward")} if kind else {"policy": self.policy}
                return {**model, "responses": self.input("responses")}

    @property
    def policy(self) -> Path:
        return self.artifact("sft")

    def input(self, name: str) -> Path:
        return self.folder / "inputs" / f"{name}.jsonl"

    def _reward(self, kind: str) -> Settings:
        match kind:
            case "":
                return {"method": "distil_finetune"}
            case "of an encoder":
                return {"base": self.encoder, "method": "finetune"}
            case _:
                heads = {"heads": 2, "read_out": "worst", "learn_criteria": True, "ranking_loss": "plackett_luce"}
                return heads | {"method": "mismatch_finetune"}

    def _ppo(self, kind: str) -> Settings:
        short: Settings = {
            "reference": self.policy,
            "reward": self.artifact("reward"),
            "iterations": 1,
            "batch_size": 4,
        }
        short |= {"minibatch_size": 2, "detector_responses": 0, "sample_texts": 0}
        match kind:
            case "":
                imitated = {"ptx_coefficient": 0.1, "demonstrations": self.input("demonstrations")}
                watched = {"detector_responses": 8, "held_out_every": 2}
                return short | imitated | watched | {"critic_warmup_iterations": 0}
            case "under a constraint":
                best = {"publish": "best", "held_out_prompts": self.input("prompts")}
                shared = {"critic": "shared", "lora_rank": 2, "kl_penalty": "loss", "kl_estimator": "k2"}
                cost = {"cost": self.artifact("cost"), "critic_warmup_iterations": 0}
                return short | best | shared | cost
            case _:
                return short | {"algorithm": kind, "samples_per_prompt": 2}


PLANTED = {
    "sft": "models.backbone",
    "sft, packed": "models.backbone",
    "reward": "training.reward.phases",
    "reward, by several heads": "models.backbone",
    "reward, of an encoder": "models.encoder",
    "cost": "models.generation",
    "ppo": "training.ppo.rollout",
    "ppo, under a constraint": "training.ppo.rollout",
    "ppo, rloo": "models.generation",
    "ppo, grpo": "training.ppo.rollout",
    "dpo": "training.direct.dpo",
    "kto": "training.direct.kto",
    "generate": "models.generation",
    "generate, of another family": "models.generation",
    "evaluate": "models.backbone",
    "embed": "models.backbone",
    "embed, by a reward model": "models.backbone",
}
"""Each run, and where a tensor is left behind on the host to see it fail."""

RUNS = [*PLANTED, "adopt"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("name", RUNS)
def test_a_stage_on_a_device_has_the_figures_of_the_processor(name: str, runs: Runs, tmp_path: Path) -> None:
    plain, out = runs.of(name), tmp_path / "out"
    assert runs.go(name, out, on_pretended_device()) == 0
    assert_alike(toy.result(plain), toy.result(out))
    for one, other in zip(toy.metrics(plain), toy.metrics(out), strict=True):
        assert_alike(one, other)
    for path in (*plain.glob("*.jsonl"), *plain.glob("*.safetensors"), *plain.glob("artifact/*.safetensors")):
        same = out / path.relative_to(plain)
        if path.suffix == ".safetensors":
            for tensor, of_device in zip(load_file(path).values(), load_file(same).values(), strict=True):
                torch.testing.assert_close(tensor, of_device, rtol=1e-3, atol=1e-4)
        elif path.name == SCORED_PAIRS:
            assert_alike(*([json.loads(line) for line in file.read_text().splitlines()] for file in (path, same)))
        elif path.name != "metrics.jsonl":
            assert path.read_bytes() == same.read_bytes()


@pytest.mark.parametrize("name", PLANTED)
def test_a_tensor_that_is_left_behind_fails_the_stage(
    name: str, runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    runs.settings(name)  # whatever it needs is made before
    monkeypatch.setattr(import_module(PLANTED[name]), "moved", left_behind)
    assert runs.go(name, tmp_path / "out", on_pretended_device()) == 1
    assert "Expected all tensors to be on the same device" in capfd.readouterr().err


def left_behind(tensor: Tensor, device: torch.device) -> Tensor:
    return tensor


def assert_alike(one: object, other: object) -> None:
    """Equal but for times, and for what the order of sums makes of floats."""
    if isinstance(one, dict) and isinstance(other, dict):
        assert one.keys() == other.keys()
        for key in one.keys() - TIMES:
            assert_alike(one[key], other[key])
    elif isinstance(one, list) and isinstance(other, list):
        for part, of_other in zip(one, other, strict=True):
            assert_alike(part, of_other)
    else:
        assert other == (pytest.approx(one, rel=1e-3, abs=1e-4) if isinstance(one, float) else one)


TIMES = {
    *("seconds", "tokens_per_second", "gemm_fraction", "gemm_gflops", "flop_rate", "teach_seconds"),
    *(f"{phase}_seconds" for phase in ("generate", "score", "train", "watch", "held_out", "reference", "policy")),
}
