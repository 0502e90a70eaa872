"""What `peft` says of adapters that were saved here: `make oracle` writes it to `peft_adapters.json`."""

import json
import tempfile
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from tests.training.golden import adapters


def main() -> None:
    """Save the problem's adapters, open them by `peft` on their base, and record what the two say together."""
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        for family in adapters.FAMILIES:
            folder = Path(name, family)
            policy, reward = adapters.saved_policy(family, folder), adapters.saved_reward_model(family, folder)
            writes = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(policy.base), policy.adapter)
            logits = writes.eval()(torch.tensor([adapters.IDS])).logits[0]
            judges = AutoModelForSequenceClassification.from_pretrained(reward.base, num_labels=1, pad_token_id=1)
            score = PeftModel.from_pretrained(judges, reward.adapter).eval()(torch.tensor([adapters.IDS])).logits
            found[family] = {"log_probabilities": adapters.said(logits), "score": float(score)}
    adapters.RECORDED.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
