"""The same rollout and updates as TRL 1.12.0's PPO, whose numbers `make oracle` records.

Two conventions differ and are bridged here: TRL pays the score one place after EOS, where its critic speaks once more,
and divides variances by N - 1.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.golden import problem
from tests.training.golden.recording import norms
from tests.training.golden.replay import (
    TOLERANCE,
    Golden,
    assert_rows,
    config_of,
    everything,
    mean,
    models_of,
    rollout_of,
    step,
)
from tests.training.tiny import for_a_small_model
from training.algorithms.advantages import generalised_advantages, token_rewards
from training.algorithms.kl import ESTIMATORS
from training.algorithms.masking import length_mask, whiten
from training.config import PpoConfig
from training.ppo.learner import learner_of
from training.ppo.models import PpoModels
from training.ppo.rollout import Rollout, values

RECORDED: Mapping[str, Any] = json.loads(Path(__file__).with_name("trl_1_12.json").read_text())["variants"]


@dataclass(frozen=True)
class Paid(Golden):
    paid_after: Rollout
    reward_BR: Tensor
    """Of `paid_after`, the rollout as the oracle lays it out: one more place for all but responses of full length."""


@pytest.fixture(params=sorted(RECORDED))
def golden(request: pytest.FixtureRequest) -> Paid:
    oracle, variant = RECORDED[request.param], problem.VARIANTS[request.param]
    config = for_a_small_model(config_of(variant))
    models = models_of(config)
    rollout = rollout_of(oracle, models, config)
    penalty = variant["missing_eos_penalty"] or 0.0
    return Paid(oracle, config, models, rollout, *as_the_oracle_pays(rollout, models, config, penalty))


def as_the_oracle_pays(
    rollout: Rollout, models: PpoModels, config: PpoConfig, missing_eos_penalty: float
) -> tuple[Rollout, Tensor]:
    sampled = [response.sampled for response in rollout.responses]
    longer = [
        (*response.token_ids, problem.PAD)[: problem.RESPONSE_TOKENS] for response in sampled
    ]  # what stands in the place after EOS is never read: the critic speaks before it
    mask_BR = length_mask([len(ids) for ids in longer])
    ended_B = torch.tensor([response.ended_with_eos for response in sampled])
    kl_BR = ESTIMATORS[config.kl_estimator](rollout.log_probability_BR, rollout.reference_BR)
    reward_BR = token_rewards(
        rollout.score_B - missing_eos_penalty * ~ended_B, kl_BR, mask_BR, kl_coefficient=problem.KL_COEFFICIENT
    )
    if config.whiten_rewards:
        reward_BR = whiten_unbiased(reward_BR, mask_BR, shift_mean=False)
    value_BR = values(
        models.critic, [prompt.token_ids for prompt in rollout.prompts], longer, mask_BR, config, problem.PAD
    )
    advantage_BR, return_BR = generalised_advantages(
        reward_BR, value_BR, mask_BR, gamma=config.gamma, gae_lambda=config.gae_lambda
    )
    responses = [
        replace(response, sampled=replace(response.sampled, token_ids=ids))
        for response, ids in zip(rollout.responses, longer, strict=True)
    ]
    paid_after = replace(
        rollout, responses=responses, mask_BR=mask_BR, value_BR=value_BR, advantage_BR=advantage_BR, return_BR=return_BR
    )
    return paid_after, reward_BR


def whiten_unbiased(values_BR: Tensor, mask_BR: Tensor, *, shift_mean: bool = True) -> Tensor:
    """With the variance over N - 1."""
    count = int(mask_BR.sum())
    whitened_BR = whiten(values_BR, mask_BR) * ((count - 1) / count) ** 0.5
    return whitened_BR if shift_mean else (whitened_BR + values_BR[mask_BR].mean()) * mask_BR


def test_the_record_holds_what_matters(golden: Paid) -> None:
    """Responses of several lengths, ended and not, and a policy that has moved from its reference."""
    lengths = {len(ids) for ids in golden.oracle["responses"]}
    assert len(lengths) >= 4
    assert {response.sampled.ended_with_eos for response in golden.rollout.responses} == {True, False}
    assert golden.rollout.kl_per_response > 1
    assert golden.oracle["epochs"][-1]["update_kl"] > 0.05


def test_log_probabilities_values_and_scores(golden: Paid) -> None:
    mask_BR = golden.rollout.mask_BR
    assert_rows(golden.rollout.log_probability_BR, golden.oracle["logprobs"], mask_BR)
    assert_rows(golden.rollout.reference_BR, golden.oracle["ref_logprobs"], mask_BR)
    assert_rows(golden.rollout.value_BR, golden.oracle["values"], mask_BR)
    assert_rows(golden.paid_after.value_BR, golden.oracle["values"], golden.paid_after.mask_BR)


def test_rewards_advantages_and_returns(golden: Paid) -> None:
    mask_BR = golden.paid_after.mask_BR
    assert_rows(golden.reward_BR, golden.oracle["rewards"], mask_BR)
    assert_rows(golden.paid_after.return_BR, golden.oracle["returns"], mask_BR)
    whitened_BR = whiten_unbiased(golden.paid_after.advantage_BR * golden.rollout.mask_BR, golden.rollout.mask_BR)
    assert_rows(whitened_BR, golden.oracle["advantages"], golden.rollout.mask_BR)


def test_where_the_score_is_paid_makes_no_difference_to_a_whole_return() -> None:
    """With gamma = lambda = 1 our own rollout has the oracle's figures, with nothing bridged but the variance."""
    oracle, config = RECORDED["plain"], for_a_small_model(config_of(problem.VARIANTS["plain"]))
    rollout = rollout_of(oracle, models_of(config), config)
    count = int(rollout.mask_BR.sum())
    assert rollout.score_B.tolist() == pytest.approx(oracle["scores"], abs=TOLERANCE)
    assert_rows(rollout.return_BR, oracle["returns"], rollout.mask_BR)
    assert_rows(rollout.advantage_BR * ((count - 1) / count) ** 0.5, oracle["advantages"], rollout.mask_BR)


def test_the_policys_losses_and_gradients(golden: Paid) -> None:
    """Over all epochs: the later ones are right only if every step before them was."""
    mask_BR = golden.rollout.mask_BR
    advantage_BR = whiten_unbiased(golden.paid_after.advantage_BR * mask_BR, mask_BR)
    learner = learner_of(golden.config, golden.models)
    minibatch = everything(replace(golden.rollout, advantage_BR=advantage_BR))
    model = golden.models.policy.model
    learner.gradients(minibatch)
    assert norms(model) == pytest.approx(golden.oracle["epochs"][0]["policy_gradient_norms"], abs=TOLERANCE)
    forget_gradients(golden.models)
    for epoch in golden.oracle["epochs"]:
        measures = step(learner, minibatch, critic_only=False)
        assert mean(measures, "policy_loss") == pytest.approx(epoch["policy_loss"], abs=TOLERANCE)
        assert mean(measures, "update_kl") == pytest.approx(epoch["update_kl"], abs=TOLERANCE)


def test_the_critics_losses_and_gradients(golden: Paid) -> None:
    critic = golden.models.critic
    critic.head.bias.requires_grad_(False)  # the oracle's head has none
    learner = learner_of(golden.config, golden.models)
    minibatch = everything(golden.paid_after)
    learner.gradients(minibatch, critic_only=True)
    expected = {
        name.replace("model.", "trunk.", 1).replace("score.", "head."): 10 * norm  # its weight is 0.1
        for name, norm in golden.oracle["epochs"][0]["value_gradient_norms"].items()
    }
    assert norms(critic) == pytest.approx(expected, abs=TOLERANCE, rel=TOLERANCE)
    forget_gradients(golden.models)
    for epoch in golden.oracle["epochs"]:
        measures = step(learner, minibatch, critic_only=True)
        assert mean(measures, "value_loss") == pytest.approx(epoch["value_loss"], abs=TOLERANCE, rel=TOLERANCE)


def forget_gradients(models: PpoModels) -> None:
    models.policy.model.zero_grad()
    models.critic.zero_grad()
