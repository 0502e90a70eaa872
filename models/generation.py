"""Sampling responses with a key-value cache.

Every row draws from its own uniform numbers, fixed by the seed before the first token. What a prompt gets
does not depend on which other rows share its batch, or when those end.
"""

# B = rows still alive, P = prompt tokens, V = vocabulary, K = blocks of it, W = tokens of a block

import math
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.backbone import LanguageModel, without_unwritten
from models.decoding import decoder_for, prepared
from models.placement import moved
from models.stop_strings import StopStrings

# float32 cumulative sums over a vocabulary lose the tail; 53 bits do not.
_CUMULATIVE_DTYPE = torch.float64

# In a vocabulary that is large a token is found by blocks, whose sums are few. Below that nothing is gained.
_LARGE_VOCABULARY = 1 << 14
_BLOCK_TOKENS = 256

# How many tokens of each row a device writes before the host reads them: a device that is asked after each of them
# stands still meanwhile. What a row wrote beyond its end is thrown away.
_UNREAD_TOKENS = 8

# Dropping the rows that have ended copies the whole cache, so it waits until a quarter of them has.
_COMPACT_AT = 0.75

# To prepare a model takes as long as some twenty steps save.
_STEPS_TO_PREPARE_FOR = 32


@dataclass(frozen=True, slots=True)
class Response:
    """Sampled token ids, EOS included where it ended so, with the log-probability of each as it was sampled."""

    token_ids: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    ended_with_eos: bool
    """Or with a stop string, whose tokens are then its last."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Which tokens may be drawn at all; off by default. As in `transformers`, in this order: the `top_k` likeliest (0:
    all), of those the fewest that have `top_p` of the probability (Holtzman et al. 2019), and none below `min_p` times
    the likeliest (Nguyen et al. 2024)."""

    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0

    def applied(self, log_probability_BV: Tensor) -> Tensor:
        """(B, V) log-probabilities of the distribution that is sampled from, minus infinity where nothing is drawn."""
        if self == Filters():
            return log_probability_BV
        size = log_probability_BV.shape[-1]
        if 0 < self.top_k < size:
            least_B1 = log_probability_BV.topk(self.top_k, dim=-1).values[:, -1:]
            log_probability_BV = _among(log_probability_BV, log_probability_BV >= least_B1)
        if self.top_p < 1:
            sorted_BV, order_BV = log_probability_BV.sort(dim=-1, descending=True, stable=True)
            probability_BV = sorted_BV.exp()
            before_BV = probability_BV.cumsum(-1, dtype=_CUMULATIVE_DTYPE) - probability_BV
            kept_BV = torch.zeros_like(order_BV, dtype=torch.bool).scatter(-1, order_BV, before_BV < self.top_p)
            log_probability_BV = _among(log_probability_BV, kept_BV)
        if self.min_p > 0:
            least_B1 = log_probability_BV.max(-1, keepdim=True).values + math.log(self.min_p)
            log_probability_BV = _among(log_probability_BV, log_probability_BV >= least_B1)
        return log_probability_BV


NO_FILTERS = Filters()

Heard = Callable[[Sequence[Sequence[int]]], None]
"""Is told the tokens that each response of a batch has so far, after every step."""


def sample_responses(
    language_model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    batch_size: int = 128,
    filters: Filters = NO_FILTERS,
    stop: Sequence[str] = (),
    heard: Heard | None = None,
    rows: Sequence[int] | None = None,
) -> list[Response]:
    """One response per prompt, in order, from softmax(logits / temperature) within the filters; or those of some `rows`
    of the prompts, which get what they would among all.

    The log-probabilities are those of the distribution that was sampled from. A response ends with an id that ends one,
    or as soon as its text holds one of the `stop` strings (`stopped_text` cuts it off).
    """
    stops = StopStrings(language_model.tokenizer, stop) if stop else None
    generator = torch.Generator().manual_seed(seed)
    uniforms_NR = torch.rand(len(prompts), max_new_tokens, generator=generator, dtype=torch.float64)
    wanted = range(len(prompts)) if rows is None else rows
    by_length = sorted(wanted, key=lambda index: len(prompts[index]))
    batches = [by_length[start : start + batch_size] for start in range(0, len(by_length), batch_size)]
    responses: dict[int, Response] = {}
    with prepared(language_model.model) if len(batches) * max_new_tokens >= _STEPS_TO_PREPARE_FOR else nullcontext():
        for indices in batches:
            asked = [prompts[index] for index in indices]
            batch = _sample_batch(language_model, asked, uniforms_NR[indices], temperature, filters, stops, heard)
            responses.update(zip(indices, batch, strict=True))
    return [responses[index] for index in wanted]


@torch.inference_mode()
def _sample_batch(
    language_model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    uniforms_BR: Tensor,
    temperature: float,
    filters: Filters,
    stops: StopStrings | None,
    heard: Heard | None,
) -> list[Response]:
    device = language_model.device
    unread_tokens = 1 if device.type == "cpu" else _UNREAD_TOKENS
    uniforms_BR = moved(uniforms_BR.to(_cumulative_dtype(device)), device)
    model = language_model.model
    decoder = decoder_for(model)
    drafts = [_Draft(language_model.eos_ids) for _ in prompts]
    alive = drafts
    unread: list[Tensor] = []  # (2, B) tokens and their log-probabilities, of each step
    logits_BV = decoder.start(*pad_left(prompts, language_model.pad_id, device))
    for step in range(uniforms_BR.shape[1]):
        is_last = step + 1 == uniforms_BR.shape[1]
        scaled_BV = without_unwritten(model, logits_BV.float()) / temperature
        token_B, chosen_B = drawn(scaled_BV, uniforms_BR[:, step], filters)
        unread.append(torch.stack([token_B.float(), chosen_B]))  # exact: there are fewer than 2^24 tokens
        if is_last or len(unread) == unread_tokens:
            for tokens, chosen in torch.stack(unread).tolist():
                for draft, token, log_probability in zip(alive, tokens, chosen, strict=True):
                    draft.append(int(token), log_probability, stops)
            unread = []
            if heard is not None:
                heard([draft.token_ids for draft in drafts])
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
        self.token_ids: list[int] = []
        self._log_probabilities: list[float] = []
        self.ended = False

    def append(self, token_id: int, log_probability: float, stops: StopStrings | None) -> None:
        """Write a token, unless the response has ended."""
        if self.ended:
            return
        self.token_ids.append(token_id)
        self._log_probabilities.append(log_probability)
        self.ended = token_id in self._eos_ids or (stops is not None and stops.end(self.token_ids))

    def response(self) -> Response:
        return Response(tuple(self.token_ids), tuple(self._log_probabilities), self.ended)


def _among(log_probability_BV: Tensor, kept_BV: Tensor) -> Tensor:
    """Of those that are kept alone."""
    return torch.log_softmax(log_probability_BV.masked_fill(~kept_BV, -torch.inf), dim=-1)


def drawn(logits_BV: Tensor, uniform_B: Tensor, filters: Filters) -> tuple[Tensor, Tensor]:
    """(B,) tokens, drawn by one uniform number each, and (B,) log-probabilities of each within the filters."""
    if filters == NO_FILTERS and logits_BV.shape[-1] >= _LARGE_VOCABULARY:
        probability_BV = logits_BV.softmax(-1)
        token_B = _inverse_cdf_by_blocks(probability_BV, uniform_B)
        return token_B, _of_token(probability_BV, token_B).log_()
    log_probability_BV = filters.applied(logits_BV.log_softmax(-1))
    token_B = _inverse_cdf(log_probability_BV.exp(), uniform_B)
    return token_B, _of_token(log_probability_BV, token_B)


def _of_token(values_BV: Tensor, token_B: Tensor) -> Tensor:
    return values_BV.gather(-1, token_B[:, None]).squeeze(-1)


def _inverse_cdf(probability_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """(B,) tokens drawn by one uniform number each, from weights whatever their sum."""
    cumulative_BV = probability_BV.cumsum(-1, dtype=uniform_B.dtype)
    targets_B1 = (uniform_B * cumulative_BV[:, -1])[:, None]
    return torch.searchsorted(cumulative_BV, targets_B1, right=True).squeeze(-1).clamp_(max=cumulative_BV.shape[-1] - 1)


def _inverse_cdf_by_blocks(probability_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """The same in two steps, for a tenth of the time: the block in which the target lies, then the token of that
    block alone."""
    size = probability_BV.shape[-1]
    whole_BV = nn.functional.pad(probability_BV, (0, -size % _BLOCK_TOKENS))
    blocks_BKW = whole_BV.view(len(whole_BV), -1, _BLOCK_TOKENS)
    cumulative_BK = blocks_BKW.sum(-1).cumsum(-1, dtype=uniform_B.dtype)
    targets_B1 = (uniform_B * cumulative_BK[:, -1])[:, None]
    block_B1 = torch.searchsorted(cumulative_BK, targets_B1, right=True).clamp_(max=cumulative_BK.shape[-1] - 1)
    begins_B1 = nn.functional.pad(cumulative_BK, (1, 0)).gather(-1, block_B1)
    ends_B1 = cumulative_BK.gather(-1, block_B1)
    block_BW = blocks_BKW.gather(1, block_B1[..., None].expand(-1, -1, _BLOCK_TOKENS)).squeeze(1)
    within_B = (targets_B1 - begins_B1).div_(ends_B1 - begins_B1).squeeze(-1)
    return (block_B1.squeeze(-1) * _BLOCK_TOKENS + _inverse_cdf(block_BW, within_B)).clamp_(max=size - 1)


def _cumulative_dtype(device: torch.device) -> torch.dtype:
    """Apple's devices have no float64: there a token of the tail may be another one than elsewhere."""
    return torch.float32 if device.type == "mps" else _CUMULATIVE_DTYPE


def pad_left(prompts: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(B, P) ids, and a mask that is 0 where padding is."""
    longest = max(len(prompt) for prompt in prompts)
    ids = [[*[pad_id] * (longest - len(prompt)), *prompt] for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return moved(torch.tensor(ids), device), moved(torch.tensor(mask), device)
