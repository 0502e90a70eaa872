"""Tiny randomly initialised encoders with tokenizers of their own kind, as the hub would hold them."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE, Unigram, WordPiece
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer, UnigramTrainer, WordPieceTrainer
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    BertTokenizer,
    DebertaV2Tokenizer,
    DistilBertTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    RobertaTokenizer,
    XLMRobertaTokenizer,
)

ENCODERS = ("bert", "deberta-v2", "distilbert", "electra", "modernbert", "roberta", "xlm-roberta")
POSITIONS = 128
BERT_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA_SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
TEXTS = ["user: assistant: eat sell tea bread soup rice cake jam milk fish corn eggs figs nuts"] * 20
TEXTS += [
    "bring some warm bread and a little soup for them now kindly",
    "How do I boil an egg?",
    "Fix it, slowly.",
] * 20


def write_encoder(family: str, folder: Path) -> Path:
    """A two-layer masked language model, which has no classifier yet."""
    tokenizer = tokenizer_of(family)
    torch.manual_seed(sum(family.encode()))
    model = AutoModelForMaskedLM.from_config(AutoConfig.for_model(family, **_shape(family, tokenizer)))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tokenizer_of(family: str) -> PreTrainedTokenizerBase:
    match family:
        case "bert" | "electra":
            return BertTokenizer(vocab=_word_pieces())
        case "distilbert":
            return DistilBertTokenizer(vocab=_word_pieces())
        case "roberta":
            return _roberta_tokenizer()
        case "xlm-roberta":
            return XLMRobertaTokenizer(vocab=_unigrams(ROBERTA_SPECIALS))
        case "deberta-v2":
            return DebertaV2Tokenizer(vocab=_unigrams(BERT_SPECIALS))
        case _:
            return _modernbert_tokenizer()


def _shape(family: str, tokenizer: PreTrainedTokenizerBase) -> dict[str, object]:
    shape: dict[str, object] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "hidden_dim": 64,
        "max_position_embeddings": POSITIONS,
        "pad_token_id": tokenizer.pad_token_id,
        "cls_token_id": tokenizer.cls_token_id,
        "sep_token_id": tokenizer.sep_token_id,
    }
    from_padding_on = {
        "max_position_embeddings": POSITIONS + 2,
        "type_vocab_size": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
    }
    own: dict[str, dict[str, object]] = {
        "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16},
        "electra": {"embedding_size": 16},
        "modernbert": {
            "local_attention": 8,
            "global_attn_every_n_layers": 2,
            "bos_token_id": None,
            "eos_token_id": None,
        },
        "roberta": from_padding_on,
        "xlm-roberta": from_padding_on,
    }
    return shape | own.get(family, {})


def _word_pieces() -> dict[str, int]:
    trainer = WordPieceTrainer(vocab_size=300, special_tokens=BERT_SPECIALS, show_progress=False)
    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer.get_vocab()


def _byte_pairs(specials: list[str]) -> Tokenizer:
    trainer = BpeTrainer(
        vocab_size=330,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def _roberta_tokenizer() -> RobertaTokenizer:
    model = json.loads(_byte_pairs(ROBERTA_SPECIALS).to_str())["model"]
    return RobertaTokenizer(vocab=model["vocab"], merges=[tuple(merge) for merge in model["merges"]])


def _unigrams(specials: list[str]) -> list[tuple[str, float]]:
    unknown = next(token for token in specials if "unk" in token.lower())
    trainer = UnigramTrainer(vocab_size=200, special_tokens=specials, unk_token=unknown, show_progress=False)
    tokenizer = Tokenizer(Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(TEXTS, trainer)
    return [tuple(piece) for piece in json.loads(tokenizer.to_str())["model"]["vocab"]]


def _modernbert_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = _byte_pairs(BERT_SPECIALS)
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "attention_mask"],
    )
