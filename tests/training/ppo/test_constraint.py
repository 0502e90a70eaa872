"""PPO under a bound on the mean cost: a second critic, a price on cost, and what is said of both."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training import tiny, toy
from tests.training.stages.test_crashes import ppo_settings
from training.algorithms.constraint import lagrangian_advantages, step_log_multiplier
from training.config import PpoConfig
from training.ppo.constraint import Constraint
from training.ppo.models import PpoModels
from training.ppo.rollout import Rollout, values
from training.runtime.exit_codes import BAD_INPUT


def config_of(**change: object) -> PpoConfig:
    return tiny.config(cost="cost", **change)


@pytest.fixture
def models(tmp_path: Path) -> PpoModels:
    return tiny.models(tmp_path / "model", settings=config_of())


def advantages(rewards: list[float], states: list[float], gamma: float, gae_lambda: float) -> list[float]:
    found, following = [0.0] * len(rewards), 0.0
    for t in reversed(range(len(rewards))):
        after = states[t + 1] if t + 1 < len(rewards) else 0.0
        following = rewards[t] + gamma * after - states[t] + gamma * gae_lambda * following
        found[t] = following
    return found


def test_a_rollout_under_a_constraint_is_what_a_slow_calculation_gives(models: PpoModels) -> None:
    """Both critics, both signs of the penalty, and the price between them, in Python's floats."""
    config = config_of(gamma=0.97, gae_lambda=0.9, whiten_advantages=False)
    rollout = tiny.rollout(models, config, kl_coefficient=0.3, multiplier=1.7)
    prompts = [prompt.token_ids for prompt in rollout.prompts]
    responses = [response.sampled.token_ids for response in rollout.responses]
    pad = models.policy.pad_id
    value, cost_value = (
        values(critic, prompts, responses, rollout.mask_BR, config, pad)
        for critic in (models.critic, models.cost_critic)
    )
    assert not torch.equal(value, cost_value)
    for row, response in enumerate(responses):
        count = len(response)
        kl = rollout.kl_BR[row, :count].tolist()
        reward, cost = [-0.3 * one for one in kl], [0.3 * one for one in kl]
        reward[-1] += float(rollout.reward_B[row])
        cost[-1] += float(rollout.cost_B[row])
        of_reward = advantages(reward, value[row, :count].tolist(), 0.97, 0.9)
        of_cost = advantages(cost, cost_value[row, :count].tolist(), 0.97, 0.9)
        expected = [(one - 1.7 * other) / 2.7 for one, other in zip(of_reward, of_cost, strict=True)]
        assert rollout.advantage_BR[row, :count].tolist() == pytest.approx(expected, abs=1e-4)
        returns = [one + float(cost_value[row, t]) for t, one in enumerate(of_cost)]
        assert rollout.cost_return_BR[row, :count].tolist() == pytest.approx(returns, abs=1e-4)


def test_the_price_of_divergence_does_not_depend_on_that_of_cost(models: PpoModels) -> None:
    """With returns that are plain sums and critics that say nothing, an advantage is the mix of both scores less the
    divergence to come."""
    config = config_of(gamma=1.0, gae_lambda=1.0, whiten_advantages=False)
    for critic in models.critics.values():
        torch.nn.init.zeros_(critic.head.weight)
        torch.nn.init.zeros_(critic.head.bias)
    for multiplier in (0.0, 0.5, 4.0):
        rollout = tiny.rollout(models, config, kl_coefficient=0.3, multiplier=multiplier)
        mixed = (rollout.reward_B - multiplier * rollout.cost_B) / (1 + multiplier)
        expected = mixed - 0.3 * rollout.kl_BR.sum(-1)
        torch.testing.assert_close(rollout.advantage_BR[:, 0], expected, atol=1e-4, rtol=0)


def test_a_multiplier_of_zero_leaves_the_advantages_as_they_are() -> None:
    reward, cost = torch.randn(3, 4, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    assert torch.equal(lagrangian_advantages(reward, cost, multiplier=0.0), reward)
    torch.testing.assert_close(lagrangian_advantages(reward, cost, multiplier=1e9), -cost, atol=1e-6, rtol=0)


def test_the_multiplier_goes_down_the_slope_of_its_loss() -> None:
    """Autograd on -(C - d) exp(l) in float64 takes the same steps."""
    ours = 0.2
    theirs = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.SGD([theirs], lr=0.1)
    for cost in (1.5, 0.3, -0.7, -2.0, 0.9):
        ours = step_log_multiplier(ours, mean_cost=cost, limit=0.25, learning_rate=0.1, maximum=100.0)
        optimiser.zero_grad()
        (-(cost - 0.25) * theirs.exp()).backward()
        optimiser.step()
        assert ours == pytest.approx(float(theirs.detach()), abs=1e-12)


def costing(rollout: Rollout, cost: float) -> Rollout:
    return replace(rollout, cost_B=torch.full_like(rollout.cost_B, cost))


def test_the_price_rises_while_the_limit_is_broken_and_answers_to_recent_costs_alone(models: PpoModels) -> None:
    config = config_of(cost_limit=0.5, cost_window=16, multiplier_max=2.0)
    constraint, rollout = Constraint(config), tiny.rollout(models, config)
    prices = []
    for cost in (1.5, 1.5, -0.5, -0.5, -0.5, -0.5):  # eight responses each: the window holds two of these
        constraint.update(costing(rollout, cost))
        prices.append(constraint.multiplier)
    assert prices[0] == pytest.approx(math.exp(0.1))
    assert prices[1] > prices[0]
    assert prices[2] == pytest.approx(prices[1])  # a mean of 0.5, which is the limit
    assert prices[5] < prices[4] < prices[3] < prices[2]


def test_a_price_at_its_highest_that_does_not_help_is_told(models: PpoModels) -> None:
    config = config_of(multiplier_start=1.9, multiplier_max=2.0)
    constraint, rollout = Constraint(config), tiny.rollout(models, config)
    constraint.update(costing(rollout, 0.1))
    assert not constraint.pinned
    for _ in range(3):
        constraint.update(costing(rollout, 3.0))
    assert constraint.multiplier == pytest.approx(2.0)
    assert constraint.measures(rollout)["multiplier_pinned"] == (1.0, 1.0)
    assert constraint.summary({})["multiplier_pinned_iterations"] == 3


def test_without_a_learning_rate_the_price_is_fixed(models: PpoModels) -> None:
    config = config_of(multiplier_start=0.7, multiplier_learning_rate=0)
    constraint, rollout = Constraint(config), tiny.rollout(models, config)
    constraint.update(costing(rollout, 5.0))
    assert constraint.multiplier == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"cost_limit": 1.0, "multiplier_max": 9}, "cost_limit, multiplier_max: there is no cost model"),
        ({"cost": "nowhere", "multiplier_start": 6}, "multiplier_start: must not exceed multiplier_max"),
        ({"cost": "nowhere", "whiten_rewards": True}, "whiten_rewards: with a cost model"),
        ({"cost": "nowhere", "multiplier_start": 0}, "multiplier_start: must be above 0"),
    ],
)
def test_settings_without_sense_are_refused(
    change: dict[str, object], word: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    nowhere = tmp_path / "nowhere"
    assert toy.run("ppo", tmp_path / "out", **ppo_settings(nowhere, nowhere, nowhere) | change) == BAD_INPUT
    assert word in capfd.readouterr().err
