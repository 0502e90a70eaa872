"""Sampling responses with a key-value cache.

Every row draws from its own uniform numbers, fixed by the seed before the first token. What a prompt gets
does not depend on which other rows share its batch, or when those end.
"""

# B = rows still alive, P = prompt tokens, V = vocabulary

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.backbone import LanguageModel
from models.decoding import decoder_for

# float32 cumulative sums over a vocabulary lose the tail; 53 bits do not.
_CUMULATIVE_DTYPE = torch.float64

# Dropping the rows that have ended copies the whole cache, so it waits until a quarter of them has.
_COMPACT_AT = 0.75


@dataclass(frozen=True, slots=True)
class Response:
    """Sampled token ids, EOS included where it ended so, with the log-probability of each as it was sampled."""

    token_ids: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    ended_with_eos: bool


def sample_responses(
    language_model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    batch_size: int = 128,
) -> list[Response]:
    """One response per prompt, in order, from softmax(logits / temperature) with no top-k or top-p filter.

    A filter would make the stored log-probabilities those of another distribution than the one sampled from.
    """
    generator = torch.Generator().manual_seed(seed)
    uniforms_NR = torch.rand(len(prompts), max_new_tokens, generator=generator, dtype=torch.float64)
    by_length = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    responses: dict[int, Response] = {}
    for start in range(0, len(by_length), batch_size):
        indices = by_length[start : start + batch_size]
        batch = _sample_batch(language_model, [prompts[index] for index in indices], uniforms_NR[indices], temperature)
        responses.update(zip(indices, batch, strict=True))
    return [responses[index] for index in range(len(prompts))]


@torch.inference_mode()
def _sample_batch(
    language_model: LanguageModel, prompts: Sequence[Sequence[int]], uniforms_BR: Tensor, temperature: float
) -> list[Response]:
    eos_ids = torch.tensor(language_model.eos_ids)
    decoder = decoder_for(language_model.model)
    row_B = torch.arange(len(prompts))  # which response each row of the batch belongs to
    ended_B = torch.zeros(len(prompts), dtype=torch.bool)
    drafts = [_Draft() for _ in prompts]
    logits_BV = decoder.start(*pad_left(prompts, language_model.pad_id))
    for step in range(uniforms_BR.shape[1]):
        log_probability_BV = torch.log_softmax(logits_BV.float() / temperature, dim=-1)
        token_B = _inverse_cdf(log_probability_BV, uniforms_BR[row_B, step])
        chosen_B = log_probability_BV.gather(-1, token_B[:, None]).squeeze(-1)
        ends_B = torch.isin(token_B, eos_ids)
        columns = (row_B.tolist(), token_B.tolist(), chosen_B.tolist(), ends_B.tolist(), ended_B.tolist())
        for row, token, chosen, ends, ended in zip(*columns, strict=True):
            if not ended:
                drafts[row].append(token, chosen, ends)
        ended_B = ended_B | ends_B
        alive = (~ended_B).nonzero().squeeze(-1)
        if len(alive) == 0:
            break
        if len(alive) <= _COMPACT_AT * len(ended_B):
            decoder.keep(alive)
            row_B, ended_B, token_B = row_B[alive], ended_B[alive], token_B[alive]
        if step + 1 < uniforms_BR.shape[1]:
            logits_BV = decoder.step(token_B)
    return [draft.response() for draft in drafts]


class _Draft:
    """A response while it is being written."""

    def __init__(self) -> None:
        self._token_ids: list[int] = []
        self._log_probabilities: list[float] = []
        self._ended = False

    def append(self, token_id: int, log_probability: float, ends: bool) -> None:
        self._token_ids.append(token_id)
        self._log_probabilities.append(log_probability)
        self._ended = ends

    def response(self) -> Response:
        return Response(tuple(self._token_ids), tuple(self._log_probabilities), self._ended)


def _inverse_cdf(log_probability_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """(B,) tokens drawn by one uniform number each."""
    cumulative_BV = log_probability_BV.exp().cumsum(-1, dtype=_CUMULATIVE_DTYPE)
    targets_B1 = (uniform_B * cumulative_BV[:, -1])[:, None]
    return torch.searchsorted(cumulative_BV, targets_B1, right=True).squeeze(-1).clamp_(max=cumulative_BV.shape[-1] - 1)


def pad_left(prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """(B, P) ids, and a mask that is 0 where padding is."""
    longest = max(len(prompt) for prompt in prompts)
    ids = [[*[pad_id] * (longest - len(prompt)), *prompt] for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids), torch.tensor(mask)
