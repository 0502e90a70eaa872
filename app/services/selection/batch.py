"""One batch: what is asked next, by which rule, and why not by the one that was wanted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.phrases import phrase
from app.services.selection.arrays import Whole
from app.services.selection.pool import NONE, Pool
from app.services.selection.posterior import Judged, Posterior, learn
from app.services.selection.rules import RULES, Pick, balanced

NOTHING_SAID = phrase("Nobody has judged anything yet that the model could learn from.")
NOT_TOLD_APART = phrase("What people said doesn't tell the model anything that it could go by.")
ALL_ALIKE = phrase("The responses to choose from are all alike to the model.")
FALLBACK = "balanced"


@dataclass(frozen=True)
class Batch:
    """What to ask, in order; `why` says in words why `rule` is not the one that was wanted."""

    picks: Sequence[Pick]
    rule: str
    why: str | None = None
    posterior: Posterior | None = None


def choose(
    name: str, pool: Pool, judged: Judged, *, size: int, count: int, asked_T: Whole, rng: np.random.Generator
) -> Batch:
    """Pick by the rule of that name, or at random and balanced over topics where it has nothing to go by."""

    def at_random(why: str | None) -> Batch:
        picks = balanced(pool, None, size=size, count=count, asked_T=asked_T, rng=rng)
        return Batch(picks, FALLBACK, why)

    rule = RULES[name]
    if rule.choose is None or not rule.learns:
        return at_random(None)
    if not len(judged):
        return at_random(NOTHING_SAID)
    if not _differs(pool):
        return at_random(ALL_ALIKE)
    try:
        posterior = learn(judged)
    except np.linalg.LinAlgError:
        return at_random(NOT_TOLD_APART)
    if not (np.isfinite(posterior.mean_F).all() and np.isfinite(posterior.covariance_FF).all()):
        return at_random(NOT_TOLD_APART)
    picks = rule.choose(pool, posterior, size=size, count=count, asked_T=asked_T, rng=rng)
    return Batch(picks, name, None, posterior)


def _differs(pool: Pool) -> bool:
    """Whether any two responses to one prompt have different features."""
    for of_prompt in pool.row_PK:
        rows = of_prompt[of_prompt != NONE]
        if len(rows) > 1 and bool((pool.feature_NF[rows[1:]] != pool.feature_NF[rows[0]]).any()):
            return True
    return False
