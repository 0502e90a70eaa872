"""Untrained models and a rollout of theirs, made in a second: enough wherever only the arithmetic matters."""

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch

from models.backbone import LanguageModel, load_language_model
from models.reward import RewardModel, reward_model_from_policy
from tests.models.directories import write_directory
from training.config import PpoConfig, StageConfig
from training.config.by_model import ModelFacts, chosen, settled
from training.data.examples import Example, Prompt
from training.ppo.models import PpoModels, build_models
from training.ppo.rollout import Rollout, collect
from training.records import conversation
from training.reward.scoring import RewardModelScorer
from training.runtime.run import PhaseTimer

PROMPT_LENGTHS = (3, 9, 1, 5, 7, 2, 12, 4)
MAX_NEW_TOKENS = 10

ConfigT = TypeVar("ConfigT", bound=StageConfig)


def for_a_small_model(config: ConfigT) -> ConfigT:
    """The settings with what such a model decides of them, as a run has them once its model is open."""
    return settled(config, chosen(vars(config), ModelFacts(parameters=1)))


def config(**change: object) -> PpoConfig:
    settings: dict[str, object] = {
        "seed": 0,
        "policy": "policy",
        "reference": "reference",
        "reward": "reward",
        "prompts": Path("prompts.jsonl"),
        "batch_size": len(PROMPT_LENGTHS),
        "minibatch_size": len(PROMPT_LENGTHS),
        "max_new_tokens": MAX_NEW_TOKENS,
        "temperature": 0.8,
    }
    return for_a_small_model(PpoConfig(**settings | change))  # type: ignore[arg-type]


def policy(folder: Path, family: str = "llama") -> LanguageModel:
    """Of random weights, and one in which many ids end a response, so that lengths differ."""
    loaded = load_language_model(write_directory(family, folder))
    return replace(loaded, eos_ids=tuple(range(0, 60, 2)))


def reward_model(language_model: LanguageModel) -> RewardModel:
    made = reward_model_from_policy(language_model, seed=0)
    made.set_statistics(0.3, 1.7)
    return made


def cost_model(language_model: LanguageModel) -> RewardModel:
    made = reward_model_from_policy(language_model, seed=1)
    made.set_statistics(0.0, 0.6)
    return made


def models(folder: Path, family: str = "llama", settings: PpoConfig | None = None) -> PpoModels:
    """A policy that has already moved from its reference by a few hundredths of every weight."""
    learner, reference = policy(folder, family), policy(folder, family)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in learner.model.parameters():
            weight.add_(0.05 * weight.std(correction=0) * torch.randn(weight.shape, generator=generator))
    scored_by = reward_model(reference)
    settings = settings or config()
    cost = cost_model(reference) if settings.cost is not None else None
    return build_models(
        settings,
        learner,
        reference,
        scored_by,
        RewardModelScorer(scored_by, learner),
        cost_model=cost,
        cost=RewardModelScorer(cost, learner) if cost is not None else None,
    )


def prompts() -> list[Prompt]:
    return [
        Prompt(f"prompt-{row}", conversation(("user", f"prompt {row}")), tuple(range(70 + row, 70 + row + length)))
        for row, length in enumerate(PROMPT_LENGTHS)
    ]


def rollout(
    of: PpoModels, settings: PpoConfig, *, kl_coefficient: float = 0.1, multiplier: float = 0.0, seed: int = 3
) -> Rollout:
    return collect(
        of, prompts(), settings, kl_coefficient=kl_coefficient, multiplier=multiplier, seed=seed, timer=PhaseTimer()
    )


def with_noise(made: Rollout) -> Rollout:
    """In float64, with figures that make clips bind and gradients vary."""
    generator = torch.Generator().manual_seed(9)
    mask_BR = made.mask_BR

    def noise(scale: float) -> torch.Tensor:
        return scale * torch.randn(mask_BR.shape, generator=generator, dtype=torch.float64) * mask_BR

    return replace(
        made,
        log_probability_BR=made.log_probability_BR.double() + noise(0.3),
        reference_BR=made.reference_BR.double(),
        advantage_BR=noise(1.0),
        value_BR=made.value_BR.double() + noise(0.3),
        return_BR=made.return_BR.double() + noise(0.5),
        cost_value_BR=made.cost_value_BR.double() + noise(0.3),
        cost_return_BR=made.cost_return_BR.double() + noise(0.5),
    )


def examples() -> list[Example]:
    return [Example(f"prompt-{row}", tuple(range(80, 83 + row)), (*range(100 + row, 106), 0)) for row in range(5)]
