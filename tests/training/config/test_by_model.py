"""What a model decides: the starter's values as they always were, published ones for large models, and between them no
leap."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from training.config import DpoConfig, PpoConfig, SftConfig
from training.config.by_model import ADAPTED, LARGE, SMALL, ByModel, ModelFacts, chosen
from training.stages.registry import STAGES

SFT = SftConfig(seed=0, demonstrations=Path("d"))
DPO = DpoConfig(seed=0, policy="p", preferences=Path("x"))
PPO = PpoConfig(seed=0, policy="p", reference="r", reward="w", prompts=Path("q"))
RATES = [
    (stage, name)
    for stage, kind in STAGES.items()
    for name, rule in vars(kind).items()
    if isinstance(rule, ByModel) and name.endswith("learning_rate")
]


def test_models_of_the_starters_kind_learn_as_they_always_did() -> None:
    for parameters in (1, 1_100_000, SMALL):
        untrained = chosen(vars(SFT), ModelFacts(parameters, was_trained=False))
        assert (untrained["learning_rate"], untrained["batch_tokens"], untrained["max_length"]) == (3e-3, 768, 512)
        trained = ModelFacts(parameters)
        assert chosen(vars(DPO), trained) == {
            "lora_rank": 0,
            "lora_alpha": 16.0,
            "batch_tokens": 2048,
            "micro_batch_tokens": 2048,
            "max_length": 512,
            "learning_rate": 3e-4,
        }
        assert chosen(vars(PPO), trained) == {
            "lora_rank": 0,
            "lora_alpha": 16.0,
            "micro_batch_tokens": 4096,
            "max_new_tokens": 80,
            "actor_learning_rate": 5e-4,
            "critic_learning_rate": 1e-3,
            "kl_coefficient": 0.2,
        }


def test_large_models_learn_at_published_rates_with_adapters_unless_those_are_turned_off() -> None:
    for parameters in (LARGE, 8 * LARGE):
        facts = ModelFacts(parameters)
        assert chosen(vars(DPO), facts)["lora_rank"] > 0
        assert (chosen(vars(DPO), facts)["learning_rate"], chosen(vars(PPO), facts)["actor_learning_rate"]) == (
            5e-6,
            1e-5,
        )
        whole: Any = DpoConfig(seed=0, policy="p", preferences=Path("x"), lora_rank=0)
        assert chosen(vars(whole), facts)["learning_rate"] == 5e-7
        assert "lora_rank" not in chosen(vars(whole), facts)


def test_a_model_that_was_trained_before_learns_a_tenth_as_fast_as_one_from_nothing() -> None:
    for parameters in (1_000, 5_000_000, 60_000_000):
        rates = [
            chosen(vars(SFT), ModelFacts(parameters, was_trained=known))["learning_rate"] for known in (True, False)
        ]
        assert rates[1] / rates[0] == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize(("stage", "name"), RATES)
def test_a_rate_never_rises_with_the_size_and_never_leaps(stage: str, name: str) -> None:
    rule: ByModel = getattr(STAGES[stage], name)
    for learning in (False, True):
        sizes = [ModelFacts(round(SMALL * 1.1**power), adapters_learn=learning) for power in range(70)]
        rates = [rule.value_for(facts) for facts in sizes]
        for before, after in itertools.pairwise(rates):
            assert 0.8 * before < after <= before


def test_adapters_learn_from_a_hundred_million_parameters_on_but_never_in_a_model_from_nothing() -> None:
    rule: ByModel = DpoConfig.lora_rank  # type: ignore[assignment]
    assert [rule.value_for(ModelFacts(size)) for size in (ADAPTED - 1, ADAPTED)] == [0, 16]
    assert rule.value_for(ModelFacts(8 * LARGE, was_trained=False)) == 0
