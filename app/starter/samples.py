"""What the starter gives to the loop: demonstrations, first comparisons and held-out pairs."""

import random
from collections.abc import Iterator, Mapping, Sequence

from app.starter.prompts import StarterPrompt, catalogue
from app.starter.responses import DEFAULT_WEIGHTS, StarterResponse, draw_response
from app.starter.subject import Subject

Comparison = tuple[StarterPrompt, StarterResponse, StarterResponse]


def demonstrations(
    seed: int, per_prompt: int, weights: Mapping[str, float] = DEFAULT_WEIGHTS
) -> Iterator[tuple[StarterPrompt, StarterResponse]]:
    """`per_prompt` responses to every train prompt, of mixed quality, in passes over all prompts."""
    rng = random.Random(f"demonstrations {seed}")
    train = [pair for pair in catalogue() if pair[0].split == "train"]
    for _ in range(per_prompt):
        for prompt, subject in train:
            yield prompt, draw_response(subject, rng, weights)


def comparisons(seed: int, count: int, weights: Mapping[str, float] = DEFAULT_WEIGHTS) -> list[Comparison]:
    """Pairs of different responses to train prompts; no prompt comes again before all others have come."""
    train = [pair for pair in catalogue() if pair[0].split == "train"]
    return _pairs(train, count, random.Random(f"comparisons {seed}"), weights)


def held_out_pairs(seed: int, count: int, weights: Mapping[str, float] = DEFAULT_WEIGHTS) -> list[Comparison]:
    """Pairs of different responses to held-out prompts, those of the held-out topics among them."""
    held_out = [pair for pair in catalogue() if pair[0].split == "held_out"]
    return _pairs(held_out, count, random.Random(f"held-out pairs {seed}"), weights)


def _pairs(
    pool: Sequence[tuple[StarterPrompt, Subject]], count: int, rng: random.Random, weights: Mapping[str, float]
) -> list[Comparison]:
    found: list[Comparison] = []
    while len(found) < count:
        for prompt, subject in rng.sample(pool, min(len(pool), count - len(found))):
            one = other = draw_response(subject, rng, weights)
            while other.text == one.text:
                other = draw_response(subject, rng, weights)
            found.append((prompt, one, other))
    return found
