"""Settings of Kahneman-Tversky optimisation."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from training.algorithms.choices import UnpairedLoss
from training.config.by_model import power, step
from training.config.learning import LearningConfig
from training.config.values import Count, Fraction, NonNegative, Positive, Range


@dataclass(frozen=True, kw_only=True)
class KtoConfig(LearningConfig):
    """Kahneman-Tversky optimisation: the policy learns from responses that were judged by themselves, desirable or not.
    Ethayarajh et al. 2024."""

    policy: str
    """Where training starts."""
    reference: str | None = None
    """What the policy is held near; None is the policy as it starts."""
    responses: Path
    loss: UnpairedLoss = "kto"
    """`kto` compares a response with how far the policy has moved on others, Ethayarajh et al. 2024, eq. 7;
    `apo_zero_unpaired` with nothing, for responses that are better than the policy's own, D'Oosterlinck et al. 2024."""
    beta: Positive = 0.1
    """How soon a response has been learnt, and so how strongly the policy is held near the reference; 0.1 as in
    Ethayarajh et al. 2024."""
    desirable_weight: Positive | None = None
    """What the loss of desirable responses is multiplied by; None makes both kinds count alike, whichever there is more
    of: the lower end of the range in Ethayarajh et al. 2024, eq. 8."""
    undesirable_weight: Positive | None = None
    """As `desirable_weight`. Where both are None the kind that there is more of keeps 1."""
    temperature: Positive = 1.0
    """As DPO's: the paper scores responses at 1."""
    reference_cache: Path | None = None
    """Folder of the reference's log-probabilities, shared between runs; None keeps them in the run's own."""
    epochs: Count = 1
    batch_size: Annotated[int, Range(minimum=2)] = 32
    """Responses of one optimiser step, 32 as in Ethayarajh et al. 2024; those of two prompts at least are needed to say
    how far the policy has moved."""
    micro_batch_tokens: Count = step(2048, 512)
    """Prompt and response tokens, padding included, that are trained at once; has no effect on the result."""
    max_length: Count = step(512, 1024)
    """Longer responses, with their prompts, are dropped and counted, never cut."""
    learning_rate: Positive = power(1e-3, 1e-6, adapters=1e-5)
    warmup_fraction: Fraction = 0.1
    adam_epsilon: Positive = 1e-8
    weight_decay: NonNegative = 0.0
    checkpoint_steps: Count = 25
