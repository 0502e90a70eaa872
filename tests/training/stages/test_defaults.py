"""What stages do at their defaults to a model that was trained before: texts of its own kind, which were held out, are
known no worse than before."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.training import own_text, toy

ARCHITECTURE = {"hidden_size": 256, "layers": 3, "heads": 4, "intermediate_size": 512, "vocab_size": 300}
TOLERANCE = 0.1
"""Nats a token. What SFT loses at the starter's rate is five times that and more."""
BROUGHT = os.environ.get("PLUMBLINE_PROOF_MODEL")
"""The directory of a model of one's own, to be tried in the same way."""
SHORT = {"detector_responses": 0, "sample_texts": 0, "batch_size": 8, "minibatch_size": 4, "iterations": 3}
ONE_WARMUP = {"critic_warmup_iterations": 1}
"""Of those three, so that the policy learns in two."""


@dataclass(frozen=True)
class Trained:
    """A model that was trained before, texts of its own kind, and the loss on those that are held out."""

    model: str
    texts: Path
    loss: float
    max_new_tokens: int

    def learns(self, stage: str, out: Path, **settings: object) -> dict[str, object]:
        role = {"model": self.model} if stage == "sft" else {"policy": self.model}
        assert toy.run(stage, out, **role, **settings) == 0
        return toy.result(out)

    def harm(self, out: Path) -> float:
        return own_text.held_out_loss(out / "artifact", self.texts) - self.loss


@pytest.fixture(
    scope="module",
    params=[
        "briefly trained",
        pytest.param("brought", marks=[pytest.mark.slow, pytest.mark.skipif(BROUGHT is None, reason="none is named")]),
    ],
)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Twice as large as the starter, until it knows what there is to know; or one that is brought."""
    folder = tmp_path_factory.mktemp("own")
    if request.param == "brought":
        own_text.write_texts(folder, learnt=48, held_out=8)
        return Trained(str(BROUGHT), folder, own_text.held_out_loss(str(BROUGHT), folder), max_new_tokens=32)
    toy.write_world(folder)
    all_of_them = folder / "demonstrations.jsonl"
    brief = {"epochs": 2, "batch_tokens": 256, "learning_rate": 1e-3, "architecture": ARCHITECTURE}
    assert toy.run("sft", folder / "base", demonstrations=all_of_them, **brief) == 0
    for name in ("demonstrations", "preferences"):
        own_text.thin_out(folder / f"{name}.jsonl", keep_every=8)
    model = str(folder / "base" / "artifact")
    return Trained(model, folder, own_text.held_out_loss(model, folder), toy.MAX_NEW_TOKENS)


def test_sft_at_its_defaults_does_no_harm_and_at_the_starters_rate_it_did(trained: Trained, tmp_path: Path) -> None:
    demonstrations = trained.texts / "demonstrations.jsonl"
    trained.learns("sft", tmp_path / "by-default", demonstrations=demonstrations)
    assert trained.harm(tmp_path / "by-default") <= TOLERANCE
    trained.learns("sft", tmp_path / "starters", demonstrations=demonstrations, learning_rate=3e-3, lora_rank=0)
    assert trained.harm(tmp_path / "starters") > 3 * TOLERANCE


def test_dpo_at_its_defaults_does_no_harm(trained: Trained, tmp_path: Path) -> None:
    trained.learns("dpo", tmp_path / "dpo", preferences=trained.texts / "preferences.jsonl")
    assert trained.harm(tmp_path / "dpo") <= TOLERANCE


def test_a_reward_model_and_ppo_at_their_defaults_do_no_harm(trained: Trained, tmp_path: Path) -> None:
    prompts = {"prompts": trained.texts / "prompts.jsonl", "max_new_tokens": trained.max_new_tokens}
    pairs = {"preferences": trained.texts / "preferences.jsonl", "reference_samples": 16}
    told = trained.learns("reward", tmp_path / "reward", method="finetune", **pairs, **prompts)
    assert "finetune_learning_rate" in told["chosen_by_model"]  # type: ignore[operator]
    parts = {"reference": trained.model, "reward": tmp_path / "reward" / "artifact"}
    told = trained.learns("ppo", tmp_path / "ppo", **parts, **prompts, **SHORT, **ONE_WARMUP)
    assert told["stopped_early"] is None
    assert trained.harm(tmp_path / "ppo") <= TOLERANCE
