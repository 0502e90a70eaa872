"""Adapters that are published by themselves, against what `peft` 0.21.2 makes of the same files."""

import json
from pathlib import Path

import pytest
import torch

from models.backbone import load_language_model
from models.reward import load_reward_model, scores
from tests.training.golden import adapters

FOUND = json.loads(adapters.RECORDED.read_bytes())


@pytest.mark.parametrize("family", adapters.FAMILIES)
@torch.no_grad()
def test_peft_and_our_loaders_make_the_same_model_of_saved_adapters(family: str, tmp_path: Path) -> None:
    policy = load_language_model(adapters.saved_policy(family, tmp_path).adapter)
    logits = policy.model(torch.tensor([adapters.IDS])).logits[0]
    assert adapters.said(logits) == pytest.approx(FOUND[family]["log_probabilities"], abs=1e-4)
    reward_model = load_reward_model(adapters.saved_reward_model(family, tmp_path).adapter)
    assert float(scores(reward_model, [adapters.IDS])) == pytest.approx(FOUND[family]["score"], abs=1e-4)
