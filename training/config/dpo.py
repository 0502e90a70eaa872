"""Settings of direct preference optimisation."""

from dataclasses import dataclass
from pathlib import Path

from training.algorithms.choices import DirectLoss
from training.config.by_model import power, step
from training.config.learning import ShardableConfig
from training.config.values import ConfigError, Count, Fraction, LabelNoise, NonNegative, Positive


@dataclass(frozen=True, kw_only=True)
class DpoConfig(ShardableConfig):
    """Direct preference optimisation: the policy learns from pairs, without a reward model. Rafailov et al. 2023."""

    policy: str
    """Where training starts."""
    reference: str | None = None
    """What the policy is held near; None is the policy as it starts."""
    preferences: Path
    loss: DirectLoss = "sigmoid"
    """`sigmoid` is DPO, Rafailov et al. 2023, eq. 7; `ipo` regresses on a margin and so can't run away from pairs that
    everybody agrees on, Azar et al. 2023, eq. 17; `robust` corrects for labels that are wrong at a known rate,
    Chowdhury et al. 2024."""
    beta: Positive = 0.1
    """How strongly the policy is held near the reference, 0.1 as in Rafailov et al. 2023; IPO's tau."""
    label_noise: LabelNoise = 0.0
    """The share of judgements that are the wrong way round. `sigmoid` and `ipo` become less certain of all of them
    (conservative DPO, Mitchell 2023), `robust` takes their expected effect out of the loss, and needs it above 0."""
    sft_coefficient: NonNegative = 0.0
    """Weight of the preferred response's negative log-likelihood per token beside the loss, the `rpo_alpha` of TRL.
    Pang et al. 2024."""
    temperature: Positive = 1.0
    """Not the 0.7 of the other stages: the papers score responses at 1."""
    reference_cache: Path | None = None
    """Folder of the reference's log-probabilities, shared between runs; None keeps them in the run's own."""
    epochs: Count = 1
    batch_tokens: Count = step(2048, 8192)
    """Prompt and response tokens of one optimiser step, both sides and padding included."""
    micro_batch_tokens: Count = step(2048, 512)
    """As many that are trained at once; has no effect on the result."""
    max_length: Count = step(512, 1024)
    """Pairs with a longer side are dropped and counted, never cut."""
    learning_rate: Positive = power(3e-4, 5e-7, adapters=5e-6)
    warmup_fraction: Fraction = 0.1
    adam_epsilon: Positive = 1e-8
    weight_decay: NonNegative = 0.0
    checkpoint_steps: Count = 25

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss == "robust" and self.label_noise == 0:
            raise ConfigError(
                "label_noise", "must be above 0 for the robust loss, which is the sigmoid loss without it"
            )
