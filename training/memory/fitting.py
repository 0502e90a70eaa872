"""Whether a stage fits into the memory that there is, and which settings would make it fit."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from models.choices import QUANTISED
from training.config.by_model import LARGE
from training.config.learning import can_quantise
from training.memory.estimate import Settings, Texts, estimate
from training.memory.shape import ModelShape

CERTAIN = 0.75
"""A stage is refused where less than this share of the estimate is free: estimates are held within 25 % of what runs
took, so that a run that would have fitted isn't refused."""

_MICRO_TOKENS = (2048, 1024, 512, 256, 128)
_ROWS = (64, 32, 16, 8, 4, 1)
_LESS: tuple[tuple[str, object, object], ...] = (
    ("lora_rank", 0, 8), ("critic", "separate", "adapter"), ("weights", "usual", "bfloat16"),
    ("weights", "float32", "bfloat16"), ("gradient_checkpointing", False, True), ("weights", "usual", "nf4"),
    ("weights", "float32", "nf4"), ("weights", "bfloat16", "nf4"), ("publish_as", "merged", "adapter"),
)  # fmt: skip
"""Settings that take less than the usual value, in the order in which they are tried."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What a stage takes, and where that is too much the nearest settings with which it would fit, and what it takes
    then; None where none would."""

    stage: str
    bytes: int
    free: int
    changes: Mapping[str, object] | None
    changed_bytes: int = 0

    @property
    def fits(self) -> bool:
        return self.bytes <= self.free

    @property
    def is_refused(self) -> bool:
        return CERTAIN * self.bytes > self.free


def fit(stage: str, shape: ModelShape, settings: Settings, *, free: int, texts: Texts, threads: int) -> Fit | None:
    """None for a stage that there is no formula for."""

    def taken(changes: Mapping[str, object]) -> int:
        found = estimate(stage, shape, {**settings, **changes}, texts=texts, threads=threads)
        return found.bytes if found is not None else 0

    wanted = taken({})
    if not wanted:
        return None
    if wanted <= free:
        return Fit(stage, wanted, free, {})
    is_usual = settings.get("weights") == "usual" and shape.parameters >= LARGE
    ways = {
        "bfloat16": shape.in_bfloat16 and not is_usual,
        "nf4": "lora_rank" in settings and can_quantise(),
    }
    for changes in _nearest_first(settings, [way for way, is_open in ways.items() if is_open]):
        if taken(changes) <= free:
            return Fit(stage, wanted, free, changes, taken(changes))
    return Fit(stage, wanted, free, None)


def _nearest_first(settings: Settings, ways: Sequence[str]) -> Iterator[dict[str, object]]:
    """Micro-batches change no result, so they come first; then adapters, a critic of adapters, weights held in bfloat16
    where they came so, layers that are computed twice, and weights in 4 bits, of which adapters by themselves can be
    published in less. Responses that are written at once are the last that is left. `ways` are those in which weights
    may be held."""
    smaller = list(_smaller(settings))
    yield from smaller
    base: dict[str, object] = {}
    for name, usual, less in _LESS:
        if settings.get(name) != usual or (name == "weights" and less not in ways):
            continue
        if settings.get("shard_weights") and name != "gradient_checkpointing":  # all of it learns, in float32
            continue
        if name == "publish_as" and base.get("weights", settings.get("weights")) not in QUANTISED:
            continue
        base |= {name: less}
        yield dict(base)
        yield from ({**base, **change} for change in smaller)
    if isinstance(settings.get("detector_responses"), int):
        yield {**base, "batch_size": 16, "minibatch_size": 16, "detector_responses": 16}


def _smaller(settings: Settings) -> Iterator[dict[str, object]]:
    for name, ladder in (("micro_batch_tokens", _MICRO_TOKENS), ("batch_tokens", _MICRO_TOKENS), ("batch_size", _ROWS)):
        now = settings.get(name)
        # The first of them that a stage has decides how much it holds at once.
        if isinstance(now, int):
            for value in ladder:
                if value < now:
                    yield {name: value}
            return
