"""What holds of the formulae whatever the numbers."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from training.algorithms.advantages import (
    generalised_advantages,
    leave_one_out_advantages,
    penalise_missing_eos,
    token_rewards,
)
from training.algorithms.components import principal_components
from training.algorithms.constraint import lagrangian_advantages, step_log_multiplier
from training.algorithms.direct_preference import DirectLoss, direct_preference, imitation
from training.algorithms.kl import CONTROLLER_CLIP, adapt_coefficient
from training.algorithms.losses import bradley_terry, explained_variance, policy_loss, value_loss
from training.algorithms.masking import length_mask, masked_mean, masked_variance, scatter_rows, whiten
from training.algorithms.preference import margin_bradley_terry, plackett_luce
from training.algorithms.probe import cross_validated_strength, fit_bradley_terry

no_time_limit = settings(max_examples=30, deadline=None)
numbers = st.floats(-20, 20)
positive = st.floats(1e-3, 100)
lengths_of_rows = st.lists(st.integers(1, 7), min_size=1, max_size=5)


def exact(*values: float) -> Tensor:
    """As Python holds them."""
    return torch.tensor(values, dtype=torch.float64)


def random_like(mask_BR: Tensor, seed: int) -> Tensor:
    return torch.randn(mask_BR.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * mask_BR


@given(lengths=lengths_of_rows, seed=st.integers(0, 1000), coefficient=st.floats(0, 5))
@no_time_limit
def test_the_rewards_of_a_response_add_up_to_its_score_less_its_divergence(
    lengths: list[int], seed: int, coefficient: float
) -> None:
    mask_BR = length_mask(lengths)
    kl_BR, score_B = random_like(mask_BR, seed), torch.arange(float(len(lengths)), dtype=torch.float64)
    reward_BR = token_rewards(score_B, kl_BR, mask_BR, kl_coefficient=coefficient)
    torch.testing.assert_close(reward_BR.sum(-1), score_B - coefficient * kl_BR.sum(-1))
    assert not reward_BR[~mask_BR].any()


@given(lengths=lengths_of_rows, seed=st.integers(0, 1000), gamma=st.floats(0, 1), gae_lambda=st.floats(0, 1))
@no_time_limit
def test_a_return_is_an_advantage_over_the_value_and_of_one_token_its_reward(
    lengths: list[int], seed: int, gamma: float, gae_lambda: float
) -> None:
    mask_BR = length_mask(lengths)
    reward_BR, value_BR = random_like(mask_BR, seed), random_like(mask_BR, seed + 1)
    advantage_BR, return_BR = generalised_advantages(reward_BR, value_BR, mask_BR, gamma=gamma, gae_lambda=gae_lambda)
    torch.testing.assert_close(return_BR, (advantage_BR + value_BR) * mask_BR)
    last = torch.tensor(lengths) - 1
    rows = torch.arange(len(lengths))
    torch.testing.assert_close(return_BR[rows, last], reward_BR[rows, last])


@given(lengths=lengths_of_rows, seed=st.integers(0, 1000))
@no_time_limit
def test_with_all_to_come_a_return_is_the_sum_of_what_comes_whatever_the_critic_says(
    lengths: list[int], seed: int
) -> None:
    mask_BR = length_mask(lengths)
    reward_BR = random_like(mask_BR, seed)
    for critic in (seed + 1, seed + 2):
        value_BR = random_like(mask_BR, critic)
        _, return_BR = generalised_advantages(reward_BR, value_BR, mask_BR, gamma=1.0, gae_lambda=1.0)
        expected_BR = reward_BR.flip(-1).cumsum(-1).flip(-1) * mask_BR
        torch.testing.assert_close(return_BR, expected_BR)


@given(groups=st.integers(1, 4), samples=st.integers(2, 5), shift=numbers, seed=st.integers(0, 1000))
@no_time_limit
def test_advantages_of_a_prompts_responses_cancel_out_and_know_no_shift(
    groups: int, samples: int, shift: float, seed: int
) -> None:
    reward_B = random_like(torch.ones(groups * samples), seed)
    advantage_B = leave_one_out_advantages(reward_B, samples=samples)
    torch.testing.assert_close(advantage_B.view(groups, samples).sum(-1), torch.zeros(groups).double())
    shifted_B = leave_one_out_advantages(reward_B + shift, samples=samples)
    torch.testing.assert_close(shifted_B, advantage_B, atol=1e-9, rtol=0)


@given(score=numbers, penalty=st.floats(0, 5))
@no_time_limit
def test_a_response_that_did_not_end_is_never_worth_more_than_one_that_did(score: float, penalty: float) -> None:
    ended, cut = penalise_missing_eos(torch.tensor([score] * 2), torch.tensor([True, False]), penalty=penalty).tolist()
    assert ended == pytest.approx(score, abs=1e-5)
    assert cut <= min(ended, -penalty + 1e-6)


@given(lengths=lengths_of_rows, seed=st.integers(0, 1000), scale=st.floats(0.1, 100), shift=numbers)
@no_time_limit
def test_whitening_knows_neither_scale_nor_shift_nor_padding(
    lengths: list[int], seed: int, scale: float, shift: float
) -> None:
    mask_BR = length_mask([*lengths, 5])
    values_BR = random_like(mask_BR, seed)
    expected_BR = whiten(values_BR, mask_BR)
    moved_BR = whiten((scale * values_BR + shift) * mask_BR, mask_BR)
    torch.testing.assert_close(moved_BR, expected_BR, atol=1e-3, rtol=0)
    wider_BR, wider_mask_BR = (torch.nn.functional.pad(one, (0, 3)) for one in (values_BR, mask_BR))
    torch.testing.assert_close(whiten(wider_BR + 7.0 * ~wider_mask_BR, wider_mask_BR)[:, :-3], expected_BR)
    assert float(masked_mean(expected_BR, mask_BR)) == pytest.approx(0, abs=1e-6)
    assert float(masked_variance(expected_BR, mask_BR)) == pytest.approx(1, abs=1e-3)


@given(lengths=lengths_of_rows, seed=st.integers(0, 1000))
@no_time_limit
def test_what_is_taken_out_by_a_mask_goes_back_in_its_place(lengths: list[int], seed: int) -> None:
    mask_BR = length_mask(lengths)
    assert mask_BR.sum(-1).tolist() == lengths
    assert mask_BR.shape[1] == max(lengths)
    values_BR = random_like(mask_BR, seed)
    assert torch.equal(scatter_rows(values_BR[mask_BR], mask_BR), values_BR)


@given(
    kl=st.floats(0, 1e6),
    target=positive,
    coefficient=positive,
    episodes=st.integers(1, 500),
    horizon=st.integers(1, 1000),
)
@no_time_limit
def test_the_coefficient_rises_above_its_target_and_falls_below_and_stays_above_zero(
    kl: float, target: float, coefficient: float, episodes: int, horizon: int
) -> None:
    adapted = adapt_coefficient(coefficient, kl=kl, target=target, episodes=episodes, horizon=horizon)
    assert adapted > 0
    assert (adapted > coefficient) == (kl > target) or math.isclose(adapted, coefficient)
    assert abs(adapted / coefficient - 1) <= CONTROLLER_CLIP * min(1, episodes / horizon) + 1e-9


@given(start=st.floats(-3, 1), cost=numbers, limit=numbers, rate=st.floats(0, 1), maximum=st.floats(3, 50))
@no_time_limit
def test_the_price_of_cost_moves_with_the_breach_and_never_beyond_its_most(
    start: float, cost: float, limit: float, rate: float, maximum: float
) -> None:
    stepped = step_log_multiplier(start, mean_cost=cost, limit=limit, learning_rate=rate, maximum=maximum)
    assert stepped <= math.log(maximum)
    if rate == 0 or cost == limit:
        assert stepped == start
    else:
        assert (stepped - start) * (cost - limit) >= 0


@given(multiplier=st.floats(0, 1e6), advantage=numbers, cost=numbers)
@no_time_limit
def test_a_mix_of_two_advantages_lies_between_them(multiplier: float, advantage: float, cost: float) -> None:
    mixed = float(lagrangian_advantages(exact(advantage), exact(cost), multiplier=multiplier))
    assert min(advantage, -cost) - 1e-9 <= mixed <= max(advantage, -cost) + 1e-9


@given(d=numbers, p=st.floats(0, 1), weight=positive, margin=st.floats(0, 3))
@no_time_limit
def test_turning_a_pair_round_changes_no_loss(d: float, p: float, weight: float, margin: float) -> None:
    told = exact(d), exact(p), exact(weight)
    turned = -told[0], 1 - told[1], told[2]
    assert float(bradley_terry(*told)) == pytest.approx(float(bradley_terry(*turned)))
    lead = exact(margin)
    assert float(margin_bradley_terry(*told, lead)) == pytest.approx(float(margin_bradley_terry(*turned, lead)))
    assert float(margin_bradley_terry(*told, lead)) >= float(bradley_terry(*told)) - 1e-9
    assert float(bradley_terry(*told)) >= 0


@pytest.mark.parametrize("loss", ["sigmoid", "ipo", "robust"])
@given(d=numbers, p=st.floats(0, 1), beta=st.floats(0.01, 2), noise=st.floats(0, 0.4))
@no_time_limit
def test_turning_a_pair_round_changes_no_direct_loss(
    loss: DirectLoss, d: float, p: float, beta: float, noise: float
) -> None:
    told, turned = (
        float(direct_preference(exact(side), exact(label), exact(1.0), loss=loss, beta=beta, label_noise=noise))
        for side, label in ((d, p), (-d, 1 - p))
    )
    assert told == pytest.approx(turned)


def test_imitation_counts_tokens_of_the_preferred_response_alike_however_long_it_is() -> None:
    log_probability_2B = torch.tensor([[-4.0, -40.0], [-9.0, -9.0]])
    length_2B = torch.tensor([[2, 20], [3, 3]])
    one_B = torch.ones(2)
    assert float(imitation(log_probability_2B, length_2B, one_B, one_B)) == pytest.approx(4.0)
    assert float(imitation(log_probability_2B, length_2B, 0 * one_B, one_B)) == pytest.approx(6.0)


@given(scores=st.lists(numbers, min_size=2, max_size=5), shift=numbers, noise=st.floats(0, 0.3))
@no_time_limit
def test_a_ranking_knows_no_shift_of_its_scores(scores: list[float], shift: float, noise: float) -> None:
    count = len(scores)
    beaten = torch.ones(count, count).triu(1).bool()[None]
    score_GK, weight_G = exact(scores), torch.ones(1).double()
    told, moved = (float(plackett_luce(one, beaten, weight_G, noise=noise)) for one in (score_GK, score_GK + shift))
    assert told == pytest.approx(moved, abs=1e-8)
    assert told >= -1e-9


@given(ratio=st.floats(-1, 1), advantage=numbers, low=st.floats(0, 0.9), high=st.floats(0.01, 3))
@no_time_limit
def test_a_clipped_step_never_promises_more_than_a_plain_one(
    ratio: float, advantage: float, low: float, high: float
) -> None:
    old, new = exact(0.0), exact(ratio)
    given_advantage = exact(advantage)
    loss, found, clipped = policy_loss(new, old, given_advantage, clip_low=low, clip_high=high)
    plain = float(-given_advantage * exact(ratio).exp())
    assert float(loss) >= plain - 1e-9
    assert float(found) == pytest.approx(math.exp(ratio))
    assert bool(clipped) == (float(loss) > plain)


@given(value=numbers, old=numbers, target=numbers, clip=st.floats(0.01, 5))
@no_time_limit
def test_a_clipped_critic_is_never_thought_better_than_it_is(
    value: float, old: float, target: float, clip: float
) -> None:
    told = [exact(one) for one in (value, old, target)]
    clipped, is_clipped = value_loss(*told, clip=clip)
    plain, _ = value_loss(*told, clip=None)
    assert float(clipped) >= float(plain) - 1e-12
    assert bool(is_clipped) == (float(clipped) > float(plain))
    assert not value_loss(*told, clip=None)[1].any()


def test_the_variance_that_a_critic_explains_of_what_never_varies_is_a_number() -> None:
    assert math.isfinite(float(explained_variance(torch.randn(4), torch.ones(4))))


@given(seed=st.integers(0, 500), strength=st.floats(0.1, 100))
@no_time_limit
def test_a_linear_fit_that_begins_at_a_stronger_one_ends_where_it_would_have_and_is_longer(
    seed: int, strength: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x_PF = torch.randn(20, 3, generator=generator)
    label_P = (torch.rand(20, generator=generator) < 0.6).float()
    held_F = fit_bradley_terry(x_PF, label_P, torch.ones(20), strength=10 * strength)
    found_F = fit_bradley_terry(x_PF, label_P, torch.ones(20), strength=strength)
    again_F = fit_bradley_terry(x_PF, label_P, torch.ones(20), strength=strength, start_F=held_F)
    torch.testing.assert_close(again_F, found_F, atol=1e-7, rtol=0)
    assert float(held_F.norm()) <= float(found_F.norm()) + 1e-9


def test_with_one_fold_nothing_is_held_out() -> None:
    found = cross_validated_strength(torch.randn(4, 2), torch.ones(4), torch.ones(4), fold_P=torch.zeros(4))
    assert found.margin_P.tolist() == [0.0] * 4


def test_components_of_one_row_or_of_equal_rows_are_none() -> None:
    for feature_BF in (torch.ones(5, 3), torch.randn(1, 3).expand(4, 3)):
        assert principal_components(feature_BF, 2).of(feature_BF).shape[1] == 0
