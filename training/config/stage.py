"""What the settings of every stage have."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from training.config.values import Count, Positive, Seed

WHOLE = frozenset({"adopt", "embed"})
"""Stages that one process does whole."""


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """What every stage has. `temperature` divides the logits wherever a policy samples or is scored, 0.7 as in
    Stiennon et al. 2020. `checkpoint_steps` counts optimiser steps (iterations in PPO, batches in generation)."""

    seed: Seed
    checkpoint_seconds: Positive = 300.0
    """A checkpoint is written at the end of a step, too, when the last one is so old: what steps take differs between
    models. No effect on the result."""
    chat_template_kwargs: Mapping[str, object] = field(default_factory=dict)
    """Variables of the chat template by name, `enable_thinking` = false for instance. They are written into the
    template of what is published, so that every later stage and any other tool renders alike."""
    system_turns: Literal["template", "fold"] = "template"
    """`fold` makes a system's turn the beginning of the first user's, for templates that refuse one; else prompts that
    a template refuses are left out and counted. Kept like `chat_template_kwargs`."""
    tensorboard: bool = False
    """Write events for TensorBoard into the run's folder too; needs the package of that name."""
    processes: Count | None = None
    """Processes that share the run's work: of a machine's processors, or each with a GPU. Null: as many as the
    installation says, one by itself. A run may go on with another number; results differ by rounding at most."""
    process_wait_seconds: Positive = 1800.0
    """How long one process waits for another before the run ends with exit code 1, to be taken up again."""
