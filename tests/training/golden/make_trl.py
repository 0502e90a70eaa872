"""Record what TRL 1.12.0's PPO makes of `problem`, in trl_1_12.json: `make oracle`.

The numbers are read from the variables of its training loop whenever it asks for a backward pass.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import torch
import transformers
import trl
from datasets import Dataset
from trl.experimental.ppo import PPOConfig, PPOTrainer

from tests.training.golden import problem
from tests.training.golden.recording import norms, write

RECORD = Path(__file__).with_name("trl_1_12.json")
ROLLOUT = ("logprobs", "ref_logprobs", "values", "rewards", "advantages", "returns")


def main() -> None:
    torch.set_num_threads(1)
    recorded = {name: record(variant) for name, variant in problem.VARIANTS.items()}
    versions = {"trl": trl.__version__, "torch": torch.__version__, "transformers": transformers.__version__}
    write(RECORD, {"versions": versions, "variants": recorded})


def record(variant: dict[str, Any]) -> dict[str, Any]:
    rewards, values = problem.scoring_model(7), problem.scoring_model(7)
    with tempfile.TemporaryDirectory() as folder:
        trainer = PPOTrainer(
            args=settings(folder, variant),
            processing_class=problem.tokenizer(),
            model=problem.causal_model(1),
            ref_model=problem.causal_model(2),
            reward_model=rewards,
            value_model=values,
            train_dataset=Dataset.from_list([{"input_ids": list(prompt)} for prompt in problem.PROMPTS]),
            eval_dataset=Dataset.from_list([{"input_ids": [2]}]),
        )
        seen: list[dict[str, Any]] = []
        plain_backward = trainer.accelerator.backward

        def backward(loss: torch.Tensor) -> None:
            plain_backward(loss)
            seen.append(observe(sys._getframe(1).f_locals, first=not seen))

        trainer.accelerator.backward = backward
        trainer.train()
    return {**seen[0]["rollout"], "epochs": [one["losses"] for one in seen]}


SEED = 2  # one with which no padding is sampled, see `rollout`


def settings(folder: str, variant: dict[str, Any]) -> PPOConfig:
    count = len(problem.PROMPTS)
    return PPOConfig(
        output_dir=folder,
        per_device_train_batch_size=count,
        gradient_accumulation_steps=1,
        num_mini_batches=1,
        total_episodes=count,
        num_ppo_epochs=problem.EPOCHS,
        response_length=problem.RESPONSE_TOKENS,
        temperature=problem.TEMPERATURE,
        stop_token="eos",
        kl_coef=problem.KL_COEFFICIENT,
        cliprange=problem.CLIP,
        cliprange_value=problem.CLIP,
        learning_rate=problem.LEARNING_RATE,
        num_sample_generations=0,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        seed=SEED,
        **variant,
    )


def observe(names: dict[str, Any], *, first: bool) -> dict[str, Any]:
    """The losses of this pass, and at the first one the rollout, in the order of the batch."""
    mask = ~names["padding_mask"][names["micro_batch_inds"]]
    difference = names["logprobs_diff"].detach()[mask]
    losses = {
        "policy_loss": float(names["pg_loss"]),
        "value_loss": float(names["vf_loss"]),
        "update_kl": float(0.5 * (difference**2).mean()),
        "policy_gradient_norms": norms(names["model"].policy),
        "value_gradient_norms": norms(names["model"].value_model),
    }
    return {"losses": losses, "rollout": rollout(names) if first else None}


def rollout(names: dict[str, Any]) -> dict[str, Any]:
    lengths = (names["sequence_lengths"] + 1).tolist()
    for row, length in zip(names["responses"].tolist(), lengths, strict=True):
        assert length == problem.RESPONSE_TOKENS or row[length - 1] == problem.EOS, "padding was sampled: another seed"
    prompts = [[token for token in row if token != problem.PAD] for row in names["queries"].tolist()]
    rows = {name: names[name].tolist() for name in ROLLOUT}
    return {
        "prompts": prompts,
        "responses": [row[:length] for row, length in zip(names["responses"].tolist(), lengths, strict=True)],
        "scores": names["scores"].tolist(),
        # one place more than there are tokens where there is room: there the oracle pays the score
        **{name: [row[: length + 1] for row, length in zip(rows[name], lengths, strict=True)] for name in ROLLOUT},
    }


if __name__ == "__main__":
    main()
