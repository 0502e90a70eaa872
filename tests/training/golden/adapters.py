"""Adapters to be opened by `peft` and by our own loaders: the same of both, by which both are compared."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.backbone import load_language_model
from models.lora import add_adapters, learnt_weights
from models.reward import reward_model_from_policy
from models.saving import save_language_model
from tests.models.directories import write_directory
from training.config import DpoConfig, RewardConfig
from training.reward.untrained import adapt_reward_model
from training.runtime.publishing import writer_of

RECORDED = Path(__file__).with_name("peft_adapters.json")
FAMILIES = ("llama", "gpt2", "gpt_neox")
IDS = [5, 6, 7, 30, 31, 32, 40]


@dataclass(frozen=True)
class Saved:
    """A model that is published as adapters, and the base that they stand beside."""

    base: Path
    adapter: Path


def saved_policy(family: str, folder: Path) -> Saved:
    """Adapters of rank 4 beside a policy of random weights."""
    base = _base(family, folder / "base")
    policy = load_language_model(base)
    add_adapters(policy.model, rank=4, alpha=12.0, seed=3)
    _move(learnt_weights(policy.model))
    config = DpoConfig(seed=0, policy=str(base), preferences=Path("p"), lora_rank=4, publish_as="adapter")
    return _written(policy, config, base, folder / "policy")


def saved_reward_model(family: str, folder: Path) -> Saved:
    """Adapters on attention, and a head that was learnt in full."""
    base = _base(family, folder / "base")
    reward_model = reward_model_from_policy(load_language_model(base), seed=0)
    config = RewardConfig(
        seed=0,
        policy=str(base),
        preferences=Path("p"),
        prompts=Path("q"),
        lora_rank=4,
        lora_alpha=16.0,
        lora_targets="attention",
        publish_as="adapter",
    )
    adapt_reward_model(reward_model, config)
    _move(learnt_weights(reward_model.model))
    return _written(reward_model, config, base, folder / "reward")


def _base(family: str, folder: Path) -> Path:
    """With room for padding, which our loader would else make."""
    save_language_model(load_language_model(write_directory(family, folder / "bare")), folder)
    return folder


def said(logits_TV: Tensor) -> list[float]:
    """Log-probabilities of the ids, each given those before it."""
    log_probability_TV = torch.log_softmax(logits_TV.double(), -1)
    return [float(log_probability_TV[place, token]) for place, token in enumerate(IDS[1:])]


def _move(weights: dict[str, Tensor]) -> None:
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in weights.values():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))


def _written(learnt, config, base: Path, adapter: Path) -> Saved:  # type: ignore[no-untyped-def]
    adapter.mkdir()
    writer_of(learnt, config, str(base))(adapter)
    return Saved(base, adapter)
