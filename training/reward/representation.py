"""What a linear model of preferences reads of a response: its features, and their products with those of its prompt.

What is good depends on what was asked: a refusal is right for one prompt and wrong for another. A linear model of the
response alone can't say so. Products of a few directions of prompts with a few of responses let it, at a price in
coefficients that few labels can pay.
"""

# B = responses, Q = prompts, F = response features, D = prompt features, K, L = components, I = F + K L, C = directions

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.algorithms.components import Components, deviations, principal_components
from training.reward.features import LIKELIHOOD_FEATURES

# A coefficient of a likelihood feature may be this much larger than one of a hidden unit at the same cost: seven
# numbers would else drown among hundreds. Chosen, as the next two, by cross-validated loss on training pairs.
LIKELIHOOD_SCALE = 3.0
PROMPT_COMPONENTS = 4
RESPONSE_COMPONENTS = 32


@dataclass(frozen=True, slots=True)
class Products:
    """Every component of a prompt times every component of a response."""

    prompts: Components
    responses: Components

    def beside(self, feature_BF: Tensor, prompt_BD: Tensor) -> Tensor:
        """The products, then the response features themselves: (B, I) float64."""
        prompt_BK, response_BL = self.prompts.of(prompt_BD), self.responses.of(feature_BF)
        product_BKL = prompt_BK[:, :, None] * response_BL[:, None, :]
        return torch.cat([product_BKL.flatten(1), feature_BF.double()], dim=1)


def products_of(feature_BF: Tensor, prompt_BD: Tensor) -> Products:
    """The directions in which these responses, and their prompts, vary most."""
    return Products(
        principal_components(prompt_BD, PROMPT_COMPONENTS), principal_components(feature_BF, RESPONSE_COMPONENTS)
    )


def scale_of(feature_BI: Tensor) -> Tensor:
    """(I,): by what a column is divided, its deviation; a likelihood's by less."""
    deviation_I = deviations(feature_BI).clamp(min=1e-6)
    deviation_I[-LIKELIHOOD_FEATURES:] /= LIKELIHOOD_SCALE
    return deviation_I


def directions(feature_BI: Tensor, prompt_B: Sequence[str], count: int) -> Tensor:
    """(I, C) float64, orthonormal: the C = min(count, I) directions in which responses to one prompt differ most.

    Preferences are between responses to one prompt, so that nothing is lost of what is the same for all of them. They
    are turned and not scaled: a ridge on the coordinates is the ridge on the features. With one response to each prompt
    the directions of all.
    """
    prompts = {prompt: number for number, prompt in enumerate(dict.fromkeys(prompt_B))}
    place_B = torch.tensor([prompts[prompt] for prompt in prompt_B])
    x_BI = feature_BI.double()
    if len(prompts) < len(place_B):
        sum_QI = torch.zeros(len(prompts), x_BI.shape[1], dtype=torch.float64).index_add_(0, place_B, x_BI)
        x_BI = x_BI - (sum_QI / place_B.bincount()[:, None])[place_B]
    else:
        x_BI = x_BI - x_BI.mean(0)
    direction_II: Tensor = torch.linalg.eigh(x_BI.T @ x_BI).eigenvectors
    return direction_II.flip(1)[:, :count]
