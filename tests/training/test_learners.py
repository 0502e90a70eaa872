"""One step of PPO against slow references in float64, through the whole model."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models.backbone import load_language_model, response_log_probabilities, save_language_model
from models.reward import load_reward_model, save_reward_model, scores
from tests.models.directories import FAMILIES, write_directory
from tests.training import tiny
from training.checkpoint import Checkpoint, CheckpointStore
from training.learners import Learner, Minibatch
from training.metrics import Measures
from training.rollout import Players, Rollout, reference_log_probabilities, values

EVERY_ROW = list(range(len(tiny.PROMPT_LENGTHS)))


@pytest.fixture
def players(tmp_path: Path) -> Players:
    return tiny.players(tmp_path / "model")


def token_ids(rollout: Rollout) -> tuple[list[Sequence[int]], list[Sequence[int]]]:
    return (
        [prompt.token_ids for prompt in rollout.prompts],
        [response.sampled.token_ids for response in rollout.responses],
    )


def test_a_rollout_is_what_a_slow_calculation_gives(players: Players) -> None:
    """Every figure of it, from log-probabilities, values and scores by plain loops over Python's floats."""
    config = tiny.config(gamma=0.97, gae_lambda=0.9)
    rollout = tiny.rollout(players, config, kl_coefficient=0.3)
    prompts, responses = token_ids(rollout)
    reference = reference_log_probabilities(players.reference, prompts, responses, rollout.mask_BR, config)
    value = values(players.critic, prompts, responses, rollout.mask_BR, config, players.policy.pad_id)
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


def test_every_ratio_is_one_before_the_first_step(players: Players) -> None:
    config = tiny.config()
    rollout = tiny.rollout(players, config)
    with torch.no_grad():
        now, _ = response_log_probabilities(
            players.policy.model, *token_ids(rollout), players.policy.pad_id, config.temperature
        )
    ratio = (now - rollout.log_probability_BR[rollout.mask_BR]).exp()
    assert float((ratio - 1).abs().max()) <= 1e-5


def gradients_of(players: Players, side: str, learner: Learner, minibatch: Minibatch) -> tuple[nn.Module, Measures]:
    """The module of that side with its gradients, and the measures."""
    module: nn.Module = players.policy.model if side == "policy" else players.critic
    module.zero_grad()
    if side == "policy":
        return module, learner.actor_gradients(players.policy.model, minibatch, minibatch.rows)
    return module, learner.critic_gradients(players.critic, minibatch, minibatch.rows)


@pytest.mark.parametrize("side", ["policy", "value"])
def test_gradients_are_the_slopes_of_the_mean_loss(tmp_path: Path, side: str) -> None:
    players = tiny.players(tmp_path / "model", "gpt2")  # the family that computes nothing in float32 by itself
    config = tiny.config(micro_batch_tokens=60)
    module: nn.Module = players.policy.model if side == "policy" else players.critic
    rollout = tiny.in_float64(module, tiny.rollout(players, config))
    minibatch = Minibatch(rollout, EVERY_ROW)
    learner = Learner(config, players.policy, players.critic)

    def loss() -> float:
        _, measures = gradients_of(players, side, learner, minibatch)
        total, count = measures[f"{side}_loss"]
        assert count == minibatch.tokens
        return total / count

    loss()
    slopes = {name: weight.grad.clone() for name, weight in module.named_parameters() if weight.grad is not None}
    generator = torch.Generator().manual_seed(1)
    for name, weight in module.named_parameters():
        places = torch.randint(weight.numel(), (2,), generator=generator).tolist()
        for place in places:
            expected = slope_at(weight.data.view(-1), place, loss)
            assert float(slopes[name].view(-1)[place]) == pytest.approx(expected, abs=1e-7, rel=1e-4), name


def slope_at(weights: Tensor, place: int, loss: Callable[[], float], step: float = 1e-6) -> float:
    before = float(weights[place])
    weights[place] = before + step
    above = loss()
    weights[place] = before - step
    below = loss()
    weights[place] = before
    return (above - below) / (2 * step)


@pytest.mark.parametrize("side", ["policy", "value"])
def test_eight_micro_batches_of_one_are_one_of_eight(players: Players, side: str) -> None:
    found = []
    module: nn.Module = players.policy.model if side == "policy" else players.critic
    rollout = tiny.in_float64(module, tiny.rollout(players, tiny.config()))
    for tokens in (10**6, 1):
        learner = Learner(tiny.config(micro_batch_tokens=tokens), players.policy, players.critic)
        _, measures = gradients_of(players, side, learner, Minibatch(rollout, EVERY_ROW))
        found.append((measures, {name: w.grad.clone() for name, w in module.named_parameters() if w.grad is not None}))
    (measures, whole), (measures_cut, cut) = found
    for name, (total, count) in measures.items():
        assert measures_cut[name] == (pytest.approx(total, rel=1e-9), count)
    assert whole.keys() == cut.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(cut[name], gradient, atol=1e-12, rtol=1e-9)


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
            response_log_probabilities(one.model, prompts, responses, one.pad_id, 0.7)[0] for one in (policy, reloaded)
        )
        assert torch.equal(before, after)
        assert torch.equal(
            scores(load_reward_model(tmp_path / "reward"), [[5, 6, 30, 0]]), scores(reward_model, [[5, 6, 30, 0]])
        )


def test_a_restored_learner_takes_the_same_step_bit_for_bit(tmp_path: Path) -> None:
    players = tiny.players(tmp_path / "model")
    config = tiny.config()
    rollout = tiny.rollout(players, config)
    learner = Learner(config, players.policy, players.critic)
    store = CheckpointStore(tmp_path / "checkpoints", "run")
    step(learner, rollout)
    store.save(Checkpoint(1, "ppo", learner.tensors(), {}))
    step(learner, rollout)
    loaded = store.load()
    assert loaded is not None
    others = tiny.players(tmp_path / "model")
    again = Learner(config, others.policy, others.critic)
    again.restore(loaded.tensors)
    step(again, rollout)
    for name, tensor in learner.tensors().items():
        assert torch.equal(tensor, again.tensors()[name]), name


def step(learner: Learner, rollout: Rollout) -> None:
    learner.step_critic(Minibatch(rollout, EVERY_ROW), 1e-2)
    learner.step_actor(Minibatch(rollout, EVERY_ROW), 1e-2)
