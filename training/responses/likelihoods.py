"""How likely a model finds whole responses, whoever wrote them."""

# B = batch, R = response tokens, N = real response tokens of a part of the batch

from collections.abc import Sequence

import torch
from torch import Tensor

from models.backbone import LanguageModel, response_log_probabilities
from models.placement import HOST
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
) -> Tensor:
    """(B, R) log-probabilities of the responses' tokens under softmax(logits / temperature), in nats, zero after a
    response's last token, on the host. As many rows are computed at once as make `batch_tokens`, padding included."""
    mask_BR = length_mask([len(ids) for ids in response_ids])
    log_probability_BR = torch.zeros(mask_BR.shape)
    for batch in response_batches(prompt_ids, response_ids, batch_tokens=batch_tokens):
        with products_in(precision):
            log_probability_N, _ = response_log_probabilities(
                model.model,
                [prompt_ids[row] for row in batch],
                [response_ids[row] for row in batch],
                model.pad_id,
                temperature,
            )
        log_probability_BR[batch] = scatter_rows(log_probability_N.to(HOST), mask_BR[batch])
    return log_probability_BR


def response_batches(
    prompt_ids: Sequence[Sequence[int]], response_ids: Sequence[Sequence[int]], *, batch_tokens: int
) -> list[list[int]]:
    """Rows of prompts with their responses in `length_batches`."""
    lengths = [len(prompt) + len(response) for prompt, response in zip(prompt_ids, response_ids, strict=True)]
    return length_batches(lengths, batch_tokens=batch_tokens)
