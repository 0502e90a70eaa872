"""Which device a stage is on, what follows it there, and what the host waits for."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from models.branches import prompts_can_be_shared
from models.generation import Response, sample_responses
from models.packing import rows_can_be_packed
from models.placement import HOST, moved
from tests.models.directories import write_directory
from tests.training import tiny, toy
from tests.training.device import pretended
from tests.training.device.pretended import on_pretended_device
from training.__main__ import _arguments
from training.config import InputError, read_config
from training.config.adopt import AdoptConfig
from training.data.opening import open_language_model
from training.runtime.checkpoint import load_optimizer, optimizer_tensors, pack, unpack
from training.runtime.device import device, found, placed, use_device
from training.runtime.optimiser import Trainer
from training.stages import execution


def test_without_a_device_everything_is_on_the_processor() -> None:
    assert found("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert found("cpu") == HOST


def test_the_first_device_of_cuda_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert found("auto") == found("cuda") == torch.device("cuda", 0)
    assert found("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(InputError, match=r"cuda:2 isn't there .* sees 2 of cuda"):
        found("cuda:2")


@pytest.mark.parametrize("wanted", ["gpu", "cuda:", "cuda:x", "cpu:1", "meta", ""])
def test_a_device_of_no_kind_that_we_know_is_refused(wanted: str) -> None:
    with pytest.raises(InputError, match=f"must be auto, cpu, cuda, cuda:N or mps, not {wanted}$"):
        use_device(wanted)
    assert device() == HOST


@pytest.mark.skipif(torch.cuda.device_count() > 7, reason="it is there")
def test_a_device_that_is_not_there_ends_a_stage_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = read_config(toy.write_config(tmp_path / "config.json", model=tmp_path), AdoptConfig)
    assert execution.run_stage("adopt", config, tmp_path / "out", threads=1, device="cuda:7") == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("device: cuda:7 isn't there")
    assert not (tmp_path / "out").exists()


def test_the_command_asks_for_the_device_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["training", "sft", "--config", "x", "--out", "y"]
    monkeypatch.setattr(sys, "argv", command)
    assert _arguments().device == "auto"
    monkeypatch.setenv("PLUMBLINE_DEVICE", "cuda:1")
    assert _arguments().device == "cuda:1"
    monkeypatch.setattr(sys, "argv", [*command, "--device", "cpu"])
    assert _arguments().device == "cpu"


def test_what_is_sampled_is_read_by_several_tokens_at_once_and_the_same(tmp_path: Path) -> None:
    prompts = [prompt.token_ids for prompt in tiny.prompts()] * 3
    policy = tiny.policy(tmp_path)

    def sampled() -> list[Response]:
        placed(policy.model)
        return sample_responses(policy, prompts, max_new_tokens=20, temperature=0.9, seed=1, batch_size=12)

    here = sampled()
    with on_pretended_device():
        there = sampled()
    assert [one.token_ids for one in there] == [one.token_ids for one in here]
    for one, other in zip(there, here, strict=True):
        assert one.log_probabilities == pytest.approx(other.log_probabilities, abs=1e-5)
    # Two batches of 20 tokens, eight at once; the library looks twice at the mask of each batch before it begins.
    assert pretended.waits == {"_to_copy": 2 * 3, "_local_scalar_dense": 2 * 2}


def test_rows_are_shared_and_packed_there_as_here(tmp_path: Path) -> None:
    with on_pretended_device():
        model = open_language_model(str(write_directory("llama", tmp_path))).model
        assert prompts_can_be_shared(model)
        assert rows_can_be_packed(model)


def test_what_one_device_saved_another_goes_on_from() -> None:
    here = network()
    step(here, Trainer(here.parameters(), epsilon=1e-8, gradient_clip=1.0))
    with on_pretended_device():
        there = placed(network())
        trainer = Trainer(there.parameters(), epsilon=1e-8, gradient_clip=1.0)
        step(there, trainer)
        saved = pack("model", there.state_dict()) | pack("optimizer", optimizer_tensors(trainer.optimizer))
        assert all(tensor.device == HOST for tensor in saved.values())
        step(there, trainer)
    other = network()
    other.load_state_dict(unpack("model", saved))
    trainer = Trainer(other.parameters(), epsilon=1e-8, gradient_clip=1.0)
    load_optimizer(trainer.optimizer, unpack("optimizer", saved))
    step(other, trainer)
    for parameter, of_device in zip(other.parameters(), there.parameters(), strict=True):
        torch.testing.assert_close(parameter, of_device.cpu(), rtol=0, atol=0)
    with on_pretended_device():
        again = placed(network())
        again.load_state_dict(unpack("model", saved))
        trainer = Trainer(again.parameters(), epsilon=1e-8, gradient_clip=1.0)
        load_optimizer(trainer.optimizer, unpack("optimizer", saved))
        step(again, trainer)
    for parameter, of_device in zip(again.parameters(), there.parameters(), strict=True):
        torch.testing.assert_close(parameter.cpu(), of_device.cpu(), rtol=0, atol=0)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def step(module: nn.Module, trainer: Trainer) -> None:
    weight = next(module.parameters())
    module(moved(torch.ones(2, 3), weight.device)).square().sum().backward()
    trainer.step(0.1)
