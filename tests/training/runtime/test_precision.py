from pathlib import Path

import pytest
import torch

from models.backbone import load_language_model, response_log_probabilities
from tests.training import toy
from tests.training.ppo.test_ppo import config_of, means, rollout_of
from training.ppo.learner import learner_of
from training.ppo.objective import Minibatch
from training.runtime import precision
from training.runtime.artifact import write_json

pytestmark = pytest.mark.usefixtures("reward")


def run_ppo(world: Path, policy: Path, out: Path, **change: object) -> int:
    config = config_of(world, policy)
    names = ("policy", "reference", "reward", "prompts", "batch_size", "minibatch_size", "max_new_tokens")
    settings = {name: getattr(config, name) for name in names}
    return toy.run("ppo", out, **settings | {"iterations": 2, "critic_warmup_iterations": 0} | change)


@pytest.mark.parametrize("critic", ["separate", "shared"])
def test_training_with_products_in_bfloat16_begins_at_ratios_of_one(
    world: Path, policy: Path, tmp_path: Path, critic: str
) -> None:
    assert run_ppo(world, policy, tmp_path, precision="bfloat16", critic=critic) == 0
    assert toy.result(tmp_path)["precision"] == "bfloat16"
    # Halves of a batch are padded to other lengths than the whole, so that its products round another way.
    assert means(tmp_path, "first_ratio_error")[0] < 5e-3
    assert means(tmp_path, "kl")[0] == 0
    weights = load_language_model(tmp_path / "artifact").model.state_dict()
    assert all(weight.dtype == torch.float32 for weight in weights.values())


def test_gradients_with_products_in_bfloat16_point_where_those_in_float32_do(world: Path, policy: Path) -> None:
    found = {}
    for wanted in ("float32", "bfloat16"):
        config = config_of(world, policy, precision=wanted)
        rollout, models = rollout_of(config)
        learner_of(config, models).gradients(Minibatch(rollout, range(24), 0.1))
        gradients = (weight.grad for weight in models.policy.model.parameters())
        found[wanted] = torch.cat([gradient.flatten() for gradient in gradients if gradient is not None])
    assert not torch.equal(found["float32"], found["bfloat16"])
    assert torch.cosine_similarity(found["float32"], found["bfloat16"], dim=0) > 0.99


def test_what_sampling_gives_is_not_what_bfloat16_gives(world: Path, policy: Path) -> None:
    config = config_of(world, policy, precision="bfloat16")
    rollout, models = rollout_of(config)
    texts = [prompt.token_ids for prompt in rollout.prompts], [one.sampled.token_ids for one in rollout.responses]
    with torch.no_grad():
        exact_N = response_log_probabilities(models.policy.model, *texts, models.policy.pad_id, config.temperature)
    difference_N = (rollout.log_probability_BR[rollout.mask_BR] - exact_N).abs()
    assert 0 < difference_N.max() < 0.2


@pytest.mark.parametrize(("factor", "expected"), [(1.0, "float32"), (2.0, "bfloat16")])
def test_the_faster_format_is_chosen_if_it_is_faster_by_a_margin(
    policy: Path, monkeypatch: pytest.MonkeyPatch, factor: float, expected: str
) -> None:
    times = {"float32": 0.01 * factor, "bfloat16": 0.01}
    monkeypatch.setattr(precision, "_seconds", lambda model, ids_BT, tried: times[tried])
    assert precision.faster_precision(load_language_model(policy).model) == expected


def test_trying_out_leaves_the_model_as_it_was(policy: Path) -> None:
    model = load_language_model(policy).model
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    assert precision.faster_precision(model) in ("float32", "bfloat16")
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())


@pytest.mark.parametrize("kept", ["float32", "bfloat16"])
def test_a_run_goes_on_with_what_it_once_found_faster(world: Path, policy: Path, tmp_path: Path, kept: str) -> None:
    write_json(tmp_path / precision.CHOICE, {"precision": kept})
    assert run_ppo(world, policy, tmp_path, precision="fastest") == 0
    assert toy.result(tmp_path)["precision"] == kept


def test_what_was_found_faster_is_kept(world: Path, policy: Path, tmp_path: Path) -> None:
    model = load_language_model(policy).model
    found = precision.settled_precision("fastest", model, tmp_path)
    assert precision.settled_precision("fastest", model, tmp_path) == found
