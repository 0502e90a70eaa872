"""Record what TRL 1.16.0's KTO makes of `unpaired`, in trl_1_16_kto.json: `make oracle`.

Texts go in, so that tokens and mismatched responses are its own work; what it finds is read from the variables of the
method that makes its loss.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
import trl
from datasets import Dataset
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from trl import KTOConfig, KTOTrainer

from tests.training.golden import judgements, problem, unpaired
from tests.training.golden.recording import norms, write
from tests.training.golden.unpaired import Variant

RECORD = Path(__file__).with_name("trl_1_16_kto.json")
LOG_PROBABILITIES = {
    "completion_logps": "log_probabilities",
    "ref_completion_logps": "reference",
    "KL_logps": "mismatched",
    "ref_KL_logps": "mismatched_reference",
}


def main() -> None:
    torch.set_num_threads(1)
    recorded = {name: steps(variant) for name, variant in unpaired.VARIANTS.items()}
    versions = {"trl": trl.__version__, "torch": torch.__version__, "transformers": transformers.__version__}
    write(RECORD, {"versions": versions, "variants": recorded})


def steps(variant: Variant) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(folder, variant)
        plain_gather, plain_backward = trainer.accelerator.gather_for_metrics, trainer.accelerator.backward
        names: dict[str, Any] = {}

        def gather(*arguments: Any, **more: Any) -> Any:
            names.update(sys._getframe(1).f_locals)
            return plain_gather(*arguments, **more)

        def backward(loss: torch.Tensor, **more: Any) -> None:
            plain_backward(loss, **more)
            found.append({"loss": float(loss), **told(names), "gradient_norms": norms(trainer.model)})
            names.clear()

        trainer.accelerator.gather_for_metrics, trainer.accelerator.backward = gather, backward
        trainer.train()
    return found


def trainer_of(folder: str, variant: Variant) -> KTOTrainer:
    policy = problem.causal_model(judgements.POLICY)
    optimizer = AdamW(policy.parameters(), lr=unpaired.LEARNING_RATE, eps=1e-8, weight_decay=0.0)
    rates = LambdaLR(optimizer, lambda step: unpaired.RATES[min(step, len(unpaired.RATES) - 1)])
    rows = [
        {
            "prompt": judgements.text(one.prompt),
            "completion": f" {judgements.text(one.response)} {problem.tokenizer().eos_token}",
            "label": one.desirable,
        }
        for one in unpaired.VERDICTS
    ]
    return KTOTrainer(
        model=policy,
        ref_model=problem.causal_model(judgements.REFERENCE),
        args=settings(folder, variant),
        train_dataset=Dataset.from_list(rows),
        processing_class=problem.tokenizer(),
        optimizers=(optimizer, rates),
    )


def settings(folder: str, variant: Variant) -> KTOConfig:
    return KTOConfig(
        output_dir=folder,
        per_device_train_batch_size=unpaired.BATCH,
        num_train_epochs=1,
        max_grad_norm=1e9,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
        seed=0,
        train_sampling_strategy="sequential",
        **({"beta": judgements.BETA} | dict(variant.theirs)),
    )


def told(names: dict[str, Any]) -> dict[str, Any]:
    """In the order of the batch; rewards are apart by kind."""
    log_probabilities = {ours: names[theirs] for theirs, ours in LOG_PROBABILITIES.items()}
    return {
        "kl": float(names["kl"]),
        "desirable_rewards": names["chosen_rewards"].tolist(),
        "undesirable_rewards": names["rejected_rewards"].tolist(),
        **{name: values_B.tolist() for name, values_B in log_probabilities.items() if values_B is not None},
    }


if __name__ == "__main__":
    main()
