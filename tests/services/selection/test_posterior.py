"""The head on features: what judgements make of it, against the formulae of the reward model's teacher."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from app.services.selection.posterior import (
    FEWEST_TO_CHOOSE,
    STRENGTHS,
    USUAL_STRENGTH,
    Judged,
    fit,
    learn,
    suitable_strength,
)
from tests.services.selection.worlds import judge
from training.algorithms.probe import fit_bradley_terry


def test_without_lapses_the_mode_is_the_teachers_fit() -> None:
    judged = replace(judge(60, noise=0.1), weight_P=np.linspace(0.2, 2, 60))
    theirs = fit_bradley_terry(
        torch.tensor(judged.difference_PF),
        torch.tensor(judged.preference_P),
        torch.tensor(judged.weight_P),
        strength=3.0,
    )
    posterior = fit(judged, strength=3.0, lapse=0.0)
    np.testing.assert_allclose(posterior.mean_F, theirs.numpy(), atol=1e-5)


def test_the_covariance_is_the_inverse_curvature_at_the_mode() -> None:
    judged = judge(40)
    posterior = fit(judged, strength=2.0, lapse=0.0)
    sure = 1 / (1 + np.exp(-judged.difference_PF @ posterior.mean_F))
    curvature = (judged.difference_PF * (sure * (1 - sure))[:, None]).T @ judged.difference_PF + 2.0 * np.eye(6)
    np.testing.assert_allclose(posterior.covariance_FF @ curvature, np.eye(6), atol=1e-8)
    np.testing.assert_allclose(posterior.root() @ posterior.root().T, posterior.covariance_FF, atol=1e-10)


def test_who_may_have_lapsed_is_believed_less() -> None:
    judged = judge(40)
    sizes = [np.linalg.norm(fit(judged, strength=1.0, lapse=lapse).mean_F) for lapse in (0.0, 0.5)]
    assert sizes[1] < sizes[0]


def test_noise_asks_for_a_stronger_prior() -> None:
    assert suitable_strength(judge(200, noise=0.45)) > suitable_strength(judge(200, noise=0.0))


def test_the_prior_is_chosen_on_what_was_drawn_at_random_alone() -> None:
    drawn, chosen = judge(60, noise=0.3), judge(200, is_random=False, seed=2)
    both = Judged(*(np.concatenate([getattr(drawn, name), getattr(chosen, name)]) for name in vars(drawn)))
    assert suitable_strength(both) == suitable_strength(drawn)
    assert suitable_strength(chosen) == USUAL_STRENGTH
    assert suitable_strength(judge(FEWEST_TO_CHOOSE - 1)) == USUAL_STRENGTH
    assert suitable_strength(drawn) in STRENGTHS


@pytest.mark.parametrize("preference", [0.5, 1.0])
def test_ties_and_one_sided_people_give_a_finite_posterior(preference: float) -> None:
    judged = judge(30)
    posterior = learn(replace(judged, preference_P=np.full(30, preference), difference_PF=1e3 * judged.difference_PF))
    assert np.isfinite(posterior.mean_F).all()
    assert np.isfinite(posterior.draws(5, np.random.default_rng(0))).all()
