"""Kinds of simulated people, beside those who go by the gold rule and press the wrong side now and then."""

import math
import random
from collections.abc import Mapping
from typing import Literal

from app.simulation.annotator import LETTERS, Answer, AnswersByGold
from app.simulation.page import SeenTask

Kind = Literal["noisy", "lazy", "sided", "adversarial", "different"]
People = Literal["noisy", "mixed"]

MIXED: tuple[Kind, ...] = (
    *("noisy", "sided", "noisy", "lazy", "noisy", "adversarial", "noisy"),
    *("different", "noisy", "lazy", "noisy", "sided", "noisy"),
)
"""Thirteen people: seven noisy, two lazy, two sided, one adversarial, one different."""
SIDED_SHARE = 0.5
"""Of tasks on which a sided person doesn't look."""
WORDS_OF_A_LEVEL = 8
"""Words that a response has to be shorter by to be one level better to who is different."""


def answers_of(kind: Kind, *, noise: float, seed: int, annotator: int) -> Answer:
    """How somebody of this kind answers. All but the lazy press the wrong side with probability `noise`."""
    match kind:
        case "lazy":
            return _first
        case "sided":
            return _Sided(noise=noise, seed=seed, annotator=annotator)
        case "adversarial":
            return _Adversarial(noise=noise, seed=seed, annotator=annotator)
        case "different":
            return _Different(noise=noise, seed=seed, annotator=annotator)
        case _:
            return AnswersByGold(noise=noise, seed=seed, annotator=annotator)


def reliability_of(kind: Kind, noise: float) -> float | None:
    """How often such a person says what is true where no side draws them, as `selection.habits` has it; None for who
    has another truth.

    There the log odds of “the first” are a + b where the better response stands first, a - b where it stands second:
    the mean of both is a.
    """
    looks = 1.0 if kind == "noisy" else 1 - SIDED_SHARE
    match kind:
        case "lazy":
            return 0.5
        case "different":
            return None
        case "adversarial":
            return noise
        case _:
            first, second = 1 - looks + looks * (1 - noise), looks * (1 - noise)
            return 1 / (1 + math.exp(-(_odds(first) + _odds(second)) / 2))


def _odds(chance: float) -> float:
    held = min(max(chance, 1e-9), 1 - 1e-9)
    return math.log(held / (1 - held))


def _first(task: SeenTask) -> Mapping[str, str]:
    """What stands first, always, and as it is."""
    safe = {"safe_a": "yes", "safe_b": "yes", "less_harmful": "tie"} if task.asks_harm else {}
    if len(task.responses) == 2:
        return {"choice": "1", **safe}
    if task.answer_type == "best":
        return {"best": LETTERS[0]}
    return {f"rank_{LETTERS[pane]}": str(pane + 1) for pane in range(len(task.responses))}


class _Sided(AnswersByGold):
    """Looks at half of the tasks."""

    def __call__(self, task: SeenTask) -> Mapping[str, str]:
        draw = random.Random("\0".join((self._seed, "side", task.prompt, *sorted(task.responses))))
        return _first(task) if draw.random() < SIDED_SHARE else super().__call__(task)


class _Adversarial(AnswersByGold):
    """Says the opposite."""

    def _score(self, task: SeenTask, pane: int) -> float:
        return -super()._score(task, pane)

    def _preference(self, task: SeenTask, first: int, second: int) -> int:
        return -super()._preference(task, first, second)


class _Different(AnswersByGold):
    """Likes what is short, whatever it says."""

    def _score(self, task: SeenTask, pane: int) -> float:
        return -float(len(task.responses[pane].split()))

    def _preference(self, task: SeenTask, first: int, second: int) -> int:
        levels = (self._score(task, first) - self._score(task, second)) / WORDS_OF_A_LEVEL
        return max(-3, min(3, int(levels)))
