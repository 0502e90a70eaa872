"""What the settings of every stage have."""

from dataclasses import dataclass

from training.config.values import Positive, Seed


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """What every stage has. `temperature` divides the logits wherever a policy samples or is scored, 0.7 as in
    Stiennon et al. 2020. `checkpoint_steps` counts optimiser steps (iterations in PPO, batches in generation)."""

    seed: Seed
    checkpoint_seconds: Positive = 300.0
    """A checkpoint is written at the end of a step, too, when the last one is so old: what steps take differs between
    models. No effect on the result."""
    tensorboard: bool = False
    """Write events for TensorBoard into the run's folder too; needs the package of that name."""
