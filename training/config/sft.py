"""Settings of supervised fine-tuning."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from models.architecture import Architecture
from training.config.by_model import power, step
from training.config.learning import ShardableConfig
from training.config.values import ConfigError, Count, Fraction, NonNegative, Positive, Range


@dataclass(frozen=True, kw_only=True)
class SftConfig(ShardableConfig):
    """Supervised fine-tuning on demonstrations, EOS included."""

    demonstrations: Path
    held_out: Path | None = None
    model: str | None = None
    architecture: Architecture = field(default_factory=Architecture)
    loss: Literal["response", "assistant", "full"] = "response"
    """Of which tokens: the response's, with the prompt as context; those of every turn of the assistant; or the whole
    prompt's too (Huang et al. 2024, code). The held-out loss is the response's in all."""
    packing: bool = False
    """Fill rows with several demonstrations, each blind to the others, instead of batching similar lengths."""
    epochs: Count = 3
    max_tokens: Annotated[int, Range(minimum=0)] = 0
    """Prompt and response tokens to train on at most; 0 leaves the length to `epochs`."""
    batch_tokens: Count = step(768, 4096)
    """Prompt and response tokens of one optimiser step, padding included."""
    micro_batch_tokens: Count = step(2048, 512)
    """As many that are trained at once; has no effect on the result."""
    max_length: Count = step(512, 1024)
    """Longer demonstrations are dropped and counted, never cut: a cut response would have no end to learn."""
    learning_rate: Positive = power(3e-4, 2e-5, adapters=2e-4, untrained=(3e-3, 2e-4))
    warmup_fraction: Fraction = 0.05
    adam_epsilon: Positive = 1e-8
    weight_decay: NonNegative = 0.01
    checkpoint_steps: Count = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, number in asdict(self.architecture).items():
            if number < 1:
                key = f"architecture.{name}"
                raise ConfigError(key, "must be at least %(minimum)s, not %(value)s", minimum=1, value=number)
        if self.architecture.hidden_size % (2 * self.architecture.heads):
            raise ConfigError("architecture.hidden_size", "must be a multiple of twice architecture.heads")
