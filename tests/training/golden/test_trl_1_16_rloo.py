"""The same rollout and updates as TRL 1.16.0's RLOO, whose numbers `make oracle` records.

Alike are: k1 summed over a response's tokens, EOS among them, and paid out of its score; the mean of the prompt's other
responses as the baseline; a ratio of whole responses, clipped, and its mean over them. One convention differs and is
bridged here: TRL whitens advantages by (x - mean) / (deviation + 1e-4), with the variance over N - 1.

What either has alone is off in both. TRL clips scores to a range, and with `mask_truncated_completions` a response
without EOS earns no gradient and pays no KL, while its score stays in the others' baseline; here it is paid less
(`missing_eos_penalty`) and learnt from like any other.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

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
from training.ppo.rollout import Rollout

RECORDED: Mapping[str, Any] = json.loads(Path(__file__).with_name("trl_1_16_rloo.json").read_text())["variants"]


@pytest.fixture(params=sorted(RECORDED))
def golden(request: pytest.FixtureRequest) -> Golden:
    oracle, variant = RECORDED[request.param], problem.RLOO_VARIANTS[request.param]
    wanted = replace(
        config_of(problem.VARIANTS["plain"]),
        algorithm="rloo",
        samples_per_prompt=problem.SAMPLES,
        clip_high=variant["epsilon_high"],
        gae_lambda=PpoConfig.gae_lambda,
        value_clip=PpoConfig.value_clip,
        whiten_advantages=False,
    )
    config = for_a_small_model(wanted)
    models = models_of(config)
    rollout = rollout_of(oracle, models, config)
    if variant["normalize_advantages"]:
        rollout = whitened_as_the_oracle_does(rollout)
    return Golden(oracle, config, models, rollout)


def whitened_as_the_oracle_does(rollout: Rollout) -> Rollout:
    advantage_B = rollout.advantage_BR[:, 0]
    whitened_B = (advantage_B - advantage_B.mean()) / (advantage_B.std() + 1e-4)
    return replace(rollout, advantage_BR=whitened_B[:, None] * rollout.mask_BR)


def test_the_record_holds_what_matters(golden: Golden) -> None:
    """Several responses to each prompt, of several lengths, ended and not, and ratios that were clipped."""
    prompts = [tuple(prompt) for prompt in golden.oracle["prompts"]]
    assert prompts == [prompt for prompt in prompts[:: problem.SAMPLES] for _ in range(problem.SAMPLES)]
    assert set(prompts) == set(problem.PROMPTS)
    assert len({len(ids) for ids in golden.oracle["responses"]}) >= 4
    assert {response.sampled.ended_with_eos for response in golden.rollout.responses} == {True, False}
    assert max(epoch["clip_fraction"] for epoch in golden.oracle["epochs"]) > 0.1


def test_log_probabilities_and_divergences(golden: Golden) -> None:
    rollout = golden.rollout
    assert_rows(rollout.log_probability_BR, golden.oracle["logprobs"], rollout.mask_BR)
    assert_rows(rollout.reference_BR, golden.oracle["ref_logprobs"], rollout.mask_BR)
    assert rollout.kl_BR.sum(-1).tolist() == pytest.approx(golden.oracle["kl"], abs=TOLERANCE)


def test_scores_rewards_and_advantages(golden: Golden) -> None:
    rollout = golden.rollout
    assert rollout.score_B.tolist() == pytest.approx(golden.oracle["scores"], abs=TOLERANCE)
    reward_B = rollout.reward_B - problem.KL_COEFFICIENT * rollout.kl_BR.sum(-1)
    assert reward_B.tolist() == pytest.approx(golden.oracle["rewards"], abs=TOLERANCE)
    assert rollout.advantage_BR[:, 0].tolist() == pytest.approx(golden.oracle["advantages"], abs=TOLERANCE)


def test_losses_and_gradients(golden: Golden) -> None:
    """Over all epochs: the first loss is the mean advantage, and the later ones are right only if every step before
    them was."""
    learner, model = learner_of(golden.config, golden.models), golden.models.policy.model
    minibatch = everything(golden.rollout)
    for epoch in golden.oracle["epochs"]:
        measures = learner.gradients(minibatch)
        assert norms(model) == pytest.approx(epoch["gradient_norms"], abs=TOLERANCE, rel=TOLERANCE)
        assert mean(measures, "policy_loss") == pytest.approx(epoch["policy_loss"], abs=TOLERANCE)
        assert mean(measures, "clip_fraction") == epoch["clip_fraction"]
        model.zero_grad()
        step(learner, minibatch, critic_only=False)
