"""Small worlds for selection: responses as points, and people who know which way is better."""

import numpy as np

from app.services.selection.arrays import Floats
from app.services.selection.pool import Pool, pool_of
from app.services.selection.posterior import Judged


def make_pool(prompts: int = 12, samples: int = 4, features: int = 6, seed: int = 0) -> Pool:
    """Ragged: every third prompt has one response less."""
    rng = np.random.default_rng(seed)
    rows, made = [], 0
    for prompt in range(prompts):
        count = samples - (prompt % 3 == 2)
        rows.append(range(made, made + count))
        made += count
    return pool_of(
        rng.standard_normal((made, features)).astype(np.float32),
        rows,
        [prompt % 4 for prompt in range(prompts)],
        [f"text {row}" for row in range(made)],
    )


def judge(pairs: int, features: int = 6, *, noise: float = 0.0, is_random: bool = True, seed: int = 1) -> Judged:
    """Pairs of which the one further along the first feature is better."""
    rng = np.random.default_rng(seed)
    difference_PF: Floats = rng.standard_normal((pairs, features))
    preference_P = (difference_PF[:, 0] > 0) != (rng.random(pairs) < noise)
    return Judged(
        difference_PF, preference_P.astype(float), np.ones(pairs), np.arange(pairs), np.full(pairs, is_random)
    )
