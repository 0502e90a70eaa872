import pytest
import torch

from training.algorithms.advantages import (
    generalised_advantages,
    leave_one_out_advantages,
    penalise_missing_eos,
    token_rewards,
)
from training.algorithms.masking import length_mask


def slow_advantages(
    rewards: list[float], values: list[float], gamma: float, gae_lambda: float
) -> tuple[list[float], list[float]]:
    """Schulman et al. 2016, eq. 16, as the sum that it is written as."""
    count = len(rewards)
    deltas = [rewards[t] + gamma * (values[t + 1] if t + 1 < count else 0.0) - values[t] for t in range(count)]
    advantages = [sum((gamma * gae_lambda) ** (k - t) * deltas[k] for k in range(t, count)) for t in range(count)]
    return advantages, [advantage + value for advantage, value in zip(advantages, values, strict=True)]


@pytest.mark.parametrize(("gamma", "gae_lambda"), [(1.0, 0.95), (0.9, 0.8), (1.0, 1.0), (1.0, 0.0)])
def test_advantages_are_those_of_each_response_alone(gamma: float, gae_lambda: float) -> None:
    lengths = [5, 1, 3]
    generator = torch.Generator().manual_seed(0)
    rewards, values = (torch.randn(3, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    mask = length_mask(lengths)
    advantages, returns = generalised_advantages(rewards * mask, values, mask, gamma=gamma, gae_lambda=gae_lambda)
    for row, length in enumerate(lengths):
        expected = slow_advantages(rewards[row, :length].tolist(), values[row, :length].tolist(), gamma, gae_lambda)
        assert advantages[row, :length].tolist() == pytest.approx(expected[0])
        assert returns[row, :length].tolist() == pytest.approx(expected[1])
        assert not advantages[row, length:].any()
        assert not returns[row, length:].any()


def test_the_score_lands_on_the_last_token_and_the_penalty_on_every_one() -> None:
    mask = length_mask([3, 1])
    kl = torch.tensor([[0.5, -0.25, 1.0], [2.0, 9.0, 9.0]])
    rewards = token_rewards(torch.tensor([7.0, -1.0]), kl, mask, kl_coefficient=0.1)
    torch.testing.assert_close(rewards, torch.tensor([[-0.05, 0.025, 6.9], [-1.2, 0.0, 0.0]]))


def test_a_response_without_an_end_is_worth_less_than_an_average_one() -> None:
    scores = torch.tensor([1.5, 1.5, -0.5])
    penalised = penalise_missing_eos(scores, torch.tensor([True, False, False]), penalty=2.0)
    assert penalised.tolist() == [1.5, -2.0, -2.5]


def test_without_a_penalty_every_score_stays() -> None:
    scores = torch.tensor([1.5, -0.5])
    assert torch.equal(penalise_missing_eos(scores, torch.tensor([False, True]), penalty=None), scores)


@pytest.mark.parametrize("samples", [2, 3, 4])
def test_a_response_is_compared_with_the_others_to_its_prompt(samples: int) -> None:
    generator = torch.Generator().manual_seed(0)
    rewards = torch.randn(12, generator=generator, dtype=torch.float64)
    advantages = leave_one_out_advantages(rewards, samples=samples).tolist()
    for row, reward in enumerate(rewards.tolist()):
        first = row - row % samples
        others = [float(rewards[place]) for place in range(first, first + samples) if place != row]
        assert advantages[row] == pytest.approx(reward - sum(others) / len(others))


def test_leaving_one_out_does_not_turn_the_gradient() -> None:
    """Over every pair of samples, advantage times the slope of the log-probability is the slope of the mean reward."""
    logits = torch.tensor([0.3, -0.5, 1.1], dtype=torch.float64, requires_grad=True)
    reward = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    log_probability = torch.log_softmax(logits, 0)
    (expected,) = torch.autograd.grad((log_probability.exp() * reward).sum(), logits, retain_graph=True)
    surrogate = torch.zeros((), dtype=torch.float64)
    for one in range(3):
        for other in range(3):
            advantages = leave_one_out_advantages(reward[[one, other]], samples=2)
            chance = (log_probability[one] + log_probability[other]).exp().detach()
            surrogate = surrogate + chance * (advantages * log_probability[[one, other]]).mean()
    (found,) = torch.autograd.grad(surrogate, logits)
    torch.testing.assert_close(found, expected)
