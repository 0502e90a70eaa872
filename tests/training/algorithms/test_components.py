"""Principal components, and what a teacher can say with their products."""

import torch

from training.algorithms.components import principal_components
from training.algorithms.probe import fit_bradley_terry
from training.reward.representation import Products


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_coordinates_have_mean_zero_and_deviation_one() -> None:
    rows = noise(50, 6) @ noise(6, 6) + 3
    coordinates = principal_components(rows, 4).of(rows)
    assert coordinates.shape == (50, 4)
    torch.testing.assert_close(coordinates.mean(0), torch.zeros(4, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(coordinates.std(0), torch.ones(4, dtype=torch.float64))


def test_the_first_component_is_what_varies_together() -> None:
    common = noise(80, 1)
    rows = torch.cat([common, -common, 5 * common, noise(80, 1).roll(7, 0)], dim=1)
    (first,) = principal_components(rows, 1).of(rows).T
    assert abs(float(torch.corrcoef(torch.stack([first, common[:, 0]]))[0, 1])) > 0.99


def test_features_that_never_vary_and_rows_that_are_too_few_give_fewer_components() -> None:
    rows = torch.cat([noise(3, 2), torch.ones(3, 4, dtype=torch.float64)], dim=1)
    coordinates = principal_components(rows, 5).of(rows)
    assert coordinates.shape == (3, 2)
    assert bool(torch.isfinite(coordinates).all())


def test_products_tell_what_is_good_for_one_prompt_from_what_is_good_for_another() -> None:
    """A refusal is better than an answer where it is due and worse elsewhere: no rule on responses alone fits that."""
    due = torch.tensor([1.0, -1.0]).repeat(20)[:, None].double()
    refused, answered = torch.ones(40, 1).double(), -torch.ones(40, 1).double()
    preference = (due[:, 0] > 0).double()
    products = Products(principal_components(due, 1), principal_components(torch.cat([refused, answered]), 1))
    difference = products.beside(refused, due) - products.beside(answered, due)
    coefficients = fit_bradley_terry(difference, preference, torch.ones(40), strength=0.1)
    assert torch.equal(difference @ coefficients > 0, preference > 0.5)
    alone = fit_bradley_terry(refused - answered, preference, torch.ones(40), strength=0.1)
    assert float(alone.abs().max()) < 1e-9
