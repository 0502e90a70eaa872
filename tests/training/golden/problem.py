"""A small PPO problem that two programs can be given alike: weights, prompts and settings by formula.

Needs torch and transformers alone, so that the oracle's environment can read it too.
"""

from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

if TYPE_CHECKING:
    pass

PAD, EOS, VOCABULARY = 0, 1, 12
RESPONSE_TOKENS = 10
TEMPERATURE = 0.7
PROMPTS = ((5, 6, 7), (3,), (8, 9, 10, 11, 4, 2), (7, 7), (4, 3, 2, 5), (11,), (6, 2, 9, 9, 9), (10, 3, 8))
EPOCHS = 4
LEARNING_RATE = 3e-3
KL_COEFFICIENT = 0.3
CLIP = 0.2

# With lambda = gamma = 1 it makes no difference whether the score is paid on EOS or after it; otherwise it does.
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"gamma": 1.0, "lam": 1.0, "kl_estimator": "k1", "whiten_rewards": False, "missing_eos_penalty": None},
    "usual": {"gamma": 0.98, "lam": 0.95, "kl_estimator": "k3", "whiten_rewards": True, "missing_eos_penalty": 1.0},
}
SAMPLES = 4
"""Responses to a prompt, without a critic."""
RLOO_VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"normalize_advantages": False, "epsilon_high": CLIP},
    "usual": {"normalize_advantages": True, "epsilon_high": 0.28},
}
GRPO_VARIANTS: dict[str, dict[str, Any]] = {
    "grpo": {"loss_type": "grpo", "epsilon": CLIP, "epsilon_high": 0.28},
    "dr_grpo": {"loss_type": "dr_grpo", "scale_rewards": "none", "epsilon": CLIP, "epsilon_high": CLIP},
    "gspo": {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 0.02, "epsilon_high": 0.03},
}
"""By the algorithm that each is here."""


def tokenizer() -> PreTrainedTokenizerFast:
    words = {"<pad>": PAD, "<eos>": EOS} | {f"w{number}": number for number in range(2, VOCABULARY)}
    plain = Tokenizer(WordLevel(words, unk_token="w2"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="<pad>", eos_token="<eos>", unk_token="w2", padding_side="left"
    )


def causal_model(seed: int) -> LlamaForCausalLM:
    return _with_weights(LlamaForCausalLM(_config()), seed)


def scoring_model(seed: int) -> LlamaForSequenceClassification:
    return _with_weights(LlamaForSequenceClassification(_config(num_labels=1)), seed)


def _config(**more: Any) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        pad_token_id=PAD,
        eos_token_id=EOS,
        bos_token_id=None,
        tie_word_embeddings=False,
        **more,
    )


def _with_weights(model: Any, seed: int) -> Any:
    """Sines of the place: the same in every version of every library."""
    with torch.no_grad():
        for number, (name, weight) in enumerate(sorted(model.named_parameters())):
            if weight.ndim > 1:
                place = torch.arange(weight.numel(), dtype=torch.float64)
                wave = torch.sin((1 + seed + number) * 12.9898 + place * 78.233) * 43758.5453
                weight.copy_(((wave - wave.floor() - 0.5) * 0.9).reshape(weight.shape))
            else:
                nn.init.ones_(weight)
            if name == "lm_head.weight":
                weight[PAD] = 0.0  # padding is seldom sampled: the oracle would take it for the end
    return model.eval()
