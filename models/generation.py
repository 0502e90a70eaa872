"""Sampling responses with a key-value cache.

Every row draws from its own uniform numbers, fixed by the seed before the first token. What a prompt gets
does not depend on which other rows share its batch, or when those end.
"""

# B = rows still alive, P = prompt tokens, V = vocabulary

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.backbone import LanguageModel
from models.decoding import decoder_for
from models.placement import moved

# float32 cumulative sums over a vocabulary lose the tail; 53 bits do not.
_CUMULATIVE_DTYPE = torch.float64

# How many tokens of each row a device writes before the host reads them: a device that is asked after each of them
# stands still meanwhile. What a row wrote beyond its end is thrown away.
_UNREAD_TOKENS = 8

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
    device = language_model.device
    unread_tokens = 1 if device.type == "cpu" else _UNREAD_TOKENS
    uniforms_BR = moved(uniforms_BR.to(_cumulative_dtype(device)), device)
    decoder = decoder_for(language_model.model)
    drafts = [_Draft(language_model.eos_ids) for _ in prompts]
    alive = drafts
    unread: list[Tensor] = []  # (2, B) tokens and their log-probabilities, of each step
    logits_BV = decoder.start(*pad_left(prompts, language_model.pad_id, device))
    for step in range(uniforms_BR.shape[1]):
        is_last = step + 1 == uniforms_BR.shape[1]
        log_probability_BV = torch.log_softmax(logits_BV.float() / temperature, dim=-1)
        token_B = _inverse_cdf(log_probability_BV, uniforms_BR[:, step])
        chosen_B = log_probability_BV.gather(-1, token_B[:, None]).squeeze(-1)
        unread.append(torch.stack([token_B.float(), chosen_B]))  # exact: there are fewer than 2^24 tokens
        if is_last or len(unread) == unread_tokens:
            for tokens, chosen in torch.stack(unread).tolist():
                for draft, token, log_probability in zip(alive, tokens, chosen, strict=True):
                    draft.append(int(token), log_probability)
            unread = []
            places = [place for place, draft in enumerate(alive) if not draft.ended]
            if not places:
                break
            if len(places) <= _COMPACT_AT * len(alive):
                kept = moved(torch.tensor(places), device)
                decoder.keep(kept)
                alive = [alive[place] for place in places]
                uniforms_BR, token_B = uniforms_BR[kept], token_B[kept]
        if not is_last:
            logits_BV = decoder.step(token_B)
    return [draft.response() for draft in drafts]


class _Draft:
    """A response while it is being written."""

    def __init__(self, eos_ids: Collection[int]) -> None:
        self._eos_ids = eos_ids
        self._token_ids: list[int] = []
        self._log_probabilities: list[float] = []
        self.ended = False

    def append(self, token_id: int, log_probability: float) -> None:
        """Write a token, unless the response has ended."""
        if self.ended:
            return
        self._token_ids.append(token_id)
        self._log_probabilities.append(log_probability)
        self.ended = token_id in self._eos_ids

    def response(self) -> Response:
        return Response(tuple(self._token_ids), tuple(self._log_probabilities), self.ended)


def _inverse_cdf(log_probability_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """(B,) tokens drawn by one uniform number each."""
    cumulative_BV = log_probability_BV.exp().cumsum(-1, dtype=uniform_B.dtype)
    targets_B1 = (uniform_B * cumulative_BV[:, -1])[:, None]
    return torch.searchsorted(cumulative_BV, targets_B1, right=True).squeeze(-1).clamp_(max=cumulative_BV.shape[-1] - 1)


def _cumulative_dtype(device: torch.device) -> torch.dtype:
    """Apple's devices have no float64: there a token of the tail may be another one than elsewhere."""
    return torch.float32 if device.type == "mps" else _CUMULATIVE_DTYPE


def pad_left(prompts: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(B, P) ids, and a mask that is 0 where padding is."""
    longest = max(len(prompt) for prompt in prompts)
    ids = [[*[pad_id] * (longest - len(prompt)), *prompt] for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return moved(torch.tensor(ids), device), moved(torch.tensor(mask), device)
