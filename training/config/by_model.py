"""Defaults that the model decides: what is good for a million parameters ruins a billion.

A rule knows two values: one measured on the starter, for models up to its size, and one that was published for models
of a billion parameters and more. docs/training.md has the sources.
"""

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar, cast

from training.config.stage import StageConfig

ConfigT = TypeVar("ConfigT", bound=StageConfig)

SMALL = 1_200_000
"""Parameters up to which a model is one of the starter's kind."""
ADAPTED = 100_000_000
"""From here on adapters learn, and texts are as long as in chats."""
LARGE = 1_000_000_000
"""From here on the published values hold."""


@dataclasses.dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the rules ask of a model. One that a run makes from nothing was not trained before."""

    parameters: int
    was_trained: bool = True
    adapters_learn: bool = False


class ByModel:
    """Stands in a setting's place until `settled` has asked its rule; to decide or to compute by it is an error.

    Not a dataclass, because those are taken apart where settings become JSON.
    """

    def __init__(self, rule: Callable[[ModelFacts], float], words: str) -> None:
        self.value_for = rule
        self._words = words

    def __str__(self) -> str:
        return self._words

    def __deepcopy__(self, _: object) -> "ByModel":
        return self

    def __bool__(self) -> NoReturn:
        raise TypeError("a setting that the model decides was used before it was settled")


def power(
    small: float, large: float, *, adapters: float | None = None, untrained: tuple[float, float] | None = None
) -> Any:
    """A value that changes as a power of the parameters from `small` at `SMALL` to `large` at `LARGE`, and no further
    outside of them. `adapters` is in the place of `large` where they learn, `untrained` in that of both for a model
    from nothing."""

    def rule(facts: ModelFacts) -> float:
        first, last = small, adapters if adapters is not None and facts.adapters_learn else large
        if untrained is not None and not facts.was_trained:
            first, last = untrained
        # Not by the formula below: the starter's values come out to the last bit.
        if facts.parameters <= SMALL:
            return first
        if facts.parameters >= LARGE:
            return last
        way = math.log(facts.parameters / SMALL) / math.log(LARGE / SMALL)
        return float(f"{first * (last / first) ** way:.2g}")

    words = [f"{_said(small)} to {_said(large)}"]
    words += [f"adapters to {_said(adapters)}"] if adapters is not None else []
    words += [f"untrained {_said(untrained[0])} to {_said(untrained[1])}"] if untrained is not None else []
    return ByModel(rule, "; ".join(words))


def step(small: float, large: float, *, untrained: float | None = None) -> Any:
    """`large` from `ADAPTED` parameters on, `small` below; `untrained` at any size for a model from nothing."""

    def rule(facts: ModelFacts) -> float:
        if untrained is not None and not facts.was_trained:
            return untrained
        return large if facts.parameters >= ADAPTED else small

    words = [f"{small:g}, then {large:g}"]
    words += [f"untrained {untrained:g}"] if untrained is not None else []
    return ByModel(rule, "; ".join(words))


def _said(value: float) -> str:
    return f"{value:g}" if value >= 0.01 else f"{value:.0e}".replace("e-0", "e-")


def settled(config: ConfigT, choice: Mapping[str, float]) -> ConfigT:
    """The settings with what was chosen in the places that were left to the model."""
    done = copy.copy(config)
    for name, value in choice.items():
        # Past the checks of what goes together, which are of what was given: a choice is no wish that could be refused.
        object.__setattr__(done, name, value)
    return done


def chosen(settings: Mapping[str, object], facts: ModelFacts) -> dict[str, float]:
    """What the model decides of these settings, by name: of those that are a rule."""
    rules = {name: value for name, value in settings.items() if isinstance(value, ByModel)}
    rank = cast(float | ByModel, settings.get("lora_rank", 0))
    if isinstance(rank, ByModel):
        rank = rank.value_for(facts)
    asked = dataclasses.replace(facts, adapters_learn=rank > 0)
    return {name: rule.value_for(asked) for name, rule in rules.items()}
