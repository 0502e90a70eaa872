"""Responses of a policy, of which each process of a run writes its share."""

from collections.abc import Sequence

from models.backbone import LanguageModel
from models.generation import NO_FILTERS, Filters, Response, sample_responses
from training.runtime.ranks import ranks


def shared_responses(
    policy: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    batch_size: int = 128,
    filters: Filters = NO_FILTERS,
    stop: Sequence[str] = (),
) -> list[Response]:
    """What `sample_responses` gives, up to rounding: a prompt's random numbers are its own, whoever answers it."""
    own = sample_responses(
        policy,
        prompts,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        batch_size=batch_size,
        filters=filters,
        stop=stop,
        rows=ranks().share(range(len(prompts))),
    )
    return ranks().in_order(own)
