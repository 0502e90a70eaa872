"""From judgements to models with TRL: python train_with_trl.py PROJECT MODEL OUT

Cuts a dataset version, loads it, trains a reward model and a policy by DPO from the model at MODEL, a directory or a
name of the hub, and saves both below OUT. Wants PLUMBLINE_URL, as PLUMBLINE_TOKEN a token for `read` and `manage` of an
owner, and the packages datasets and trl.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

from plumbline_client import Client

HAS_GPU = torch.cuda.is_available()
STEPS: dict[str, Any] = {"max_steps": 2, "per_device_train_batch_size": 4, "report_to": []}
STEPS |= {"use_cpu": not HAS_GPU, "bf16": HAS_GPU}
# Messages one below the other, for a tokenizer that doesn't say how its model was taught to read them.
PLAIN_TEMPLATE = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"


def main(project: str, model: str, out: Path) -> None:
    with Client() as client:
        version = client.datasets.cut(project)
        rows = client.datasets.load(project, version.number)
    print(f"Version {version.number} of {project}: {len(rows)} pairs.")
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = tokenizer.chat_template or PLAIN_TEMPLATE
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token

    reward = RewardTrainer(
        model=model,
        args=RewardConfig(output_dir=str(out / "reward"), **STEPS),
        train_dataset=rows,
        processing_class=tokenizer,
    )
    print(f"Reward model: loss {reward.train().training_loss:.3f}")
    reward.save_model()

    policy = DPOTrainer(
        model=model,
        args=DPOConfig(output_dir=str(out / "policy"), **STEPS),
        train_dataset=rows,
        processing_class=tokenizer,
    )
    print(f"DPO: loss {policy.train().training_loss:.3f}")
    policy.save_model()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
