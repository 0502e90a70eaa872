"""How likely a model finds whole responses, whoever wrote them."""

# B = batch, R = response tokens, N = real response tokens of a part of the batch, D = hidden size

from collections.abc import Sequence

import torch
from torch import Tensor

from models.backbone import LanguageModel, response_hidden_states, token_log_probabilities
from models.branches import branch_hidden_states, neighbours, predicting_positions
from models.placement import HOST, moved
from training.algorithms.masking import length_mask, scatter_rows
from training.config.values import Precision
from training.data.batches import length_batches
from training.runtime.precision import products_in


@torch.no_grad()
def log_probabilities(
    model: LanguageModel,
    prompt_ids: Sequence[Sequence[int]],
    response_ids: Sequence[Sequence[int]],
    *,
    temperature: float,
    batch_tokens: int,
    precision: Precision = "float32",
    share_prompts: bool = False,
) -> Tensor:
    """(B, R) log-probabilities of the responses' tokens under softmax(logits / temperature), in nats, zero after a
    response's last token, on the host. As many rows are computed at once as make `batch_tokens`, padding included; a
    prompt of several is computed once where `share_prompts` allows it."""
    mask_BR = length_mask([len(ids) for ids in response_ids])
    log_probability_BR = torch.zeros(mask_BR.shape)
    for batch in response_batches(prompt_ids, response_ids, batch_tokens=batch_tokens, share_prompts=share_prompts):
        with products_in(precision):
            hidden_ND, tokens_N = batch_hidden_states(
                model,
                [prompt_ids[row] for row in batch],
                [response_ids[row] for row in batch],
                share_prompts=share_prompts,
            )
            log_probability_N = token_log_probabilities(model.model, hidden_ND, tokens_N, temperature)
        log_probability_BR[batch] = scatter_rows(log_probability_N.to(HOST), mask_BR[batch])
    return log_probability_BR


def batch_hidden_states(
    model: LanguageModel,
    prompt_ids: Sequence[Sequence[int]],
    response_ids: Sequence[Sequence[int]],
    *,
    share_prompts: bool,
) -> tuple[Tensor, Tensor]:
    """(N, D) states before the response tokens, and the (N,) tokens, like `response_hidden_states`, with a prompt of
    neighbours computed once where that is allowed."""
    if not share_prompts:
        return response_hidden_states(model.model, prompt_ids, response_ids, model.pad_id)
    rows = neighbours(prompt_ids, response_ids, model.width)
    hidden_BTD = branch_hidden_states(model.model, rows, model.pad_id)
    tokens_N = moved(torch.tensor([token for response in response_ids for token in response]), model.device)
    return hidden_BTD[predicting_positions(rows, model.device)], tokens_N


def summed_up(values_N: Tensor, responses: Sequence[Sequence[int]]) -> Tensor:
    """(B,) sums over the tokens of each response, whose values come one after the other."""
    return torch.stack([part_N.sum() for part_N in values_N.split([len(ids) for ids in responses])])


def response_batches(
    prompt_ids: Sequence[Sequence[int]],
    response_ids: Sequence[Sequence[int]],
    *,
    batch_tokens: int,
    share_prompts: bool = False,
) -> list[list[int]]:
    """Rows of prompts with their responses in `length_batches`; to share prompts, those that answer one are neighbours,
    as many together as the budget has room for."""
    chunks = (
        _chunks(prompt_ids, response_ids, batch_tokens) if share_prompts else [[row] for row in range(len(prompt_ids))]
    )
    batches: list[list[int]] = []
    # A row of several responses needs a visibility that would slow down the others.
    for is_one in (True, False):
        chosen = [chunk for chunk in chunks if (len(chunk) == 1) == is_one]
        lengths = [len(prompt_ids[chunk[0]]) + sum(len(response_ids[row]) for row in chunk) for chunk in chosen]
        found = length_batches(lengths, batch_tokens=batch_tokens)
        batches += [[row for index in batch for row in chosen[index]] for batch in found]
    return batches


def _chunks(
    prompt_ids: Sequence[Sequence[int]], response_ids: Sequence[Sequence[int]], batch_tokens: int
) -> list[list[int]]:
    """Rows that answer one prompt, as many together as make `batch_tokens` with the prompt once."""
    answered: dict[tuple[int, ...], list[int]] = {}
    for row, prompt in enumerate(prompt_ids):
        answered.setdefault(tuple(prompt), []).append(row)
    chunks: list[list[int]] = []
    for prompt, rows in answered.items():
        room = 0
        for row in rows:
            if len(response_ids[row]) > room:
                chunks.append([])
                room = batch_tokens - len(prompt)
            chunks[-1].append(row)
            room -= len(response_ids[row])
    return chunks
