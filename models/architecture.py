"""The shape of a model that is trained from nothing."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Architecture:
    """A small Llama; the defaults make about one million parameters."""

    hidden_size: int = 128
    layers: int = 4
    heads: int = 4
    intermediate_size: int = 320
    vocab_size: int = 2000
    max_positions: int = 512
