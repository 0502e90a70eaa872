"""GRPO, Dr. GRPO and GSPO against plain loops over Python's floats, and what they make of the toy."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from tests.training import tiny
from tests.training.ppo.test_ppo import config_of, loop_of, means
from training.algorithms.choices import AlgorithmName
from training.config import PpoConfig
from training.config.values import ConfigError
from training.ppo.objective import Minibatch, policy_objective
from training.ppo.rollout import Rollout

SAMPLES = 4
ALGORITHMS: tuple[AlgorithmName, ...] = ("grpo", "dr_grpo", "gspo")
EVERY_ROW = list(range(len(tiny.PROMPT_LENGTHS)))


def config_with(algorithm: str, **change: object) -> PpoConfig:
    return tiny.config(**{"algorithm": algorithm, "samples_per_prompt": SAMPLES} | change)


def groups(values: Sequence[float]) -> list[Sequence[float]]:
    return [values[start : start + SAMPLES] for start in range(0, len(values), SAMPLES)]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_advantages_are_what_a_slow_calculation_gives(algorithm: str, tmp_path: Path) -> None:
    """The divergence is in the loss, and so what a response earned is its score alone."""
    config = config_with(algorithm)
    rollout = tiny.rollout(tiny.models(tmp_path / "model", settings=config), config, kl_coefficient=5.0)
    expected = []
    for group in groups(rollout.reward_B.tolist()):
        mean = math.fsum(group) / SAMPLES
        deviation = math.sqrt(math.fsum((one - mean) ** 2 for one in group) / (SAMPLES - 1))
        expected += [(one - mean) / (1.0 if algorithm == "dr_grpo" else deviation + 1e-4) for one in group]
    for row, response in enumerate(rollout.responses):
        length = len(response.sampled.token_ids)
        assert rollout.advantage_BR[row, :length].tolist() == pytest.approx([expected[row]] * length, abs=1e-4)
        assert not rollout.advantage_BR[row, length:].any()
    assert not rollout.value_BR.any()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_under_a_constraint_the_mix_is_scaled_and_not_its_parts(algorithm: str, tmp_path: Path) -> None:
    config = config_with(algorithm, cost="cost")
    rollout = tiny.rollout(tiny.models(tmp_path / "model", settings=config), config, multiplier=3.0)
    mixed = ((rollout.reward_B - 3.0 * rollout.cost_B) / 4.0).tolist()
    for number, group in enumerate(groups(mixed)):
        mean = math.fsum(group) / SAMPLES
        deviation = math.sqrt(math.fsum((one - mean) ** 2 for one in group) / (SAMPLES - 1))
        expected = [(one - mean) / (1.0 if algorithm == "dr_grpo" else deviation + 1e-4) for one in group]
        found = rollout.advantage_BR[number * SAMPLES : (number + 1) * SAMPLES, 0].tolist()
        assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_objective_is_what_a_slow_calculation_gives(algorithm: AlgorithmName, tmp_path: Path) -> None:
    """Of some rows of a larger minibatch, with clips that bind on either side."""
    clips = {"clip_low": 0.02, "clip_high": 0.03} if algorithm == "gspo" else {"clip_low": 0.1, "clip_high": 0.28}
    config = config_with(algorithm, **clips)
    plain = tiny.rollout(tiny.models(tmp_path / "model", settings=config), config)
    rollout = tiny.with_noise(plain)
    rows = [1, 2, 6]
    new = [(rollout.log_probability_BR[row] - 0.1 * (row - 3)).tolist() for row in rows]
    mask_BR = rollout.mask_BR[rows]
    flat = torch.tensor(new, dtype=torch.float64)[mask_BR]
    found, measures = policy_objective(config, Minibatch(rollout, EVERY_ROW, 0.7), rows, flat, torch.zeros_like(flat))
    expected = math.fsum(
        slow_response(config, rollout, row, written) for row, written in zip(rows, new, strict=True)
    ) / len(EVERY_ROW)
    assert float(found) == pytest.approx(expected, rel=1e-9)
    assert 0 < measures["clip_fraction"][0] < measures["clip_fraction"][1]


def slow_response(config: PpoConfig, rollout: Rollout, row: int, new: Sequence[float]) -> float:
    """A response's part of the sum over responses that the papers write."""
    count = int(rollout.mask_BR[row].sum())
    old, reference, advantage = (
        tensor_BR[row].tolist()
        for tensor_BR in (rollout.log_probability_BR, rollout.reference_BR, rollout.advantage_BR)
    )
    divergences = [math.exp(reference[t] - new[t]) - 1 - (reference[t] - new[t]) for t in range(count)]
    if config.algorithm == "gspo":
        ratio = math.exp(math.fsum(new[t] - old[t] for t in range(count)) / count)
        return clipped(config, ratio, advantage[0]) + 0.7 * math.fsum(divergences) / count
    terms = [clipped(config, math.exp(new[t] - old[t]), advantage[t]) + 0.7 * divergences[t] for t in range(count)]
    return math.fsum(terms) / (config.max_new_tokens if config.algorithm == "dr_grpo" else count)


def clipped(config: PpoConfig, ratio: float, advantage: float) -> float:
    held = min(max(ratio, 1 - config.clip_low), 1 + config.clip_high)
    return -min(ratio * advantage, held * advantage)


def test_responses_that_all_earn_the_same_teach_nothing(tmp_path: Path) -> None:
    config = config_with("grpo")
    models = tiny.models(tmp_path / "model", settings=config)
    object.__setattr__(models, "reward", lambda prompts, responses: torch.ones(len(responses)))
    object.__setattr__(config, "missing_eos_penalty", None)
    assert not tiny.rollout(models, config).advantage_BR.any()


@pytest.mark.usefixtures("reward")
def test_it_raises_the_reward_within_bounds(world: Path, policy: Path, tmp_path: Path) -> None:
    change = {"algorithm": "grpo", "samples_per_prompt": 6, "kl_coefficient": 0.04, "max_update_kl": None}
    config = config_of(world, policy, **change, iterations=8, minibatch_size=48, critic_warmup_iterations=3)
    loop, models, _ = loop_of(config, tmp_path / "out")
    assert loop.train() is None
    score, kl = means(tmp_path / "out", "score"), means(tmp_path / "out", "kl")
    assert sum(score[-3:]) / 3 > score[0] + 0.25
    assert max(kl) < 8
    assert means(tmp_path / "out", "first_ratio_error") == pytest.approx([0.0] * 8, abs=1e-4)
    assert models.critics == {}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"samples_per_prompt": 1}, "samples_per_prompt: GRPO compares at least 2 responses"),
        ({"gae_lambda": 1.0, "critic": "shared"}, "critic, gae_lambda: GRPO has no critic and advantages of its own"),
        ({"whiten_advantages": False}, "whiten_advantages: GRPO has no critic and advantages of its own"),
        ({"kl_estimator": "k1"}, "kl_estimator: k1 in the loss has no gradient on average"),
    ],
)
def test_settings_without_sense_are_refused(change: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=f"^{word}"):
        config_with("grpo", **change)


@pytest.mark.parametrize(
    ("algorithm", "paid_in", "estimator"), [("ppo", "reward", "k1"), ("rloo", "reward", "k1"), ("grpo", "loss", "k3")]
)
def test_the_divergence_is_paid_where_the_algorithm_usually_has_it(
    algorithm: str, paid_in: str, estimator: str
) -> None:
    config = config_with(algorithm)
    assert (config.pays_kl_in, config.estimator) == (paid_in, estimator)
    chosen = config_with(algorithm, kl_penalty="loss", kl_estimator="k2")
    assert (chosen.pays_kl_in, chosen.estimator) == ("loss", "k2")
