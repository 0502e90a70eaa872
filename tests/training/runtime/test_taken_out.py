"""What is taken out of the application opens with plain transformers, and says the same as here."""

import tarfile
from datetime import UTC, datetime
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from app.services.loop.models.archive import open_archive
from models.backbone import LanguageModel
from models.reward import RewardModel, save_reward_model, scores
from models.saving import save_language_model
from tests.training import tiny
from training.runtime import artifact
from training.runtime.artifact import ArtifactKind, Lineage

LINEAGE = Lineage("sft", {}, {}, {}, 0, "0")


def taken_out(model: LanguageModel | RewardModel, kind: ArtifactKind, folder: Path) -> Path:
    """Publish a model, write its archive and unpack it."""

    def write(to: Path) -> None:
        if isinstance(model, LanguageModel):
            save_language_model(model, to)
        else:
            save_reward_model(model, to)

    published = folder / "artifact"
    artifact.publish(published, kind, LINEAGE, write)
    digest = artifact.file_sha256(published / "manifest.json")
    archive = open_archive(published, digest, name="out", made_at=datetime.now(UTC), card="---\n---\n# Card\n")
    with (folder / "out.tar").open("wb") as file:
        file.writelines(archive.pieces())
    with tarfile.open(folder / "out.tar") as tar:
        tar.extractall(folder, filter="data")
    artifact.verify(folder / "out")
    return folder / "out"


@torch.no_grad()
def test_a_policy_opens_as_a_causal_language_model(tmp_path: Path) -> None:
    policy = tiny.policy(tmp_path / "source")
    out = taken_out(policy, "policy", tmp_path)
    opened, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "why"}], add_generation_prompt=True, return_tensors="pt", return_dict=False
    )
    torch.testing.assert_close(opened(asked).logits, policy.model(asked).logits)


@torch.no_grad()
def test_a_reward_model_opens_as_a_classifier_with_one_label_and_scores_alike(tmp_path: Path) -> None:
    reward = tiny.reward_model(tiny.policy(tmp_path / "source"))
    out = taken_out(reward, "reward", tmp_path)
    opened = AutoModelForSequenceClassification.from_pretrained(out)
    assert (opened.config.num_labels, opened.config.score_mean, opened.config.score_std) == (1, 0.3, 1.7)
    ids = [5, 9, 11, 20, 3]
    torch.testing.assert_close(opened(torch.tensor([ids])).logits[:, 0], scores(reward, [ids]))
