"""Record the first step of TRL 1.16.0's SFT, reward model and DPO on `judgements`, in trl_1_16.json: `make oracle`."""

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
import trl
from datasets import Dataset
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

from tests.training.golden import judgements, problem
from tests.training.golden.judgements import Judgement, Variant

RECORD = Path(__file__).with_name("trl_1_16.json")
REWARDS = {
    "rewards/chosen": "chosen_reward",
    "rewards/rejected": "rejected_reward",
    "rewards/margins": "margin",
    "rewards/accuracies": "accuracy",
}


class TokenDPOTrainer(DPOTrainer):
    """Reads tokens as they are given, as the others do."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset


def main() -> None:
    torch.set_num_threads(1)
    makers = {"sft": sft, "reward": reward, "dpo": dpo}
    with tempfile.TemporaryDirectory() as folder:
        steps = {
            name: first_step(makers[variant.stage](variant.rows, arguments(folder, variant)))
            for name, variant in judgements.VARIANTS.items()
        }
    versions = {"trl": trl.__version__, "torch": torch.__version__, "transformers": transformers.__version__}
    RECORD.write_text(json.dumps({"versions": versions, "steps": steps}, indent=1) + "\n", encoding="utf-8")


def arguments(folder: str, variant: Variant) -> dict[str, Any]:
    return {
        "output_dir": folder,
        "per_device_train_batch_size": len(variant.rows),
        "max_steps": 1,
        "seed": 0,
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "disable_tqdm": True,
        **({"beta": judgements.BETA} if variant.stage == "dpo" else {}),
        **({"completion_only_loss": True} if variant.stage == "sft" else {}),
        **variant.theirs,
    }


def sft(judged: Sequence[Judgement], settings: dict[str, Any]) -> SFTTrainer:
    rows = [
        {
            "input_ids": [*one.prompt, *one.chosen],
            "completion_mask": [0] * len(one.prompt) + [1] * len(one.chosen),
        }
        for one in judged
    ]
    return SFTTrainer(
        model=problem.causal_model(judgements.POLICY),
        args=SFTConfig(**settings),
        train_dataset=Dataset.from_list(rows),
        processing_class=judgements.tokenizer(),
    )


def reward(judged: Sequence[Judgement], settings: dict[str, Any]) -> RewardTrainer:
    rows = [{"chosen_ids": [*one.prompt, *one.chosen], "rejected_ids": [*one.prompt, *one.rejected]} for one in judged]
    return RewardTrainer(
        model=problem.scoring_model(judgements.REWARD),
        args=RewardConfig(**settings),
        train_dataset=Dataset.from_list(rows),
        processing_class=judgements.tokenizer(),
    )


def dpo(judged: Sequence[Judgement], settings: dict[str, Any]) -> DPOTrainer:
    rows = [
        {"prompt_ids": list(one.prompt), "chosen_ids": list(one.chosen), "rejected_ids": list(one.rejected)}
        for one in judged
    ]
    return TokenDPOTrainer(
        model=problem.causal_model(judgements.POLICY),
        ref_model=problem.causal_model(judgements.REFERENCE),
        args=DPOConfig(**settings),
        train_dataset=Dataset.from_list(rows),
        processing_class=judgements.tokenizer(),
    )


def first_step(trainer: Any) -> dict[str, float]:
    """Loss, gradient norm before any clipping, and DPO's implicit rewards."""
    seen: dict[str, float] = {}
    plain_backward = trainer.accelerator.backward

    def backward(loss: torch.Tensor, **more: Any) -> None:
        plain_backward(loss, **more)
        gradients = [weight.grad.flatten() for weight in trainer.model.parameters() if weight.grad is not None]
        seen.update(loss=float(loss), gradient_norm=float(torch.cat(gradients).norm()))
        told = trainer._metrics["train"]
        seen.update({ours: told[theirs][-1] for theirs, ours in REWARDS.items() if isinstance(trainer, DPOTrainer)})

    trainer.accelerator.backward = backward
    trainer.train()
    return {name: round(value, 6) for name, value in seen.items()}


if __name__ == "__main__":
    main()
