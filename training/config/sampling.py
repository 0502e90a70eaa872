"""Settings of the two stages that only sample: generate and evaluate."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from training.config.by_model import step
from training.config.engine import EngineName
from training.config.stage import StageConfig
from training.config.values import ConfigError, Count, Fraction, Positive, Range


@dataclass(frozen=True, kw_only=True)
class SamplingConfig(StageConfig):
    """What a policy may write, beside its temperature. PPO has none of it: its ratios and its KL are of the whole
    distribution."""

    top_k: Annotated[int, Range(minimum=0)] = 0
    """Draw among so many of the likeliest tokens; 0: among all."""
    top_p: Annotated[float, Range(above=0, maximum=1)] = 1.0
    """Draw among the fewest tokens that have this share of the probability (Holtzman et al. 2019)."""
    min_p: Fraction = 0.0
    """Draw no token less likely than this times the likeliest (Nguyen et al. 2024)."""
    stop: tuple[str, ...] = ()
    """Strings that end a response; its text is cut before the first of them."""
    weights: Literal["float32", "bfloat16"] = "float32"
    """In bfloat16 a policy that came so takes half the memory, says the same and writes more slowly."""
    engine: EngineName = "own"
    """Who samples: our own decoding, or vLLM, which has to be installed (docs/training.md, Sampling with vLLM) and
    computes in what `weights` says."""

    def __post_init__(self) -> None:
        if "" in self.stop:
            raise ConfigError("stop", "an empty string would end every response at once")
        if self.engine == "own":
            return
        if self.stop:
            raise ConfigError("stop", "strings that end a response need our own decoding: set engine to own")
        if self.min_p > 0 and self.top_p < 1:
            raise ConfigError("min_p", "vLLM has it before top_p, which draws otherwise: set engine to own")


@dataclass(frozen=True, kw_only=True)
class GenerateConfig(SamplingConfig):
    """Responses of a policy to prompts."""

    policy: str
    prompts: Path
    samples_per_prompt: Count = 2
    temperature: Positive = 0.7
    max_new_tokens: Count = step(80, 256)
    batch_size: Count = step(128, 32)
    checkpoint_steps: Count = 8


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(SamplingConfig):
    """What a policy gained over its reference, and how often a reward model agrees with people."""

    policy: str | None = None
    reference: str | None = None
    reward: str | None = None
    cost: str | None = None
    """A cost model: what the policy's responses cost, and the reference's."""
    prompts: Path | None = None
    preferences: Path | None = None
    demonstrations: Path | None = None
    """Held-out ones: by how much worse the policy knows them than its reference."""
    samples_per_prompt: Count = 2
    temperature: Positive = 0.7
    max_new_tokens: Count = step(80, 256)
    max_length: Count = step(512, 1024)
    batch_size: Count = step(128, 32)

    def __post_init__(self) -> None:
        super().__post_init__()
        is_filtered = self.top_k > 0 or self.top_p < 1 or self.min_p > 0
        if self.engine != "own" and self.weights == "bfloat16" and is_filtered:
            raise ConfigError("weights", "with filters vLLM needs float32, or KL would be of another distribution")
        if self.policy is not None and self.prompts is None:
            raise ConfigError("prompts", "needed to evaluate a policy")
        if self.cost is not None and self.policy is None:
            raise ConfigError("policy", "needed to say what its responses cost")
        if self.demonstrations is not None and self.reference is None:
            raise ConfigError("reference", "needed to say what of the demonstrations the policy has lost")
        if self.preferences is not None and self.reward is None:
            raise ConfigError("reward", "needed to evaluate on preferences")
        if self.policy is None and self.preferences is None:
            raise ConfigError("policy, preferences", "one of them is needed")
