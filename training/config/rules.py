"""Which rules pay a response beside the reward model, or in its place."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from training.config.values import ConfigError, Count

BUILT_IN = ("pattern", "length", "json")


@dataclass(frozen=True, kw_only=True)
class RewardRules:
    """Rules in Python, each with a weight; formulae are in docs/training.md."""

    weights: Mapping[str, float] = field(default_factory=dict)
    """What a rule's value is multiplied by, by its name: `pattern`, `length`, `json`, or `module:function`, which the
    installation has to allow by PLUMBLINE_REWARD_FUNCTIONS."""
    pattern: str | None = None
    """A regular expression: 1 where it is found in a response, else 0."""
    length: Count = 50
    """What a response should be long: 0 there, and -1 where it is off by as much or more."""
    length_in: Literal["words", "tokens"] = "words"
    json_keys: str = ""
    """Keys, with commas between them, that a response has to have beside being JSON to get 1, not 0; empty: any JSON is
    enough."""

    @property
    def required_keys(self) -> tuple[str, ...]:
        return tuple(key.strip() for key in self.json_keys.split(",") if key.strip())

    def __post_init__(self) -> None:
        for name, weight in self.weights.items():
            if name not in BUILT_IN and not re.fullmatch(r"\w+(\.\w+)*:\w+", name):
                raise ConfigError("rules.weights", "%(rule)s is no rule", rule=name)
            if weight == 0:
                raise ConfigError("rules.weights", "the weight of %(rule)s is 0", rule=name)
        if "pattern" in self.weights and self.pattern is None:
            raise ConfigError("rules.pattern", "needed for the rule of that name")
        if self.pattern is not None:
            import regex  # here alone: whoever reads settings would else wait for it

            try:
                regex.compile(self.pattern)
            except (regex.error, RecursionError, OverflowError) as error:
                raise ConfigError("rules.pattern", "is no regular expression: %(error)s", error=str(error)) from None
