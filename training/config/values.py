"""What a setting may be, and the errors of what it may not."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal


class ConfigError(ValueError):
    """A setting that cannot be used; the message names its key.

    `template` is the message before `named` is filled in, so that whoever shows it can translate it.
    """

    def __init__(self, settings: str, reason: str, **named: object) -> None:
        """`settings` are the keys; `%(name)s` in the reason stands for what is given by that name."""
        self.settings = settings
        self.template = f"%(settings)s: {reason}"
        self.named: dict[str, object] = {"settings": settings, **named}
        super().__init__(self.template % self.named)


class InputError(ValueError):
    """Data, a model or a folder that cannot be used; the message is one line for the person who started the run."""


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds of a number: `above` is exclusive, `minimum` and `maximum` are inclusive."""

    minimum: float = -math.inf
    maximum: float = math.inf
    above: float = -math.inf


Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(minimum=0)]
Fraction = Annotated[float, Range(minimum=0, maximum=1)]
Count = Annotated[int, Range(minimum=1)]
Seed = Annotated[int, Range(minimum=0, maximum=2**63 - 1)]
LabelNoise = Annotated[float, Range(minimum=0, maximum=0.49)]
Precision = Literal["float32", "bfloat16", "fastest"]
