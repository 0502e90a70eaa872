"""Encoders as reward models: prompt and response are read at once, both ways, as the two texts of a pair.

What any tool does with a sequence classifier and two texts is what happens here: the tokenizer's own special tokens
around and between them, an attention mask over padding, and the classifier that the family brings.
"""

# B = batch, T = tokens, D = width of what the last layer reads

import copy
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, cast

import torch
from torch import Tensor, nn

from models.backbone import ModelError, pad_right
from models.placement import moved

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

# Encoders whose classifier ends in one linear layer, `classifier` or `classifier.out_proj`.
ENCODER_TYPES = frozenset({"bert", "deberta-v2", "distilbert", "electra", "modernbert", "roberta", "xlm-roberta"})

# The first text where the tokenizer brings no template of its own. The second is the response.
TURNS_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | capitalize + ': ' + message['content'] }}"
    "{% if not loop.last %}{{ '\n\n' }}{% endif %}{% endfor %}"
)


@dataclass(frozen=True, slots=True)
class PairFormat:
    """What a tokenizer puts before, between and after the two texts of a pair, and the token type of the second, None
    where the model is told no types."""

    opening: tuple[int, ...]
    between: tuple[int, ...]
    closing: tuple[int, ...]
    second_type: int | None

    @classmethod
    def of(cls, tokenizer: "PreTrainedTokenizerBase") -> Self:
        """How the tokenizer joins two texts. Raises `ModelError` if it can't pad, or marks no ends of the two."""
        encoded = tokenizer("a", "a", return_special_tokens_mask=True)
        ids, special = cast(list[int], encoded["input_ids"]), cast(list[int], encoded["special_tokens_mask"])
        parts = [
            (is_special, tuple(token for token, _ in run))
            for is_special, run in itertools.groupby(zip(ids, special, strict=True), key=lambda place: place[1])
        ]
        if tokenizer.pad_token_id is None or [is_special for is_special, _ in parts] != [1, 0, 1, 0, 1]:
            raise ModelError("the tokenizer has no padding token, or puts no special tokens around the texts of a pair")
        types = cast("list[int] | None", encoded.get("token_type_ids"))
        return cls(parts[0][1], parts[2][1], parts[4][1], types[-1] if types else None)

    def prompt(self, body: Sequence[int]) -> tuple[int, ...]:
        """The first half of a pair: what precedes the response."""
        return (*self.opening, *body, *self.between)

    def response(self, body: Sequence[int]) -> tuple[int, ...]:
        return (*body, *self.closing)

    def within(self, ids: Sequence[int], positions: int) -> Sequence[int]:
        """A pair's ids cut to the positions: the oldest of the prompt go first, then the last of the response."""
        excess = len(ids) - positions
        if excess <= 0:
            return ids
        opening, closing = len(self.opening), len(self.closing)
        removable = self._start_of_response(ids) - opening - len(self.between)
        kept = [*ids[:opening], *ids[opening + min(excess, removable) :]]
        return [*kept[: positions - closing], *kept[-closing:]]

    def inputs(self, sequences: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> dict[str, Tensor]:
        """What the model reads, (B, T) each, as the tokenizer would have made them of the texts, on its device."""
        ids_BT = pad_right(sequences, pad_id)
        column_T = torch.arange(ids_BT.shape[1])
        length_B = torch.tensor([len(sequence) for sequence in sequences])
        real_BT = column_T < length_B[:, None]
        inputs = {"input_ids": ids_BT, "attention_mask": real_BT.long()}
        if self.second_type is not None:
            start_B = torch.tensor([self._start_of_response(sequence) for sequence in sequences])
            inputs["token_type_ids"] = self.second_type * (real_BT & (column_T >= start_B[:, None])).long()
        return {name: moved(tensor_BT, device) for name, tensor_BT in inputs.items()}

    def _start_of_response(self, ids: Sequence[int]) -> int:
        """After the last separator but the closing one: no text holds any, though a template may."""
        before = range(len(ids) - len(self.closing) - 1, -1, -1)
        return next(place for place in before if ids[place] == self.between[-1]) + 1


def max_positions(config: "PreTrainedConfig") -> int:
    """Tokens that the model can read. RoBERTa counts positions from its padding id on."""
    positions = int(config.max_position_embeddings)
    return positions - int(config.pad_token_id) - 1 if "roberta" in config.model_type else positions


def head_name(model: "PreTrainedModel") -> str:
    """The path of the classifier's last layer. What comes before it (a pooler, a dense layer) all heads share."""
    return "classifier.out_proj" if hasattr(model.classifier, "out_proj") else "classifier"


def read_by_head(model: "PreTrainedModel", inputs: dict[str, Tensor]) -> Tensor:
    """(B, D): what the last layer of the classifier reads, the output of a copy without it that shares all else."""
    shared: list[object] = [model.config, model.base_model, *model.parameters()]
    known: dict[int, object] = {id(part): part for part in shared}
    known[id(model.get_submodule(head_name(model)))] = nn.Identity()
    return cast(Tensor, copy.deepcopy(model, known)(**inputs).logits)
