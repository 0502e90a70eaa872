"""What settings choose of a model by name, declared without torch, for settings load none."""

from typing import Literal

ReadOutKind = Literal["mean", "worst", "conservative"]
"""How the scores of several heads become one."""

AdapterTargets = Literal["all", "attention"]
"""Which linear layers of a trunk get adapters."""
