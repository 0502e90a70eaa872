import pytest
import torch
from torch.nn import functional

from training.algorithms.probe import STRENGTHS, cross_validated_strength, fit_bradley_terry


def labelled(pairs: int, features: int, noise: float, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randn(features, generator=generator, dtype=torch.float64)
    differences = torch.randn(pairs, features, generator=generator, dtype=torch.float64)
    flipped = torch.rand(pairs, generator=generator) < noise
    preferences = ((differences @ truth > 0) ^ flipped).double()
    return differences, preferences, truth


def test_the_fit_is_where_the_gradient_of_the_penalised_loss_vanishes() -> None:
    differences, preferences, _ = labelled(60, 5, 0.1, seed=0)
    weights = torch.rand(60, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.5
    coefficients = fit_bradley_terry(differences, preferences, weights, strength=0.7).requires_grad_(True)
    margins = differences @ coefficients
    loss_P = -preferences * functional.logsigmoid(margins) - (1 - preferences) * functional.logsigmoid(-margins)
    ((weights * loss_P).sum() + 0.35 * (coefficients**2).sum()).backward()
    assert coefficients.grad is not None
    assert float(coefficients.grad.abs().max()) < 1e-8


def test_separable_pairs_have_a_finite_fit() -> None:
    differences, preferences, truth = labelled(200, 3, 0.0, seed=2)
    coefficients = fit_bradley_terry(differences, preferences, torch.ones(200), strength=1e-3)
    assert float(functional.cosine_similarity(coefficients, truth, dim=0)) > 0.97


def test_ties_pull_to_no_difference() -> None:
    differences, _, _ = labelled(50, 4, 0.0, seed=3)
    coefficients = fit_bradley_terry(differences, torch.full((50,), 0.5), torch.ones(50), strength=1.0)
    assert coefficients.tolist() == pytest.approx([0.0] * 4)


def test_noisier_labels_are_given_a_stronger_ridge() -> None:
    folds = torch.arange(120) % 5
    chosen = []
    for noise in (0.0, 0.4):
        differences, preferences, _ = labelled(120, 30, noise, seed=4)
        chosen.append(cross_validated_strength(differences, preferences, torch.ones(120), fold_P=folds).strength)
    assert chosen[0] < chosen[1]


def test_with_one_prompt_alone_nothing_speaks_for_less_than_the_strongest_ridge() -> None:
    differences, preferences, _ = labelled(20, 30, 0.0, seed=4)
    found = cross_validated_strength(differences, preferences, torch.ones(20), fold_P=torch.zeros(20))
    assert found.strength == max(STRENGTHS)


def test_every_pair_is_judged_by_a_fit_that_had_not_seen_its_fold() -> None:
    folds = torch.arange(60) % 5
    differences, preferences, _ = labelled(60, 4, 0.1, seed=5)
    found = cross_validated_strength(differences, preferences, torch.ones(60), fold_P=folds)
    for fold in range(5):
        held = folds == fold
        blind = fit_bradley_terry(differences[~held], preferences[~held], torch.ones(48), strength=found.strength)
        torch.testing.assert_close(found.margin_P[held], differences[held] @ blind, atol=1e-6, rtol=1e-6)
