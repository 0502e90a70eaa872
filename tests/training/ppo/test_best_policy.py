"""Which policy is published, and what PPO starts from."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.backbone import LanguageModel
from models.lora import learnt_weights
from tests.training import tiny
from training.config import InputError, PpoConfig
from training.ppo.best_policy import BestPolicy
from training.ppo.models import PpoModels, build_models
from training.reward.scoring import RewardModelScorer

Made = Callable[..., tuple[BestPolicy, PpoModels]]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    def make(**change: object) -> tuple[BestPolicy, PpoModels]:
        config = tiny.config(**{"missing_eos_penalty": None, **change})
        models = tiny.models(tmp_path / "model", settings=config)
        return BestPolicy(config, models, tiny.prompts()), models

    return make


def weights_of(models: PpoModels) -> dict[str, Tensor]:
    return {name: weight.clone() for name, weight in learnt_weights(models.policy.model).items()}


def alike(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(weight, other[name]) for name, weight in one.items())


def move(models: PpoModels, by: float) -> None:
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in models.policy.model.parameters():
            weight.add_(by * torch.randn(weight.shape, generator=generator))


def measured(best: BestPolicy, iteration: int) -> dict[str, float]:
    return {name: total / count for name, (total, count) in best.measure(iteration).items()}


def test_the_policy_that_earns_most_is_put_in_place(made: Made) -> None:
    best, models = made(max_kl=None)
    found = {}
    for iteration in range(4):
        found[iteration] = measured(best, iteration)["held_out_reward"], weights_of(models)
        move(models, 0.05)
    chosen = max(found, key=lambda iteration: found[iteration][0])
    assert len({reward for reward, _ in found.values()}) == 4
    best.put_in_place()
    assert alike(weights_of(models), found[chosen][1])
    assert best.summary() == {"published_iteration": chosen, "held_out_reward": pytest.approx(found[chosen][0])}


def test_every_policy_answers_with_the_same_numbers_and_a_tie_keeps_the_first(made: Made) -> None:
    best, _ = made(max_kl=None)
    first, again = measured(best, 0), measured(best, 1)
    assert first == again
    assert best.summary()["published_iteration"] == 0


def test_a_policy_that_left_the_bound_is_not_kept_however_much_it_earns(made: Made) -> None:
    best, models = made(max_kl=1e-6)
    assert measured(best, 0)["held_out_kl"] > 1e-6
    before = weights_of(models)
    best.put_in_place()
    assert alike(weights_of(models), before), "none was within the bound: it stays as it is"
    assert best.summary() == {"published_iteration": None, "held_out_reward": None}
    assert best.tensors() == {}


@pytest.mark.parametrize(("limit", "kept"), [(1e6, 0), (-1e6, None)])
def test_a_policy_that_costs_too_much_is_not_kept(limit: float, kept: int | None, made: Made) -> None:
    best, _ = made(max_kl=None, cost="cost", cost_limit=limit)
    assert set(measured(best, 0)) == {"held_out_reward", "held_out_kl", "held_out_cost"}
    assert best.summary()["published_iteration"] == kept


def test_what_is_kept_is_a_copy(made: Made) -> None:
    best, models = made(max_kl=None)
    before = weights_of(models)
    best.measure(0)
    move(models, 1.0)
    assert not alike(weights_of(models), before)
    best.put_in_place()
    assert alike(weights_of(models), before)


def built(folder: Path, policy: LanguageModel, **change: object) -> PpoModels:
    config: PpoConfig = tiny.config(**change)
    scored_by = tiny.reward_model(policy)
    return build_models(config, policy, tiny.policy(folder), scored_by, RewardModelScorer(scored_by, policy))


@pytest.mark.parametrize(
    ("change", "critics"),
    [({}, {"critic"}), ({"critic": "shared"}, {"critic"}), ({"algorithm": "rloo", "samples_per_prompt": 2}, set())],
)
def test_there_is_a_critic_where_tokens_are_actions(
    change: dict[str, object], critics: set[str], tmp_path: Path
) -> None:
    models = built(tmp_path / "model", tiny.policy(tmp_path / "model"), **change)
    assert set(models.critics) == critics
    assert not any(weight.requires_grad for weight in models.reference.model.parameters())
    assert all(weight.requires_grad for weight in models.policy.model.parameters())


def test_with_adapters_the_policys_own_weights_stay(tmp_path: Path) -> None:
    policy = tiny.policy(tmp_path / "model")
    before = {name: weight.clone() for name, weight in policy.model.named_parameters()}
    models = built(tmp_path / "model", policy, lora_rank=2)
    learning = [name for name, weight in models.policy.model.named_parameters() if weight.requires_grad]
    assert learning
    assert all(name.endswith((".up", ".down")) for name in learning)
    held = dict(models.policy.model.named_parameters())
    assert all(
        torch.equal(weight, held.get(name, held.get(name.replace(".weight", ".base.weight"))))
        for name, weight in before.items()
    )  # type: ignore[arg-type]


def test_a_critic_of_another_vocabulary_is_refused_unless_it_is_shared(tmp_path: Path) -> None:
    policy = tiny.policy(tmp_path / "model")
    scored_by = tiny.reward_model(policy)
    scored_by.model.config.vocab_size = 7
    scorer = RewardModelScorer(scored_by, policy)
    with pytest.raises(InputError, match="another vocabulary than the policy: set critic to shared"):
        build_models(tiny.config(), policy, policy, scored_by, scorer)
    build_models(tiny.config(critic="shared"), policy, policy, scored_by, scorer)
