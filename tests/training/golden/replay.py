"""What we make of an oracle's rollout, and its updates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.backbone import LanguageModel, response_log_probabilities
from models.generation import Response
from models.reward import RewardModel
from tests.training.golden import problem
from training.config import PpoConfig
from training.data.examples import Prompt
from training.ppo.learner import Learner
from training.ppo.models import PpoModels, build_models
from training.ppo.objective import Minibatch
from training.ppo.rollout import Rollout, assess
from training.records import conversation
from training.responses.written import WrittenResponse
from training.reward.scoring import RewardModelScorer
from training.runtime.metrics import Measures
from training.runtime.run import PhaseTimer

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Golden:
    """One variant: what the oracle found, and what we make of the same responses."""

    oracle: Mapping[str, Any]
    config: PpoConfig
    models: PpoModels
    rollout: Rollout


def config_of(variant: Mapping[str, Any]) -> PpoConfig:
    return PpoConfig(
        seed=0,
        policy="",
        reference="",
        reward="",
        prompts=Path(),
        temperature=problem.TEMPERATURE,
        max_new_tokens=problem.RESPONSE_TOKENS,
        kl_estimator=variant["kl_estimator"],
        gamma=variant["gamma"],
        gae_lambda=variant["lam"],
        whiten_rewards=variant["whiten_rewards"],
        missing_eos_penalty=None,  # the oracle subtracts, see `as_the_oracle_pays`
        clip_low=problem.CLIP,
        clip_high=problem.CLIP,
        value_clip=problem.CLIP,
        max_update_kl=None,
        adam_epsilon=1e-8,
        gradient_clip=1e9,
    )


def models_of(config: PpoConfig) -> PpoModels:
    tokenizer = problem.tokenizer()
    policy, reference = (LanguageModel(problem.causal_model(seed), tokenizer, (problem.EOS,)) for seed in (1, 2))
    reward_model = RewardModel(problem.scoring_model(7), tokenizer)
    return build_models(config, policy, reference, reward_model, RewardModelScorer(reward_model, policy))


def rollout_of(oracle: Mapping[str, Any], models: PpoModels, config: PpoConfig) -> Rollout:
    prompts = [Prompt("", conversation(("user", "")), tuple(ids)) for ids in oracle["prompts"]]
    with torch.no_grad():
        log_probability_N = response_log_probabilities(
            models.policy.model, oracle["prompts"], oracle["responses"], problem.PAD, config.temperature
        )
    by_row = log_probability_N.split([len(ids) for ids in oracle["responses"]])
    responses = [
        WrittenResponse(Response(tuple(ids), tuple(kept.tolist()), ids[-1] == problem.EOS), "")
        for ids, kept in zip(oracle["responses"], by_row, strict=True)
    ]
    return assess(models, prompts, responses, config, kl_coefficient=problem.KL_COEFFICIENT, timer=PhaseTimer())


def assert_rows(found_BR: Tensor, recorded: Sequence[Sequence[float]], mask_BR: Tensor) -> None:
    """Equal wherever the mask is true."""
    lengths = mask_BR.sum(-1).tolist()
    assert all(len(row) >= length for row, length in zip(recorded, lengths, strict=True))
    expected = [value for row, length in zip(recorded, lengths, strict=True) for value in row[:length]]
    assert found_BR[mask_BR].tolist() == pytest.approx(expected, abs=TOLERANCE)


def everything(rollout: Rollout) -> Minibatch:
    return Minibatch(rollout, list(range(len(rollout.prompts))), kl_coefficient=0.0)


def step(learner: Learner, minibatch: Minibatch, *, critic_only: bool) -> Measures:
    rate = problem.LEARNING_RATE
    return learner.step(minibatch, actor_rate=rate, critic_rate=rate, critic_only=critic_only).measures


def mean(measures: Measures, name: str) -> float:
    total, count = measures[name]
    return total / count
