"""Record what TRL 1.16.0's GRPO makes of `problem`, in trl_1_16_grpo.json: `make oracle`.

The rollout is what its method returns before it is shuffled, the losses are read whenever it asks for a backward pass.
"""

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
from trl import GRPOConfig, GRPOTrainer

from tests.training.golden import problem
from tests.training.golden.judgements import text
from tests.training.golden.recording import norms, write

RECORD = Path(__file__).with_name("trl_1_16_grpo.json")


def main() -> None:
    torch.set_num_threads(1)
    recorded = {name: record(variant) for name, variant in problem.GRPO_VARIANTS.items()}
    versions = {"trl": trl.__version__, "torch": torch.__version__, "transformers": transformers.__version__}
    write(RECORD, {"versions": versions, "variants": recorded})


def record(variant: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        problem.causal_model(2).save_pretrained(folder)
        policy = problem.causal_model(1)
        policy.config._name_or_path = folder  # from where it loads the reference
        earned: list[float] = []

        def reward(**asked: Any) -> list[float]:
            earned[:] = scores(**asked)
            return earned

        trainer = GRPOTrainer(
            model=policy,
            reward_funcs=reward,
            args=settings(folder, variant),
            train_dataset=Dataset.from_list([{"prompt": text(prompt)} for prompt in problem.PROMPTS]),
            processing_class=problem.tokenizer(),
        )
        found: dict[str, Any] = {"epochs": []}
        plain_rollout, plain_backward = trainer._generate_and_score_completions, trainer.accelerator.backward

        def generate(inputs: Any) -> Any:
            made = plain_rollout(inputs)
            found.update(rollout(made), scores=list(earned))
            return made

        def backward(loss: torch.Tensor, **more: Any) -> None:
            plain_backward(loss, **more)
            (clipped,) = trainer._metrics["train"]["clip_ratio/region_mean"][-1:]
            found["epochs"].append({"loss": float(loss), "clip_fraction": clipped, "gradient_norms": norms(policy)})

        trainer._generate_and_score_completions, trainer.accelerator.backward = generate, backward
        trainer.train()
    return found


def scores(prompts: Sequence[str], completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
    """Of the tokens themselves: a model that it is given as one reads decoded texts, which have no EOS."""
    model, tokenizer = problem.scoring_model(7), problem.tokenizer()
    found = []
    for prompt, ids in zip(prompts, completion_ids, strict=True):
        with torch.no_grad():
            found.append(float(model(torch.tensor([[*tokenizer(prompt)["input_ids"], *ids]])).logits))
    return found


def settings(folder: str, variant: dict[str, Any]) -> GRPOConfig:
    return GRPOConfig(
        output_dir=folder,
        per_device_train_batch_size=len(problem.PROMPTS) * problem.SAMPLES,
        num_generations=problem.SAMPLES,
        num_iterations=problem.EPOCHS,
        max_steps=problem.EPOCHS,
        max_completion_length=problem.RESPONSE_TOKENS,
        temperature=problem.TEMPERATURE,
        generation_kwargs={"suppress_tokens": [problem.PAD]},  # which the scoring model would pass over
        beta=problem.KL_COEFFICIENT,
        use_bias_correction_kl=False,  # k3 as in the paper, not times the ratio
        learning_rate=problem.LEARNING_RATE,
        lr_scheduler_type="constant",
        max_grad_norm=1e9,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
        seed=0,
        **variant,
    )


def rollout(made: dict[str, Any]) -> dict[str, Any]:
    """In the order of the prompts."""

    def real(name: str, mask: str) -> list[list[Any]]:
        return [row[kept.bool()].tolist() for row, kept in zip(made[name], made[mask], strict=True)]

    return {
        "prompts": real("prompt_ids", "prompt_mask"),
        "responses": real("completion_ids", "completion_mask"),
        "logprobs": real("old_per_token_logps", "completion_mask"),
        "ref_logprobs": real("ref_per_token_logps", "completion_mask"),
        "advantages": made["advantages"].tolist(),
    }


if __name__ == "__main__":
    main()
