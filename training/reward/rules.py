"""Rules that pay a response for what can be checked: a reward without a model, or beside one.

The installation says which functions of Python may be called, in PLUMBLINE_REWARD_FUNCTIONS: whoever may change a
project's settings may not run whatever code lies on the machine.
"""

# B = batch

import importlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import regex
import torch
from torch import Tensor

from training.config import InputError, RewardRules
from training.data.examples import Prompt
from training.records import Conversation
from training.responses.written import WrittenResponse

ALLOWED = "PLUMBLINE_REWARD_FUNCTIONS"
PATTERN_SECONDS = 1.0
"""For one response: an expression that goes back and forth without end is no rule."""

RewardFunction = Callable[[Sequence[Conversation], Sequence[str]], Sequence[float]]
"""Values of responses to conversations, the better the higher: what a function of one's own has to be."""
Rule = Callable[[Sequence[Prompt], Sequence[WrittenResponse]], Sequence[float]]


class Rules:
    """All rules of a run. As a reward by itself, the weighted sum of what they say."""

    def __init__(self, config: RewardRules) -> None:
        """Raises `InputError` for a function that isn't allowed or isn't there."""
        self.weights = config.weights
        self._rules = {name: _rule(name, config) for name in config.weights}

    def __call__(self, prompts: Sequence[Prompt], responses: Sequence[WrittenResponse]) -> Tensor:
        return self.sum(self.values(prompts, responses))

    def values(self, prompts: Sequence[Prompt], responses: Sequence[WrittenResponse]) -> dict[str, Tensor]:
        """(B,) by rule, before its weight. Raises `InputError` for what is no finite number."""
        return {name: _checked(name, rule(prompts, responses), len(responses)) for name, rule in self._rules.items()}

    def sum(self, values: Mapping[str, Tensor]) -> Tensor:
        """(B,) values times their weights."""
        return torch.stack([self.weights[name] * value_B for name, value_B in values.items()]).sum(0)


def rules_of(config: RewardRules) -> Rules | None:
    """None where there are none."""
    return Rules(config) if config.weights else None


def _rule(name: str, config: RewardRules) -> Rule:
    match name:
        case "pattern":
            return _pattern(cast(str, config.pattern))
        case "length":
            return _length(config.length, of_tokens=config.length_in == "tokens")
        case "json":
            return _json(config.required_keys)
        case _:
            return _function(name)


def _pattern(pattern: str) -> Rule:
    expression = regex.compile(pattern)

    def found(text: str) -> float:
        try:
            return float(expression.search(text, timeout=PATTERN_SECONDS) is not None)
        except TimeoutError:
            raise InputError(f"rules.pattern took more than {PATTERN_SECONDS:g} s on a response") from None

    return lambda _, responses: [found(response.text) for response in responses]


def _length(target: int, *, of_tokens: bool) -> Rule:
    def length(response: WrittenResponse) -> int:
        return len(response.sampled.token_ids) if of_tokens else len(response.text.split())

    return lambda _, responses: [max(-1.0, -abs(length(response) - target) / target) for response in responses]


def _json(keys: Sequence[str]) -> Rule:
    def is_valid(text: str) -> bool:
        try:
            content = json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return False
        return not keys or (isinstance(content, dict) and all(key in content for key in keys))

    return lambda _, responses: [float(is_valid(response.text)) for response in responses]


def _refuse(constant: str) -> None:
    """NaN and the infinities, which Python reads and JSON hasn't."""
    raise ValueError(constant)


def _function(name: str) -> Rule:
    allowed = [one.strip() for one in os.environ.get(ALLOWED, "").split(",")]
    if name not in allowed:
        raise InputError(f"{name} is not among the functions that {ALLOWED} allows")
    module, _, attribute = name.partition(":")
    try:
        function = cast(RewardFunction, getattr(importlib.import_module(module), attribute))
    except Exception as error:  # a module of other people's may raise anything as it is read
        raise InputError(f"cannot load {name}: {error}") from error

    def call(prompts: Sequence[Prompt], responses: Sequence[WrittenResponse]) -> Sequence[float]:
        try:
            return function([prompt.conversation for prompt in prompts], [response.text for response in responses])
        except Exception as error:  # and when it is called
            raise InputError(f"{name} failed: {type(error).__name__}: {error}") from error

    return call


def _checked(name: str, values: Sequence[float], count: int) -> Tensor:
    try:
        value_B = torch.tensor([float(value) for value in values])
    except (TypeError, ValueError):
        raise InputError(f"the rule {name} gave something else than numbers") from None
    if len(value_B) != count:
        raise InputError(f"the rule {name} gave {len(value_B)} values for {count} responses")
    if not bool(torch.isfinite(value_B).all()):
        raise InputError(f"the rule {name} gave a value that is not finite")
    return value_B
