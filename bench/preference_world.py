"""The same work for two programs that learn from preferences: models, pairs in tokens, and how many to a step.

Pairs are people's, from a file of hh-rlhf transcripts, with its real lengths. Weights are random and the tokenizer is a
BPE of the transcripts, unless a model is given.
"""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

from app.services.data.imports.formats import hh_rlhf
from app.services.data.imports.reading import read
from app.services.data.imports.rows import ImportedRow
from app.services.data.imports.sources.source import Source
from models.backbone import load_language_model
from models.reward import reward_model_from_policy, save_reward_model
from models.tokenization import train_tokenizer
from training.data.batches import shuffled_length_batches
from training.data.encoding import encode_pairs
from training.data.examples import Pair
from training.preferences.comparisons import comparisons
from training.records import DemonstrationRecord, PreferenceRecord, PromptRecord, conversation, write_records
from training.runtime.seeds import derived_seed

VOCABULARY = 2048
PAIRS_A_STEP = 16
"""TRL pads the 32 responses of a step to one length."""

WIDTHS = {"1.6M": 128, "3M": 192}
"""Hidden size by parameters of the policy; a reward model has no output embedding, 0.3 and 0.4 million fewer."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done, but for the seed."""

    transcripts: Path
    size: str = "1.6M"
    rows: int = 256
    held_out: int = 256
    length: tuple[int, int] = (1, 512)
    """Tokens of the longer side, from and to; longer pairs are left out for both."""
    model: Path | None = None
    """A real one's folder, in place of random weights."""
    pairs_a_step: int = PAIRS_A_STEP


@dataclass(frozen=True, slots=True)
class World:
    """Folders and files of one seed."""

    policy: Path
    reward: Path
    """The reward model before any training: the policy's trunk, and the head that our stage would draw."""
    preferences: Path
    prompts: Path
    demonstrations: Path
    """The better sides of the training pairs."""
    tokens: Path
    """The training pairs as token ids, for who is given those."""
    train: Sequence[Pair]
    validation: Sequence[Pair]
    batch_tokens: int
    """With which our stages take as many steps as TRL does, of pairs."""
    demonstration_batch_tokens: int
    """The same of demonstrations."""

    @property
    def demonstration_tokens(self) -> int:
        """Real tokens of the better sides, each with its prompt."""
        return sum(len(pair.a) for pair in self.train)

    @property
    def sides_tokens(self) -> int:
        """Real tokens of the training pairs, each side with its prompt."""
        return sum(len(pair.a) + len(pair.b) for pair in self.train)


def write_world(folder: Path, work: Work, *, seed: int) -> World:
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    with Source.open(work.transcripts) as source:
        rows = read(source.rows(), hh_rlhf.FORMAT, {"chosen": "chosen", "rejected": "rejected"})
        found = [pair for pair in rows if isinstance(pair, ImportedRow)]
    if work.model is None:
        _write_policy(folder / "policy", work, found, seed=seed)
    policy = load_language_model(work.model or folder / "policy")
    save_reward_model(reward_model_from_policy(policy, seed=derived_seed(seed, "head")), folder / "reward")
    records = [_record(pair) for pair in found]
    pairs, _ = encode_pairs(policy, records, max_length=work.length[1])
    fitting = {pair.a.prompt_id for pair in pairs if max(len(pair.a), len(pair.b)) >= work.length[0]}
    train_ids, validation_ids = _drawn(sorted(fitting), work, seed=seed)
    chosen = [
        replace(record, split="train" if record.prompt_id in train_ids else "validation")
        for record in records
        if record.prompt_id in train_ids | validation_ids
    ]
    write_records(folder / "preferences.jsonl", chosen)
    write_records(folder / "prompts.jsonl", (PromptRecord(one.prompt_id, one.prompt) for one in chosen[:16]))
    write_records(
        folder / "demonstrations.jsonl",
        (DemonstrationRecord(one.prompt_id, one.prompt, one.response_a) for one in chosen if one.split == "train"),
    )
    train, validation = ([pair for pair in pairs if pair.a.prompt_id in ids] for ids in (train_ids, validation_ids))
    rows = [
        {"prompt_ids": pair.a.prompt_ids, "chosen_ids": pair.a.response_ids, "rejected_ids": pair.b.response_ids}
        for pair in train
    ]
    (folder / "tokens.json").write_text(json.dumps(rows), encoding="utf-8")
    return World(
        policy=work.model or folder / "policy",
        reward=folder / "reward",
        preferences=folder / "preferences.jsonl",
        prompts=folder / "prompts.jsonl",
        demonstrations=folder / "demonstrations.jsonl",
        tokens=folder / "tokens.json",
        train=train,
        validation=validation,
        batch_tokens=_batch_tokens([len(one) for one in comparisons(train)], work.pairs_a_step, seed=seed),
        demonstration_batch_tokens=_batch_tokens([len(pair.a) for pair in train], work.pairs_a_step, seed=seed),
    )


def _write_policy(folder: Path, work: Work, pairs: Sequence[ImportedRow], *, seed: int) -> None:
    texts = (text for pair in pairs for text in (*(said for _, said in pair.prompt), *_responses(pair)))
    torch.manual_seed(seed)
    LlamaForCausalLM(_config(WIDTHS[work.size])).save_pretrained(folder)
    train_tokenizer(texts, VOCABULARY).save_pretrained(folder)


def _config(width: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )


def _responses(pair: ImportedRow) -> tuple[str, str]:
    """The better one first, as transcripts have it."""
    chosen, rejected = pair.responses
    return chosen.text, rejected.text


def _record(pair: ImportedRow) -> PreferenceRecord:
    prompt = conversation(*pair.prompt)  # type: ignore[arg-type]  # its roles are ours
    name = hashlib.sha256(json.dumps(pair.prompt).encode()).hexdigest()[:16]
    return PreferenceRecord(name, prompt, *_responses(pair), 1.0)


def _drawn(prompt_ids: list[str], work: Work, *, seed: int) -> tuple[set[str], set[str]]:
    if len(prompt_ids) < work.rows + work.held_out:
        raise SystemExit(f"only {len(prompt_ids)} prompts have {work.length[0]} to {work.length[1]} tokens")
    random.Random(seed).shuffle(prompt_ids)
    return set(prompt_ids[: work.rows]), set(prompt_ids[work.rows : work.rows + work.held_out])


def _batch_tokens(lengths: Sequence[int], pairs_a_step: int, *, seed: int) -> int:
    steps = -(-len(lengths) // pairs_a_step)
    budget = pairs_a_step * int(fmean(lengths))
    while len(shuffled_length_batches(lengths, batch_tokens=budget, seed=seed)) > steps:
        budget += 128
    return budget
