"""Principal components: the directions in which features vary most."""

# B = rows, F = features, K = components

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Components:
    """A linear map to coordinates of mean 0 and deviation 1 over the rows that it was made from."""

    mean_F: Tensor
    map_FK: Tensor

    def of(self, feature_BF: Tensor) -> Tensor:
        """(B, K) float64 coordinates of (B, F) features."""
        return (feature_BF.double() - self.mean_F) @ self.map_FK


def deviations(x_BF: Tensor) -> Tensor:
    """(F,) of columns, over B - 1; of a single row none."""
    return x_BF.std(0, correction=min(1, len(x_BF) - 1))


def principal_components(feature_BF: Tensor, count: int) -> Components:
    """The first `count` components of standardised features, or as many as there are."""
    x_BF = feature_BF.double()
    mean_F, deviation_F = x_BF.mean(0), deviations(x_BF).clamp(min=1e-6)
    standard_BF = (x_BF - mean_F) / deviation_F
    _, _, direction_KF = torch.linalg.svd(standard_BF, full_matrices=False)
    map_FK = direction_KF[:count].T / deviation_F[:, None]
    spread_K = deviations((x_BF - mean_F) @ map_FK)
    kept_K = spread_K > 1e-6
    return Components(mean_F, map_FK[:, kept_K] / spread_K[kept_K])
