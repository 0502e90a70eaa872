"""Record what TRL 1.16.0's RLOO makes of `problem`, in trl_1_16_rloo.json: `make oracle`.

The rollout is read from the variables of the method that makes it, the losses whenever it asks for a backward pass.
"""

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
import trl
from datasets import Dataset
from trl import RLOOConfig, RLOOTrainer

from tests.training.golden import problem
from tests.training.golden.judgements import text
from tests.training.golden.recording import norms, write

RECORD = Path(__file__).with_name("trl_1_16_rloo.json")


def main() -> None:
    torch.set_num_threads(1)
    recorded = {name: record(variant) for name, variant in problem.RLOO_VARIANTS.items()}
    versions = {"trl": trl.__version__, "torch": torch.__version__, "transformers": transformers.__version__}
    write(RECORD, {"versions": versions, "variants": recorded})


def record(variant: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        problem.causal_model(2).save_pretrained(folder)
        policy = problem.causal_model(1)
        policy.config._name_or_path = folder  # from where it loads the reference
        trainer = RLOOTrainer(
            model=policy,
            reward_funcs=scores,
            args=settings(folder, variant),
            train_dataset=Dataset.from_list([{"prompt": text(prompt)} for prompt in problem.PROMPTS]),
            processing_class=problem.tokenizer(),
        )
        found: dict[str, Any] = {"epochs": []}
        plain_reduce, plain_backward = trainer.accelerator.reduce, trainer.accelerator.backward

        def reduce(*arguments: Any, **more: Any) -> Any:
            names = sys._getframe(1).f_locals
            if "ref_per_token_logps" in names:
                found.update(rollout(names))
            return plain_reduce(*arguments, **more)

        def backward(loss: torch.Tensor, **more: Any) -> None:
            plain_backward(loss, **more)
            (clipped,) = trainer._metrics["train"]["clip_ratio/region_mean"][-1:]
            losses = {"policy_loss": float(loss), "clip_fraction": clipped, "gradient_norms": norms(trainer.model)}
            found["epochs"].append(losses)

        trainer.accelerator.reduce, trainer.accelerator.backward = reduce, backward
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


def settings(folder: str, variant: dict[str, Any]) -> RLOOConfig:
    return RLOOConfig(
        output_dir=folder,
        per_device_train_batch_size=len(problem.PROMPTS) * problem.SAMPLES,
        num_generations=problem.SAMPLES,
        num_iterations=problem.EPOCHS,
        max_steps=problem.EPOCHS,
        max_completion_length=problem.RESPONSE_TOKENS,
        temperature=problem.TEMPERATURE,
        generation_kwargs={"suppress_tokens": [problem.PAD]},  # which the scoring model would pass over
        beta=problem.KL_COEFFICIENT,
        epsilon=problem.CLIP,
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


def rollout(names: dict[str, Any]) -> dict[str, Any]:
    """In the order of the prompts, before it is shuffled for the updates."""
    responses = names["completion_ids_list"]
    lengths = [len(row) for row in responses]
    per_token = {"logprobs": names["old_per_token_logps"], "ref_logprobs": names["ref_per_token_logps"]}
    return {
        "prompts": names["prompt_ids_list"],
        "responses": responses,
        "scores": names["rewards_per_func"][:, 0].tolist(),
        **{
            name: [row[:length] for row, length in zip(values.tolist(), lengths, strict=True)]
            for name, values in per_token.items()
        },
        "kl": names["kl"].tolist(),
        "rewards": names["grouped_rewards"].flatten().tolist(),
        "advantages": names["all_process_advantages"].tolist(),
    }


if __name__ == "__main__":
    main()
