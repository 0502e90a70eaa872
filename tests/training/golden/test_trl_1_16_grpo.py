"""The same rollout and updates as TRL 1.16.0's GRPO, Dr. GRPO and GSPO, whose numbers `make oracle` records.

Alike are: a group's mean and deviation (variance over N - 1, 1e-4 added), ratios of tokens or of a response's mean
token, clips of two sides, k3 in the loss, and how tokens are averaged. No convention differs; what TRL has alone is
off: k3 times the ratio (its default, which has k2's gradient), masks of truncated responses, other losses, filters by
entropy, corrections for another sampler.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

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
from training.config import PpoConfig
from training.ppo.learner import learner_of

RECORDED: Mapping[str, Any] = json.loads(Path(__file__).with_name("trl_1_16_grpo.json").read_text())["variants"]


@pytest.fixture
def in_double() -> Iterator[None]:
    """Adam's first step divides each gradient by its own size: where one is next to nothing, its rounding decides which
    way a whole learning rate goes, and processors round differently (docs/decisions.md)."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(params=sorted(RECORDED))
def golden(request: pytest.FixtureRequest, in_double: None) -> Golden:
    oracle, variant = RECORDED[request.param], problem.GRPO_VARIANTS[request.param]
    wanted = replace(
        config_of(problem.VARIANTS["plain"]),
        algorithm=request.param,
        samples_per_prompt=problem.SAMPLES,
        clip_low=variant["epsilon"],
        clip_high=variant["epsilon_high"],
        gae_lambda=PpoConfig.gae_lambda,
        value_clip=PpoConfig.value_clip,
        kl_estimator=PpoConfig.kl_estimator,
    )
    config = for_a_small_model(wanted)
    models = models_of(config)
    return Golden(oracle, config, models, rollout_of(oracle, models, config))


def test_the_record_holds_what_matters(golden: Golden) -> None:
    """Several responses to each prompt, of several lengths, ended and not, and ratios that were clipped."""
    prompts = [tuple(prompt) for prompt in golden.oracle["prompts"]]
    assert prompts == [prompt for prompt in prompts[:: problem.SAMPLES] for _ in range(problem.SAMPLES)]
    assert len({len(ids) for ids in golden.oracle["responses"]}) >= 4
    assert {response.sampled.ended_with_eos for response in golden.rollout.responses} == {True, False}
    assert max(epoch["clip_fraction"] for epoch in golden.oracle["epochs"]) > 0.05


def test_the_rollout(golden: Golden) -> None:
    rollout = golden.rollout
    assert_rows(rollout.log_probability_BR, golden.oracle["logprobs"], rollout.mask_BR)
    assert_rows(rollout.reference_BR, golden.oracle["ref_logprobs"], rollout.mask_BR)
    assert rollout.score_B.tolist() == pytest.approx(golden.oracle["scores"], abs=TOLERANCE)
    assert rollout.advantage_BR[:, 0].tolist() == pytest.approx(golden.oracle["advantages"], abs=TOLERANCE)


def test_losses_and_gradients(golden: Golden) -> None:
    """Over all epochs: the later ones are right only if every step before them was."""
    learner, model = learner_of(golden.config, golden.models), golden.models.policy.model
    minibatch = replace(everything(golden.rollout), kl_coefficient=problem.KL_COEFFICIENT)
    for epoch in golden.oracle["epochs"]:
        measures = learner.gradients(minibatch)
        assert norms(model) == pytest.approx(epoch["gradient_norms"], abs=TOLERANCE, rel=TOLERANCE)
        loss = mean(measures, "policy_loss") + problem.KL_COEFFICIENT * mean(measures, "kl_loss")
        assert loss == pytest.approx(epoch["loss"], abs=TOLERANCE)
        assert mean(measures, "clip_fraction") == pytest.approx(epoch["clip_fraction"], abs=TOLERANCE)
        model.zero_grad()
        step(learner, minibatch, critic_only=False)
