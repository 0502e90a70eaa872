"""TRL 1.16.0's SFT, reward model, DPO and GRPO on the work of `bench.preference_world`:
`python -m bench.trl_preferences SETTINGS LINES THREADS`.

For TRL's own environment. Appends one line of JSON to LINES when a phase begins, and after every step and phase. What
the trainer logged is beside it in the end.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from datasets import Dataset  # type: ignore[import-not-found]
from peft import LoraConfig  # type: ignore[import-not-found]
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
)
from trl import (  # type: ignore[import-not-found]
    DPOConfig,
    DPOTrainer,
    GRPOConfig,
    GRPOTrainer,
    RewardConfig,
    RewardTrainer,
    SFTConfig,
    SFTTrainer,
)

LINES = Path(sys.argv[2])


def say(phase: str) -> None:
    with LINES.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"phase": phase}) + "\n")


class Reporter(TrainerCallback):
    def on_train_begin(self, *_: Any, **__: Any) -> None:
        say("begin")

    def on_step_end(self, *_: Any, **__: Any) -> None:
        say("train")


class TokenDPOTrainer(DPOTrainer):  # type: ignore[misc]
    """Reads tokens as they are given, as the reward trainer does."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset

    def _precompute_ref_logps(self, *arguments: Any) -> Any:
        say("begin")
        dataset = super()._precompute_ref_logps(*arguments)
        say("reference")
        return dataset


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(int(sys.argv[3]))
    with tempfile.TemporaryDirectory() as folder:
        arguments = {
            "output_dir": folder,
            "report_to": [],
            "use_cpu": True,
            "save_strategy": "no",
            "disable_tqdm": True,
            "remove_unused_columns": False,  # `length` is for the sampler
            **settings["arguments"],
        }
        trainer = TRAINERS[settings["stage"]](settings, arguments)
        trainer.add_callback(Reporter())
        trainer.train()
        LINES.with_suffix(".log").write_text(json.dumps(trainer.state.log_history), encoding="utf-8")
        trainer.save_model(settings["out"])


def dtype_of(settings: dict[str, Any]) -> torch.dtype:
    """Of the weights."""
    return getattr(torch, settings.get("dtype", "float32"))  # type: ignore[no-any-return]


def causal(settings: dict[str, Any]) -> Any:
    return AutoModelForCausalLM.from_pretrained(settings["model"], dtype=dtype_of(settings))


def adapters(settings: dict[str, Any], task: str) -> Any:
    """What stands beside frozen weights; None: all weights learn."""
    return LoraConfig(task_type=task, **settings["lora"]) if settings.get("lora") else None


def reward_trainer(settings: dict[str, Any], arguments: dict[str, Any]) -> Any:
    model = AutoModelForSequenceClassification.from_pretrained(settings["model"], dtype=dtype_of(settings))
    rows = [
        {
            "chosen_ids": row["prompt_ids"] + row["chosen_ids"],
            "rejected_ids": row["prompt_ids"] + row["rejected_ids"],
            "length": length_of(row),
        }
        for row in json.loads(Path(settings["tokens"]).read_text(encoding="utf-8"))
    ]
    return RewardTrainer(
        model=model,
        peft_config=adapters(settings, "SEQ_CLS"),
        args=RewardConfig(**arguments),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(settings["model"]),
    )


def dpo_trainer(settings: dict[str, Any], arguments: dict[str, Any]) -> Any:
    rows = json.loads(Path(settings["tokens"]).read_text(encoding="utf-8"))
    return TokenDPOTrainer(
        model=causal(settings),
        peft_config=adapters(settings, "CAUSAL_LM"),
        args=DPOConfig(**arguments),
        train_dataset=Dataset.from_list([row | {"length": length_of(row)} for row in rows]),
        processing_class=AutoTokenizer.from_pretrained(settings["model"]),
    )


def sft_trainer(settings: dict[str, Any], arguments: dict[str, Any]) -> Any:
    rows = [
        {
            "input_ids": row["prompt_ids"] + row["chosen_ids"],
            "completion_mask": [0] * len(row["prompt_ids"]) + [1] * len(row["chosen_ids"]),
        }
        for row in json.loads(Path(settings["tokens"]).read_text(encoding="utf-8"))
    ]
    if not arguments.get("packing"):
        rows = [row | {"length": len(row["input_ids"])} for row in rows]
    return SFTTrainer(
        model=causal(settings),
        peft_config=adapters(settings, "CAUSAL_LM"),
        args=SFTConfig(completion_only_loss=True, **arguments),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(settings["model"]),
    )


def grpo_trainer(settings: dict[str, Any], arguments: dict[str, Any]) -> Any:
    reward = AutoModelForSequenceClassification.from_pretrained(settings["reward"], dtype=dtype_of(settings))
    return GRPOTrainer(
        model=causal(settings),
        peft_config=adapters(settings, "CAUSAL_LM"),
        reward_funcs=reward,
        reward_processing_classes=AutoTokenizer.from_pretrained(settings["reward"]),
        args=GRPOConfig(**arguments),
        train_dataset=Dataset.from_list([{"prompt": messages} for messages in settings["prompts"]]),
        processing_class=AutoTokenizer.from_pretrained(settings["model"]),
    )


TRAINERS = {"sft": sft_trainer, "reward": reward_trainer, "dpo": dpo_trainer, "grpo": grpo_trainer}


def length_of(row: dict[str, Any]) -> int:
    """Of the longer side, to which a batch is padded."""
    return len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"]))


if __name__ == "__main__":
    main()
