"""What a decoder must do to be trained here, tried on the model itself: a family whose forward pass does it is let in.

Everything rests on a few equalities: padding changes nothing, a cache gives what one pass gives. Each is tried on a few
tokens when a model comes in; what is published afterwards has passed. That a saved model is the same model is tried by
whoever publishes (`training.data.rehearsal`).
"""

# B = rows, T = tokens, V = vocabulary, D = hidden size

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from models.backbone import (
    NEVER,
    LanguageModel,
    ModelError,
    first_line,
    hidden_states,
    pad_right,
    project,
)
from models.branches import prompts_can_be_shared
from models.classifier import classifier_class, has_classifier
from models.decoding import LlamaDecoder, decoder_for
from models.generation import pad_left
from models.packing import rows_can_be_packed

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LENGTHS = (9, 4, 6)
"""Tokens of the sequences that are tried: of different lengths, so that some are padded."""


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What was found about a model that can be used."""

    model_type: str
    packing: bool
    """Several sequences can share a row."""
    shared_prompts: bool
    """A prompt can be computed once for all responses to it."""
    own_step: bool
    """Sampling takes the decoding step of ours, not the library's."""
    library_classifier: bool
    """Other tools open a reward model of this family; else it opens here alone."""

    @property
    def lines(self) -> tuple[str, ...]:
        """What was found, a line each, for whoever brings the model."""
        return (
            f"{self.model_type}: logits, padding on either side, caches and a classifier are right",
            f"packing: {'rows can be packed' if self.packing else 'refused, as rows would see each other'}",
            f"prompts: {'computed once for their responses' if self.shared_prompts else 'computed for each response'}",
            f"sampling: {'a step of our own' if self.own_step else 'the step of the library'}",
            "reward models: "
            + ("open in other tools too" if self.library_classifier else "with a head of ours, which opens here alone"),
        )

    def to_json(self) -> dict[str, object]:
        return asdict(self)


@torch.no_grad()
def probe(language_model: LanguageModel) -> ProbeReport:
    """Try the model. Raises `ModelError` in one line that names the first probe that fails."""
    model = language_model.model
    rows = _sequences(language_model)
    for name, check in _CHECKS.items():
        _try(language_model, name, check, rows)
    return ProbeReport(
        model_type=model.config.model_type,
        packing=rows_can_be_packed(model),
        shared_prompts=prompts_can_be_shared(model),
        own_step=isinstance(decoder_for(model), LlamaDecoder),
        library_classifier=has_classifier(model.config),
    )


Check = Callable[[LanguageModel, Sequence[Sequence[int]]], str | None]
"""None, or what is wrong."""


def _logits(language_model: LanguageModel, rows: Sequence[Sequence[int]]) -> str | None:
    """The logits are what `project` makes of the last hidden state."""
    model = language_model.model
    ids_BT = pad_right([rows[0]], language_model.pad_id)
    logits_BTV = model(input_ids=ids_BT, use_cache=False).logits
    projected_BTV = project(model, hidden_states(model, ids_BT))
    return None if _same(logits_BTV, projected_BTV) else "they are no linear map of the last hidden state"


def _right_padding(language_model: LanguageModel, rows: Sequence[Sequence[int]]) -> str | None:
    model, pad_id = language_model.model, language_model.pad_id
    together_BTD = hidden_states(model, pad_right(rows, pad_id))
    for row, hidden_TD in zip(rows, together_BTD, strict=True):
        if not _same(project(model, hidden_TD[: len(row)]), _alone(model, row)):
            return "tokens see what follows them, or padding"
    return None


def _left_padding(language_model: LanguageModel, rows: Sequence[Sequence[int]]) -> str | None:
    """With a mask and positions, as prompts are read before sampling."""
    model = language_model.model
    logits_BV = decoder_for(model).start(*pad_left(rows, language_model.pad_id, language_model.device))
    for row, logits_V in zip(rows, logits_BV, strict=True):
        if not _same(logits_V, _alone(model, row)[-1]):
            return "a mask and positions don't undo it"
    return None


def _cache(language_model: LanguageModel, rows: Sequence[Sequence[int]]) -> str | None:
    """Token by token, and on after a row has left, what one pass gives."""
    expected = [_alone(language_model.model, row) for row in rows]
    decoder = decoder_for(language_model.model)
    read, alive = [2, 1, 1], [0, 1, 2]
    logits_BV = decoder.start(
        *pad_left(
            [row[:count] for row, count in zip(rows, read, strict=True)], language_model.pad_id, language_model.device
        )
    )
    for step in range(min(LENGTHS)):
        for row, logits_V in zip(alive, logits_BV, strict=True):
            if not _same(logits_V, expected[row][read[row] - 1]):
                return "it doesn't give what one pass gives"
        if step == 1:
            decoder.keep(torch.tensor([0, 2]))
            alive = [0, 2]
        logits_BV = decoder.step(torch.tensor([rows[row][read[row]] for row in alive]))
        read = [count + 1 for count in read]
    return None


def _classifier(language_model: LanguageModel, rows: Sequence[Sequence[int]]) -> str | None:
    """A reward model on this trunk reads `score` at the last token that is no padding."""
    model = language_model.model
    kind = classifier_class(model.config)
    with torch.device("meta"):
        classifier = kind(type(model.config).from_dict({**model.config.to_dict(), "num_labels": 1}))
    if classifier.base_model.state_dict().keys() != model.base_model.state_dict().keys():
        return "it has another trunk"
    score = getattr(classifier, "score", None)
    if not isinstance(score, nn.Linear) or getattr(score, "bias", None) is not None:
        return "it reads by something else than `score` without a bias"
    setattr(classifier, classifier.base_model_prefix, model.base_model)
    weight_1D = torch.linspace(-1, 1, score.in_features, dtype=model.dtype, device=model.device)[None]
    score.weight = nn.Parameter(weight_1D.expand(score.out_features, -1).clone(), requires_grad=False)
    classifier.config.pad_token_id = language_model.pad_id
    read_B1 = classifier.eval()(input_ids=pad_right(rows, language_model.pad_id), use_cache=False).logits
    alone_BD = torch.stack([hidden_states(model, pad_right([row], 0))[0, -1] for row in rows])
    return None if _same(read_B1, score(alone_BD)) else "it doesn't read at the last token"


_CHECKS: dict[str, Check] = {
    "logits": _logits,
    "padding on the right": _right_padding,
    "padding on the left": _left_padding,
    "the cache": _cache,
    "a classifier": _classifier,
}


def _try(language_model: LanguageModel, name: str, check: Check, rows: Sequence[Sequence[int]]) -> None:
    try:
        wrong = check(language_model, rows)
    except Exception as error:  # noqa: BLE001  a family's code raises whatever it likes at what it doesn't know
        wrong = first_line(error)
    if wrong is not None:
        family = language_model.model.config.model_type
        raise ModelError(f"a model of type {family!r} that fails the probe of {name} cannot be used: {wrong}")


def _sequences(language_model: LanguageModel) -> list[list[int]]:
    """Of tokens from all over the vocabulary, without padding and ends."""
    size = cast(nn.Embedding, language_model.model.get_input_embeddings()).num_embeddings
    usable = [token for token in range(size) if token not in {language_model.pad_id, *language_model.eos_ids}]
    drawn = iter(usable[(index * 7919) % len(usable)] for index in range(1, sum(LENGTHS) + 1))
    return [[next(drawn) for _ in range(length)] for length in LENGTHS]


def _alone(model: "PreTrainedModel", row: Sequence[int]) -> Tensor:
    """(T, V) logits of a sequence by itself."""
    return project(model, hidden_states(model, pad_right([row], 0)))[0]


def _same(found: Tensor, expected: Tensor) -> bool:
    """Up to rounding, beside how far the expected figures differ; what is never written is left out."""
    written = expected > NEVER / 2
    found, expected = found.where(written, 0.0), expected.where(written, 0.0)
    tolerance = max(1e-4, 16 * torch.finfo(expected.dtype).eps)
    spread = (
        (expected - expected.mean(-1, keepdim=True)).abs().max() if expected.shape[-1] > 1 else expected.abs().max()
    )
    return bool((found - expected).abs().max() <= tolerance * spread)
