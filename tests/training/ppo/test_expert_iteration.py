"""Expert iteration: the best responses to each prompt are imitated, and nothing is learnt from the others."""

from pathlib import Path

import pytest
import torch

from tests.training import tiny
from tests.training.ppo.test_ppo import config_of, loop_of, means
from training.config import PpoConfig
from training.config.values import ConfigError
from training.ppo.objective import Minibatch, policy_objective

SAMPLES = 4


def config_with(**change: object) -> PpoConfig:
    return tiny.config(**{"algorithm": "expert_iteration", "samples_per_prompt": SAMPLES} | change)


def best(earned: list[float], count: int) -> list[float]:
    """1 for the best of each group of four, in order."""
    chosen = []
    for start in range(0, len(earned), SAMPLES):
        group = earned[start : start + SAMPLES]
        chosen += [float(sorted(group, reverse=True).index(one) < count) for one in group]
    return chosen


@pytest.mark.parametrize("imitated", [1, 2, 3])
def test_the_best_responses_to_each_prompt_count_one(imitated: int, tmp_path: Path) -> None:
    config = config_with(imitated=imitated)
    rollout = tiny.rollout(tiny.models(tmp_path / "model", settings=config), config, kl_coefficient=0.5)
    divergence_B = (0.5 * rollout.kl_BR).sum(-1)
    expected = best((rollout.reward_B - divergence_B).tolist(), imitated)
    assert rollout.advantage_BR[:, 0].tolist() == expected
    assert torch.equal(rollout.advantage_BR, rollout.advantage_BR[:, :1] * rollout.mask_BR)


def test_under_a_constraint_they_are_ranked_by_what_is_earned_and_what_it_costs(tmp_path: Path) -> None:
    config = config_with(cost="cost")
    models = tiny.models(tmp_path / "model", settings=config)
    rollout = tiny.rollout(models, config, kl_coefficient=0.0, multiplier=3.0)
    mixed = (rollout.reward_B - 3.0 * rollout.cost_B).tolist()
    assert rollout.advantage_BR[:, 0].tolist() == best(mixed, 2)
    assert rollout.advantage_BR[:, 0].tolist() != best(rollout.reward_B.tolist(), 2), "else the cost had no say"


def test_what_is_minimised_is_the_imitated_tokens_loss(tmp_path: Path) -> None:
    config = config_with()
    rollout = tiny.rollout(tiny.models(tmp_path / "model", settings=config), config)
    imitated = [row for row in range(len(rollout.prompts)) if rollout.advantage_BR[row, 0] > 0]
    rows = imitated[:2]
    new_N = (2 * rollout.log_probability_BR[rows])[rollout.mask_BR[rows]]
    found, _ = policy_objective(config, Minibatch(rollout, imitated, 0.0), rows, new_N, torch.zeros_like(new_N))
    tokens = sum(len(rollout.responses[row].sampled.token_ids) for row in imitated)
    assert float(found) == pytest.approx(-float(new_N.sum()) / tokens, rel=1e-6)


@pytest.mark.usefixtures("reward")
def test_it_raises_the_reward_however_far_a_step_goes(world: Path, policy: Path, tmp_path: Path) -> None:
    change = {"algorithm": "expert_iteration", "samples_per_prompt": 8, "kl_coefficient": 0.0, "max_update_kl": 0.1}
    change |= {"batch_size": 96, "minibatch_size": 12, "epochs": 2}
    config = config_of(world, policy, **change, iterations=3, critic_warmup_iterations=3)
    loop, models, _ = loop_of(config, tmp_path / "out")
    assert loop.train() is None
    score = means(tmp_path / "out", "score")
    assert score[-1] > score[0] + 0.25
    assert models.critics == {}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"samples_per_prompt": 1}, "samples_per_prompt: Expert iteration compares at least 2 responses"),
        ({"imitated": 4}, "imitated: must be less than samples_per_prompt"),
        ({"clip_low": 0.1}, "clip_low: Expert iteration"),
        ({"algorithm": "grpo", "imitated": 3}, "imitated: GRPO"),
    ],
)
def test_settings_without_sense_are_refused(change: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=f"^{word}"):
        config_with(**change)
