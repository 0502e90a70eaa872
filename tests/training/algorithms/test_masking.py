import pytest
import torch

from training.algorithms.masking import length_mask, masked_mean, masked_variance, scatter_rows, whiten

LENGTHS = [4, 1, 3]


def padded() -> tuple[torch.Tensor, torch.Tensor, list[float]]:
    values = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mask = length_mask(LENGTHS)
    return torch.where(mask, values, torch.tensor(1e6).double()), mask, values[mask].tolist()


def test_statistics_see_real_entries_only() -> None:
    values, mask, real = padded()
    mean = sum(real) / len(real)
    variance = sum((value - mean) ** 2 for value in real) / len(real)
    assert float(masked_mean(values * mask, mask)) == pytest.approx(mean)
    assert float(masked_variance(values * mask, mask)) == pytest.approx(variance)


@pytest.mark.parametrize("shift_mean", [True, False])
def test_whitened_values_have_unit_variance_and_zeros_outside(shift_mean: bool) -> None:
    values, mask, real = padded()
    whitened = whiten(values * mask, mask, shift_mean=shift_mean)
    kept = whitened[mask]
    assert float(kept.var(correction=0)) == pytest.approx(1.0, abs=1e-6)
    assert float(kept.mean()) == pytest.approx(0.0 if shift_mean else sum(real) / len(real), abs=1e-6)
    assert not whitened[~mask].any()


def test_rows_are_filled_in_order() -> None:
    assert scatter_rows(torch.arange(1.0, 9.0), length_mask(LENGTHS)).tolist() == [
        [1.0, 2.0, 3.0, 4.0],
        [5.0, 0.0, 0.0, 0.0],
        [6.0, 7.0, 8.0, 0.0],
    ]
