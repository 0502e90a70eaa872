"""What settings choose of a model by name, declared without torch, for settings load none."""

from typing import Literal

ReadOutKind = Literal["mean", "worst", "conservative"]
"""How the scores of several heads become one."""

AdapterTargets = Literal["all", "attention"]
"""Which linear layers of a trunk get adapters."""

Holding = Literal["bfloat16", "int8", "nf4"]
"""In what the weights of frozen linear layers are held."""

QUANTISED: tuple[Holding, ...] = ("int8", "nf4")
"""Those that say something else than the file."""
