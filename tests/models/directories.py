"""Tiny randomly initialised model directories of several families, as a user would bring them."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GPT2Config,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)

FAMILIES = ("gemma", "gemma2", "gemma3_text", "gpt2", "gpt_neox", "llama", "mistral", "olmo2", "phi3", "qwen2", "qwen3")
"""Those that everything is tried with. More can be brought: `test_probe.py`."""
TEXTS = ["How do I boil an egg? Put it in cold water and wait.", "Fix the bike slowly, then clean the lamp."] * 20


def bare_tokenizer(*, pad: str | None = None, special: tuple[str, ...] = ()) -> PreTrainedTokenizerFast:
    """A byte-level BPE with EOS, no chat template and, unless asked for, no padding token: like GPT-2's."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<eos>", *([pad] if pad else []), *special]
    trainer = BpeTrainer(
        vocab_size=330,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<eos>", pad_token=pad, extra_special_tokens=list(special)
    )


def write_directory(family: str, folder: Path) -> Path:
    """A two-layer model of the family with a tokenizer, saved as the hub would hold it."""
    tokenizer = bare_tokenizer()
    torch.manual_seed(hash_of(family))
    AutoModelForCausalLM.from_config(_config(family, len(tokenizer))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def hash_of(text: str) -> int:
    """A number that is the same in every process, unlike `hash`."""
    return sum(text.encode())


def _config(family: str, vocab_size: int) -> PreTrainedConfig:
    if family == "gpt2":
        return GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=128, vocab_size=vocab_size, eos_token_id=0)
    shape = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "intermediate_size": 48,
        "vocab_size": vocab_size,
        "max_position_embeddings": 128,
        "eos_token_id": 0,
        "bos_token_id": None,
        "pad_token_id": None,
    }
    if family in ("gpt_neox", "olmo2", "phi3", "qwen2"):
        del shape["head_dim"]
    if family == "gpt_neox":
        del shape["num_key_value_heads"]
    if family in ("gemma2", "gemma3_text", "mistral"):
        shape["sliding_window"] = 12  # shorter than the sequences of the tests, so that it matters
    return AutoConfig.for_model(family, **shape)
