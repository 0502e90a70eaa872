"""Settings of taking a model over as it is."""

from dataclasses import dataclass

from training.config.stage import StageConfig


@dataclass(frozen=True, kw_only=True)
class AdoptConfig(StageConfig):
    """A model that somebody else has trained, to be a policy without learning anything."""

    model: str
    """A directory or hub id."""
