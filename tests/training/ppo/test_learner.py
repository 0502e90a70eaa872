"""One step of PPO against slow references in float64, through the whole model."""

import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models.backbone import load_language_model, response_log_probabilities
from models.reward import load_reward_model, save_reward_model, scores
from models.saving import save_language_model
from models.value import Critic
from tests.models.directories import FAMILIES, write_directory
from tests.training import tiny
from training.algorithms.choices import Estimator
from training.algorithms.kl import ESTIMATORS
from training.config import PpoConfig
from training.ppo.flop import ppo_flop, sequence_lengths
from training.ppo.learner import Learner, Step, learner_of
from training.ppo.models import PpoModels
from training.ppo.objective import Minibatch
from training.ppo.rollout import Rollout, values
from training.responses.likelihoods import log_probabilities
from training.runtime.checkpoint import Checkpoint, CheckpointStore
from training.runtime.metrics import Measures
from training.runtime.throughput import Arithmetic

# With these a return is the sum of the rewards to come.
EVERY_RETURN = {"gamma": 1.0, "gae_lambda": 1.0}
PARTS = 4
"""All weights are tried, in so many parts."""
EVERY_ROW = list(range(len(tiny.PROMPT_LENGTHS)))


@pytest.fixture
def models(tmp_path: Path) -> PpoModels:
    return tiny.models(tmp_path / "model")


def token_ids(rollout: Rollout) -> tuple[list[Sequence[int]], list[Sequence[int]]]:
    return (
        [prompt.token_ids for prompt in rollout.prompts],
        [response.sampled.token_ids for response in rollout.responses],
    )


def test_a_rollout_is_what_a_slow_calculation_gives(models: PpoModels) -> None:
    """Every figure of it, from log-probabilities, values and scores by plain loops over Python's floats."""
    config = tiny.config(gamma=0.97, gae_lambda=0.9)
    rollout = tiny.rollout(models, config, kl_coefficient=0.3)
    prompts, responses = token_ids(rollout)
    reference = log_probabilities(models.reference, prompts, responses, temperature=0.8, batch_tokens=4096)
    value = values(models.critic, prompts, responses, rollout.mask_BR, config, models.policy.pad_id)
    assert len({len(response) for response in responses}) > 3
    assert not all(response.sampled.ended_with_eos for response in rollout.responses)
    advantages: list[list[float]] = []
    for row, response in enumerate(responses):
        count = len(response)
        score = float(rollout.score_B[row])
        if not rollout.responses[row].sampled.ended_with_eos:
            score = min(score, 0.0) - 2.0
        kl = [float(rollout.log_probability_BR[row, t]) - float(reference[row, t]) for t in range(count)]
        reward = [-0.3 * kl[t] + (score if t == count - 1 else 0.0) for t in range(count)]
        state = [*map(float, value[row, :count]), 0.0]
        delta = [reward[t] + 0.97 * state[t + 1] - state[t] for t in range(count)]
        advantages.append(
            [math.fsum((0.97 * 0.9) ** (k - t) * delta[k] for k in range(t, count)) for t in range(count)]
        )
        returns = [advantage + before for advantage, before in zip(advantages[-1], state, strict=False)]
        assert rollout.kl_BR[row, :count].tolist() == pytest.approx(kl, abs=1e-5)
        assert rollout.return_BR[row, :count].tolist() == pytest.approx(returns, abs=1e-4)
    every = [advantage for row in advantages for advantage in row]
    mean = math.fsum(every) / len(every)
    deviation = math.sqrt(math.fsum((one - mean) ** 2 for one in every) / len(every))
    for row, expected in enumerate(advantages):
        whitened = [(advantage - mean) / deviation for advantage in expected]
        assert rollout.advantage_BR[row, : len(expected)].tolist() == pytest.approx(whitened, abs=1e-4)
    per_response = [float(rollout.kl_BR[row].sum()) for row in EVERY_ROW]
    assert rollout.kl_per_response == pytest.approx(sum(per_response) / len(per_response))


def test_layers_that_are_computed_again_are_arithmetic_too(models: PpoModels) -> None:
    rollout = tiny.rollout(models, tiny.config(), kl_coefficient=0.3)
    lengths, predicted = sequence_lengths(rollout), int(rollout.mask_BR.sum())
    an_epoch: Measures = dict.fromkeys(("update_kl", "value_loss"), (0.0, predicted))
    plain, again = (
        ppo_flop(models, rollout, an_epoch, tiny.config(gradient_checkpointing=recomputed))
        for recomputed in (False, True)
    )
    assert models.critic is not None
    policy, critic = Arithmetic.of(models.policy.model), Arithmetic.of(models.critic.trunk)
    once_more = policy.trunk_flop(lengths) + policy.logits_flop(predicted) + critic.trunk_flop(lengths)
    assert again - plain == pytest.approx(once_more)


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_the_penalty_in_the_reward_is_the_chosen_estimate(models: PpoModels, estimator: Estimator) -> None:
    plain, penalised = (
        tiny.rollout(models, tiny.config(kl_estimator=estimator, **EVERY_RETURN), kl_coefficient=coefficient)
        for coefficient in (0.0, 0.3)
    )
    estimates = ESTIMATORS[estimator](plain.log_probability_BR, plain.reference_BR) * plain.mask_BR
    to_come = estimates.flip(-1).cumsum(-1).flip(-1) * plain.mask_BR
    torch.testing.assert_close(penalised.return_BR, plain.return_BR - 0.3 * to_come, atol=1e-4, rtol=0)
    assert torch.equal(penalised.kl_BR, plain.kl_BR)


def test_a_penalty_in_the_loss_leaves_the_reward_alone(models: PpoModels) -> None:
    plain = tiny.rollout(models, tiny.config(), kl_coefficient=0.0)
    in_loss = tiny.rollout(models, tiny.config(kl_penalty="loss", kl_estimator="k2"), kl_coefficient=5.0)
    assert torch.equal(plain.return_BR, in_loss.return_BR)


def test_whitened_rewards_have_deviation_one_over_the_whole_rollout(models: PpoModels) -> None:
    plain, whitened = (
        tiny.rollout(models, tiny.config(whiten_rewards=whiten_rewards, **EVERY_RETURN))
        for whiten_rewards in (False, True)
    )
    before, after = rewards(plain), rewards(whitened)
    assert float(after.std(correction=0)) == pytest.approx(1.0, abs=1e-4)
    mean = float(before.mean())
    torch.testing.assert_close(after, (before - mean) / before.std(correction=0) + mean, atol=1e-4, rtol=0)


def rewards(rollout: Rollout) -> Tensor:
    """Of all tokens, from returns that are their plain sums."""
    returns_BR = rollout.return_BR
    following_BR = torch.cat([returns_BR[:, 1:], torch.zeros(len(returns_BR), 1)], dim=1)
    return (returns_BR - following_BR)[rollout.mask_BR]


def test_advantages_are_left_as_they_are_without_whitening(models: PpoModels) -> None:
    rollout = tiny.rollout(models, tiny.config(whiten_advantages=False))
    torch.testing.assert_close(rollout.advantage_BR, rollout.return_BR - rollout.value_BR, atol=1e-5, rtol=0)


def test_every_ratio_is_one_before_the_first_step(models: PpoModels) -> None:
    config = tiny.config()
    rollout = tiny.rollout(models, config)
    with torch.no_grad():
        now = response_log_probabilities(
            models.policy.model, *token_ids(rollout), models.policy.pad_id, config.temperature
        )
    ratio = (now - rollout.log_probability_BR[rollout.mask_BR]).exp()
    assert float((ratio - 1).abs().max()) <= 1e-5


LEARNERS = [
    pytest.param({}, id="separate"),
    pytest.param({"clip_high": 0.28, "dual_clip": 1.2, "value_clip": None}, id="asymmetric dual clip"),
    pytest.param({"kl_penalty": "loss", "kl_estimator": "k2"}, id="k2 in the loss"),
    pytest.param({"kl_penalty": "loss", "kl_estimator": "k3"}, id="k3 in the loss"),
    pytest.param({"entropy_coefficient": 0.3}, id="entropy bonus"),
    pytest.param({"ptx_coefficient": 0.7, "demonstrations": Path("some.jsonl")}, id="ptx"),
    pytest.param({"critic": "shared", "value_coefficient": 0.4}, id="shared trunk"),
    pytest.param({"lora_rank": 2, "critic": "separate"}, id="adapters"),
    pytest.param({"lora_rank": 2, "cost": "cost"}, id="critics of adapters"),
    pytest.param({"algorithm": "rloo", "samples_per_prompt": 2, "dual_clip": 1.2}, id="rloo"),
    pytest.param({"algorithm": "grpo", "samples_per_prompt": 4, "entropy_coefficient": 0.3}, id="grpo"),
    pytest.param({"algorithm": "dr_grpo", "samples_per_prompt": 2, "lora_rank": 2}, id="dr_grpo with adapters"),
    pytest.param({"algorithm": "gspo", "samples_per_prompt": 4, "clip_low": 0.02, "clip_high": 0.03}, id="gspo"),
    pytest.param({"cost": "cost"}, id="cost"),
    pytest.param({"cost": "cost", "critic": "shared", "value_coefficient": 0.4}, id="cost at a shared trunk"),
    pytest.param(
        {
            "algorithm": "rloo",
            "samples_per_prompt": 4,
            "entropy_coefficient": 0.3,
            "ptx_coefficient": 0.7,
            "demonstrations": Path("some.jsonl"),
            "kl_penalty": "loss",
            "kl_estimator": "k2",
        },
        id="rloo with all else",
    ),
    pytest.param(
        {"critic": "shared", "entropy_coefficient": 0.3, "ptx_coefficient": 0.7, "demonstrations": Path("some.jsonl")},
        id="all at one trunk",
    ),
]


def in_float64(models: PpoModels, config: PpoConfig) -> Minibatch:
    """A minibatch whose figures make clips bind and gradients vary, and the models in float64."""
    rollout = tiny.rollout(models, config)
    models.policy.model.double()
    for critic in models.critics.values():
        critic.double()
    return Minibatch(tiny.with_noise(rollout), EVERY_ROW, 0.5, tiny.examples() if config.ptx_coefficient else [])


def weights_of(models: PpoModels, config: PpoConfig) -> dict[str, nn.Parameter]:
    """Everything that learns, once."""
    policy = models.policy.model.named_parameters()
    named = {f"policy.{name}": weight for name, weight in policy if weight.requires_grad}
    for role, critic in models.critics.items():
        learnt = critic.head if config.critic_kind == "shared" else critic
        named |= {f"{role}.{name}": weight for name, weight in learnt.named_parameters() if weight.requires_grad}
    return named


def gradients(learner: Learner, minibatch: Minibatch, weights: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    for weight in weights.values():
        weight.grad = None
    learner.gradients(minibatch)
    return {name: weight.grad.clone() for name, weight in weights.items() if weight.grad is not None}


def objective(config: PpoConfig, measures: Measures) -> float:
    """What is minimised, as docs/training.md writes it, from the measures."""
    mean = {name: total / count for name, (total, count) in measures.items()}
    value_weight = config.value_coefficient if config.critic_kind == "shared" else 1.0
    return (
        mean["policy_loss"]
        + value_weight * (mean.get("value_loss", 0.0) + mean.get("cost_value_loss", 0.0))
        + 0.5 * mean.get("kl_loss", 0.0)
        - config.entropy_coefficient * mean["entropy"]
        + config.ptx_coefficient * mean.get("ptx_loss", 0.0)
    )


@pytest.mark.parametrize("change", LEARNERS)
def test_gradients_are_the_slopes_of_the_objective(tmp_path: Path, change: dict[str, object]) -> None:
    config = tiny.config(micro_batch_tokens=60, **change)
    models = tiny.models(tmp_path / "model", "gpt2", config)  # this family computes nothing in float32 by itself
    minibatch, learner = in_float64(models, config), learner_of(config, models)
    with torch.no_grad():
        for critic in models.critics.values():
            critic.head.weight.add_(0.1)  # a head of zeros would hide what its trunk gets
        weights = weights_of(models, config)
        for name, weight in weights.items():
            if name.endswith(".up"):
                weight.add_(0.1)  # and an adapter's second matrix what its first one gets
    slopes = gradients(learner, minibatch, weights)
    names, generator = sorted(weights), torch.Generator().manual_seed(1)
    random.Random(1).shuffle(names)
    for part in range(PARTS):
        ahead = {name: direction(weights[name], slopes.get(name), generator) for name in names[part::PARTS]}
        expected = slope_along(weights, ahead, lambda: objective(config, learner.gradients(minibatch)))
        found = sum(float((slopes[name] * step).sum()) for name, step in ahead.items() if name in slopes)
        assert found == pytest.approx(expected, abs=1e-4), list(ahead)


def direction(weight: Tensor, slope: Tensor | None, generator: torch.Generator) -> Tensor:
    """By chance, and such that each tensor has its say in the slope of all, be its gradient large or small."""
    drawn = torch.randn(weight.shape, dtype=weight.dtype, generator=generator)
    return drawn if slope is None else drawn / max(float(slope.norm()), 0.1)


def slope_along(
    weights: dict[str, nn.Parameter], ahead: dict[str, Tensor], loss: Callable[[], float], step: float = 1e-6
) -> float:
    """Where all of these weights move at once."""
    before = {name: weights[name].data.clone() for name in ahead}

    def moved(by: float) -> float:
        for name, way in ahead.items():
            weights[name].data.copy_(before[name] + by * way)
        return loss()

    slope = (moved(step) - moved(-step)) / (2 * step)
    for name in ahead:
        weights[name].data.copy_(before[name])
    return slope


@pytest.mark.parametrize("change", LEARNERS)
def test_eight_micro_batches_of_one_are_one_of_eight(tmp_path: Path, change: dict[str, object]) -> None:
    whole_config, cut_config = (tiny.config(**change, micro_batch_tokens=tokens) for tokens in (10**6, 1))
    models = tiny.models(tmp_path / "model", settings=whole_config)
    minibatch = in_float64(models, whole_config)
    weights = weights_of(models, whole_config)
    whole_learner, cut_learner = (learner_of(config, models) for config in (whole_config, cut_config))
    whole, cut = gradients(whole_learner, minibatch, weights), gradients(cut_learner, minibatch, weights)
    assert whole.keys() == cut.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(cut[name], gradient, atol=1e-7, rtol=1e-6)  # the family's own norms are float32
    losses = [objective(whole_config, learner.gradients(minibatch)) for learner in (whole_learner, cut_learner)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_saved_is_what_is_loaded(family: str, tmp_path: Path) -> None:
    """Policies and reward models of every family give the same bits after a trip to the disk."""
    policy = load_language_model(write_directory(family, tmp_path / "made"))
    prompts, responses = [[5, 6, 7], [9, 10]], [[30, 31, 0], [40, 41, 42, 43]]
    save_language_model(policy, tmp_path / "policy")
    reloaded = load_language_model(tmp_path / "policy")
    reward_model = tiny.reward_model(policy)
    save_reward_model(reward_model, tmp_path / "reward")
    with torch.no_grad():
        before, after = (
            response_log_probabilities(one.model, prompts, responses, one.pad_id, 0.7) for one in (policy, reloaded)
        )
        assert torch.equal(before, after)
        assert torch.equal(
            scores(load_reward_model(tmp_path / "reward"), [[5, 6, 30, 0]]), scores(reward_model, [[5, 6, 30, 0]])
        )


def test_a_critic_of_adapters_reads_the_very_weights_of_the_policy_and_not_its_adapters(tmp_path: Path) -> None:
    config = tiny.config(critic="adapter", lora_rank=2)
    models = tiny.models(tmp_path / "model", settings=config)
    rollout = tiny.rollout(models, config)
    critic, learner = models.critic, learner_of(config, models)
    assert critic is not None
    plain, adapted = (
        {weight.data_ptr() for weight in module.parameters() if not weight.requires_grad}
        for module in (models.policy.model.base_model, critic.trunk)
    )
    assert plain == adapted
    take_step(learner, rollout)
    kept = {name.split(".")[0] for name in learner.tensors()}
    assert kept == {"policy", "actor_optimizer", "critic", "critic_optimizer"}
    assert all(".base." not in name for name in learner.tensors())
    before = valued(critic, rollout, config)
    with torch.no_grad():
        for name, weight in models.policy.model.named_parameters():
            if weight.requires_grad and name.endswith(".up"):
                weight.add_(1.0)
    assert before.any()
    assert torch.equal(valued(critic, rollout, config), before)


def valued(critic: Critic, rollout: Rollout, config: PpoConfig) -> Tensor:
    return values(critic, *token_ids(rollout), rollout.mask_BR, config, pad_id=1)


@pytest.mark.parametrize(
    ("critic", "lora_rank"), [("separate", 0), ("separate", 2), ("shared", 0), ("shared", 2), ("adapter", 2)]
)
@pytest.mark.parametrize("cost", [None, "cost"])
def test_a_restored_learner_takes_the_same_step_bit_for_bit(
    tmp_path: Path, critic: str, cost: str | None, lora_rank: int
) -> None:
    config = tiny.config(critic=critic, cost=cost, lora_rank=lora_rank)
    models, others = (tiny.models(tmp_path / name, settings=config) for name in ("one", "other"))
    rollout = tiny.rollout(models, config)
    learner, again = learner_of(config, models), learner_of(config, others)
    store = CheckpointStore(tmp_path / "checkpoints", "run")
    take_step(learner, rollout)
    store.save(Checkpoint(1, "ppo", learner.tensors(), {}))
    take_step(learner, rollout)
    loaded = store.load()
    assert loaded is not None
    again.restore(loaded.tensors)
    take_step(again, rollout)
    assert learner.tensors().keys() == again.tensors().keys()
    for name, tensor in learner.tensors().items():
        assert torch.equal(tensor, again.tensors()[name]), name


@pytest.mark.parametrize("dropped", [True, False])
def test_a_step_from_too_far_away_is_the_last_or_left_out(models: PpoModels, dropped: bool) -> None:
    learner = learner_of(tiny.config(max_update_kl=1e-4, drop_distant_step=dropped), models)
    rollout = tiny.rollout(models, tiny.config())
    assert not take_step(learner, rollout).distant
    before = learner.tensors()
    assert take_step(learner, rollout).distant
    same = all(torch.equal(tensor, before[name]) for name, tensor in learner.tensors().items())
    assert same == dropped
    assert all(weight.grad is None for weight in models.policy.model.parameters())
    unbounded = learner_of(tiny.config(max_update_kl=None), models)
    assert not take_step(unbounded, rollout).distant


def test_a_shared_critic_warms_up_without_moving_the_policy(tmp_path: Path) -> None:
    config = tiny.config(critic="shared")
    models = tiny.models(tmp_path / "model", settings=config)
    rollout = tiny.rollout(models, config)
    assert not rollout.value_BR.any()  # its head starts at zero
    learner = learner_of(config, models)
    before = learner.tensors()
    take_step(learner, rollout, critic_only=True)
    after = learner.tensors()
    assert {name.split(".")[0] for name in before if not torch.equal(after[name], before[name])} == {"critic"}
    take_step(learner, rollout)
    assert not torch.equal(learner.tensors()["policy.lm_head.weight"], before["policy.lm_head.weight"])


def take_step(learner: Learner, rollout: Rollout, *, critic_only: bool = False) -> Step:
    minibatch = Minibatch(rollout, EVERY_ROW, 0.1)
    return learner.step(minibatch, actor_rate=1e-2, critic_rate=1e-2, critic_only=critic_only)
