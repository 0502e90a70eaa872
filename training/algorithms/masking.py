"""Statistics over the real entries of padded tensors."""

# B = batch, R = response tokens

from collections.abc import Sequence

import torch
from torch import Tensor


def length_mask(lengths: Sequence[int]) -> Tensor:
    """(B, R) true where a response has a token."""
    lengths_B = torch.tensor(lengths)
    return torch.arange(int(lengths_B.max()))[None, :] < lengths_B[:, None]


def scatter_rows(values_N: Tensor, mask_BR: Tensor) -> Tensor:
    """(B, R) from the values of all real tokens, row after row; zero elsewhere."""
    values_BR = torch.zeros_like(mask_BR, dtype=values_N.dtype)
    values_BR[mask_BR] = values_N
    return values_BR


def masked_mean(values_BR: Tensor, mask_BR: Tensor) -> Tensor:
    """Mean over real entries."""
    return (values_BR * mask_BR).sum() / mask_BR.sum()


def masked_variance(values_BR: Tensor, mask_BR: Tensor) -> Tensor:
    """Biased variance over real entries."""
    return masked_mean((values_BR - masked_mean(values_BR, mask_BR)) ** 2, mask_BR)


def whiten(values_BR: Tensor, mask_BR: Tensor, *, shift_mean: bool = True) -> Tensor:
    """Values with unit variance over the real entries, zero outside; `shift_mean=False` keeps their mean.

    Source: Ziegler et al. 2019 (advantages shifted, rewards not); (x - mean) / sqrt(variance + 1e-8).
    """
    mean = masked_mean(values_BR, mask_BR)
    whitened_BR = (values_BR - mean) * torch.rsqrt(masked_variance(values_BR, mask_BR) + 1e-8)
    return (whitened_BR if shift_mean else whitened_BR + mean) * mask_BR
