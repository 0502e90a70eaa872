"""TRL 1.12.0's PPO on the work of `bench.ppo_world`: `python -m bench.trl_ppo SETTINGS UPDATES THREADS`.

For TRL's own environment. Appends one line of JSON to UPDATES after every update.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import torch
from datasets import Dataset  # type: ignore[import-not-found]
from peft import LoraConfig, get_peft_model  # type: ignore[import-not-found]
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl.experimental.ppo import PPOConfig, PPOTrainer  # type: ignore[import-not-found]


class ReportingTrainer(PPOTrainer):  # type: ignore[misc]
    """Says after each update what it was, from the variables of its training loop."""

    updates: Path

    def log(self, logs: dict[str, float], *_: Any, **__: Any) -> None:
        names = sys._getframe(1).f_locals
        lengths = (names["sequence_lengths"] + 1).clamp(max=names["responses"].shape[1])
        prompts = names["queries"] != names["processing_class"].pad_token_id
        row = {
            "tokens": int(lengths.sum()) + int(prompts.sum()),
            "score": float(names["scores"].mean()),
            "kl": logs["objective/kl"],
        }
        with self.updates.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(int(sys.argv[3]))
    tokenizer = AutoTokenizer.from_pretrained(settings["policy"], **settings.get("tokenizer", {}))
    lora, value_model = settings.get("lora"), _scoring(settings["reward"])
    if lora:
        value_model = get_peft_model(value_model, LoraConfig(task_type="SEQ_CLS", **lora))
    prompts = Dataset.from_list([{"input_ids": row} for row in settings["prompts"]])
    with tempfile.TemporaryDirectory() as folder:
        trainer = ReportingTrainer(
            args=PPOConfig(
                output_dir=folder,
                report_to=[],
                use_cpu=True,
                bf16=False,
                gradient_checkpointing=False,
                num_sample_generations=0,
                save_strategy="no",
                disable_tqdm=True,
                **settings["arguments"],
            ),
            processing_class=tokenizer,
            model=_causal(settings["policy"]),
            ref_model=None if lora else _causal(settings["policy"]),
            reward_model=_scoring(settings["reward"]),
            value_model=value_model,
            peft_config=LoraConfig(task_type="CAUSAL_LM", **lora) if lora else None,
            train_dataset=prompts,
            eval_dataset=prompts.select(range(8)),
        )
        trainer.updates = Path(sys.argv[2])
        # in the order given, which is the other program's
        trainer.dataloader = DataLoader(
            prompts, batch_size=trainer.args.batch_size, collate_fn=trainer.data_collator, drop_last=True
        )
        trainer.train()


def _causal(folder: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def _scoring(folder: str) -> Any:
    return AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)


if __name__ == "__main__":
    main()
