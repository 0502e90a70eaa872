"""One frozen dataclass per stage, read from JSON: an unknown key or a bad value is refused before any work."""

import dataclasses
import json
import math
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from models.architecture import Architecture


class ConfigError(ValueError):
    """A setting that cannot be used; the message names its key."""


class InputError(ValueError):
    """Data, a model or a folder that cannot be used; the message is one line for the person who started the run."""


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds of a number: `above` is exclusive, `minimum` and `maximum` are inclusive."""

    minimum: float = -math.inf
    maximum: float = math.inf
    above: float = -math.inf


Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(minimum=0)]
Fraction = Annotated[float, Range(minimum=0, maximum=1)]
Count = Annotated[int, Range(minimum=1)]
Seed = Annotated[int, Range(minimum=0, maximum=2**63 - 1)]
LabelNoise = Annotated[float, Range(minimum=0, maximum=0.49)]
RankingLoss = Literal["pairwise", "plackett_luce"]


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """What every stage has. `temperature` divides the logits wherever a policy samples or is scored, 0.7 as in
    Stiennon et al. 2020. `checkpoint_steps` counts optimiser steps (iterations in PPO, batches in generation)."""

    seed: Seed


@dataclass(frozen=True, kw_only=True)
class SftConfig(StageConfig):
    """Supervised fine-tuning. The loss is on response tokens only, EOS included; prompts are context."""

    demonstrations: Path
    held_out: Path | None = None
    model: str | None = None
    architecture: Architecture = field(default_factory=Architecture)
    epochs: Count = 3
    max_tokens: Annotated[int, Range(minimum=0)] = 0
    """Prompt and response tokens to train on at most; 0 leaves the length to `epochs`."""
    batch_tokens: Count = 768
    """Prompt and response tokens of one optimiser step, padding included."""
    max_length: Count = 512
    """Longer demonstrations are dropped and counted, never cut: a cut response would have no end to learn."""
    learning_rate: Positive = 3e-3
    warmup_fraction: Fraction = 0.05
    adam_epsilon: Positive = 1e-8
    weight_decay: NonNegative = 0.01
    gradient_clip: Positive = 1.0
    checkpoint_steps: Count = 50


@dataclass(frozen=True, kw_only=True)
class RewardConfig(StageConfig):
    """The reward model: Bradley-Terry on pairs, either by fine-tuning or, with few labels, by distillation."""

    policy: str
    preferences: Path
    prompts: Path
    previous_reward: str | None = None
    method: Literal["auto", "finetune", "distil"] = "auto"
    distil_below_pairs: Count = 2000
    """`auto` distils below this many training pairs: a small trunk overfits few labels at any learning rate."""
    reference_samples: Count = 1536
    """Samples of the policy: for distillation, and for the mean and deviation of the score."""
    max_new_tokens: Count = 80
    temperature: Positive = 0.7
    max_length: Count = 512
    batch_tokens: Count = 1024
    distil_steps: Annotated[int, Range(minimum=0)] = 300
    distil_learning_rate: Positive = 1e-3
    finetune_epochs: Count = 1
    finetune_learning_rate: Positive = 1e-4
    label_noise: LabelNoise = 0.0
    """Share of judgements that are taken to be wrong: labels p become (1 - e) p + e (1 - p). Mitchell 2023 (cDPO)."""
    ranking_loss: RankingLoss = "pairwise"
    """Of a ranking of K: all its pairs, each with weight 1 / (K choose 2) (Ouyang et al. 2022, eq. 1), or K - 1 choices
    of the best of those that are left (Plackett 1975). Fine-tuning only, as the next two: a teacher learns pairs."""
    margin: NonNegative = 0.0
    """Lead that the better response must have where it was said to be better by the scale's most, none at the least.
    On four levels 1 and 3 are the small and the large margin of Touvron et al. 2023 (Llama 2), eq. 2."""
    centering: NonNegative = 0.0
    """Price of (score A + score B)^2 of a pair; 0.01 is usual. Eisenstein et al. 2023."""
    unit_deviation: bool = True
    """Scores are read as (raw - mean) / deviation over the reference samples; without this as raw - mean."""
    adam_epsilon: Positive = 1e-5
    gradient_clip: Positive = 1.0
    checkpoint_steps: Count = 25


@dataclass(frozen=True, kw_only=True)
class PpoConfig(StageConfig):
    """PPO with a per-token KL penalty to the reference; the score of a response lands on its last token.

    Formulae, sources and the reasons for the defaults: docs/training.md.
    """

    policy: str
    reference: str
    reward: str
    prompts: Path
    held_out_prompts: Path | None = None
    """Prompts that nothing is learnt from, for `publish` = best."""
    demonstrations: Path | None = None
    """Responses to imitate beside PPO, for `ptx_coefficient`."""
    iterations: Count = 22
    batch_size: Count = 64
    minibatch_size: Count = 32
    micro_batch_tokens: Count = 4096
    """Prompt and response tokens, padding included, that are trained at once; has no effect on the result."""
    epochs: Count = 2
    max_new_tokens: Count = 80
    temperature: Positive = 0.7
    actor_learning_rate: Positive = 5e-4
    critic_learning_rate: Positive = 1e-3
    adam_epsilon: Positive = 1e-5
    gradient_clip: Positive = 1.0
    lora_rank: Annotated[int, Range(minimum=0)] = 0
    """Of adapters on the linear layers of the policy's trunk, which then learn alone (Hu et al. 2021); 0: all weights
    learn. The published model holds the product."""
    lora_alpha: Positive = 16.0
    """The adapters' product is scaled by alpha / rank."""

    critic: Literal["separate", "shared"] = "separate"
    """`separate` starts from the reward model, trunk and head (Ouyang et al. 2022); `shared` is a head on the policy's
    own trunk that starts at zero (Ziegler et al. 2019): less to compute, but both pull at one trunk."""
    value_coefficient: NonNegative = 0.1
    """Weight of the value loss in a shared trunk (Ziegler et al. 2019, code); a separate critic has none."""
    critic_warmup_iterations: Annotated[int, Range(minimum=0)] = 3
    """Iterations at the start in which only the critic learns, a shared one only its head."""

    kl_penalty: Literal["reward", "loss"] = "reward"
    """Where the divergence is paid: in the reward of every token (Ziegler et al. 2019) or as a term of the policy's
    loss (Shao et al. 2024)."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k1"
    """Schulman 2020. In the reward only k1 is unbiased. In the loss k2 has the right gradient, k3 that of the reversed
    divergence, and k1 none on average, so that it is refused there."""
    kl_coefficient: NonNegative = 0.2
    kl_controller: Literal["fixed", "adaptive"] = "adaptive"
    kl_target: Positive = 4.0
    """Nats per response that the adaptive controller steers to."""
    kl_horizon: Count = 2000
    """Episodes over which the adaptive controller reacts."""
    max_update_kl: Positive | None = 0.1
    """Nats per token between the rollout policy and the one in training: a step from above it ends the epochs of the
    iteration. Null never ends them."""
    drop_distant_step: bool = False
    """Leave out the step that was found to start above `max_update_kl`; else it is the last."""
    max_kl: Positive | None = 12.0
    """Nats per response to the reference: above it the run goes back to the last policy that was below. Null: never."""
    kl_roll_backs: Annotated[int, Range(minimum=0)] = 0
    """How often a run that left `max_kl` goes on from where it went back to, with twice the KL coefficient, before it
    ends there."""

    clip_low: Fraction = 0.2
    clip_high: Positive = 0.2
    """The ratio is held within [1 - low, 1 + high] (Schulman et al. 2017); with 0.2 and 0.28 it is the asymmetric clip
    of Yu et al. 2025."""
    dual_clip: Annotated[float, Range(above=1)] | None = None
    """Bounds the loss of tokens with a negative advantage (Ye et al. 2020, who use 3). Null: unbounded."""
    value_clip: Positive | None = 0.2
    """Null: the plain squared error."""
    entropy_coefficient: NonNegative = 0.0
    """Weight of the mean entropy of the policy (Schulman et al. 2017, eq. 9)."""
    ptx_coefficient: NonNegative = 0.0
    """Weight of the loss on demonstrations (Ouyang et al. 2022, eq. 2), a mean over tokens as the policy's loss is."""
    ptx_batch_size: Count = 16
    """Demonstrations of one optimiser step."""
    gamma: Fraction = 1.0
    gae_lambda: Fraction = 0.95
    whiten_rewards: bool = False
    """Divide the tokens' rewards by their deviation over the rollout, the mean unchanged (Ziegler et al. 2019)."""
    whiten_advantages: bool = True
    """Mean 0 and deviation 1 over all tokens of the rollout, not of a minibatch."""
    missing_eos_penalty: NonNegative | None = 2.0
    """A response that did not end gets min(score, 0) minus this, in deviations of the score. Null: its score."""

    publish: Literal["last", "best"] = "last"
    """`best` is the policy within `max_kl` that earned most on `held_out_prompts`."""
    held_out_every: Count = 5
    """Iterations between two measurements on `held_out_prompts`."""
    sample_every: Count = 5
    sample_texts: Annotated[int, Range(minimum=0)] = 4
    checkpoint_steps: Count = 2

    def __post_init__(self) -> None:
        if self.minibatch_size > self.batch_size:
            raise ConfigError("minibatch_size: must not exceed batch_size")
        if self.kl_penalty == "loss" and self.kl_estimator == "k1":
            raise ConfigError("kl_estimator: k1 in the loss has no gradient on average; choose k2 or k3")
        if self.ptx_coefficient > 0 and self.demonstrations is None:
            raise ConfigError("demonstrations: needed for ptx_coefficient")
        if self.publish == "best" and self.held_out_prompts is None:
            raise ConfigError("held_out_prompts: needed to publish the best policy")


@dataclass(frozen=True, kw_only=True)
class DpoConfig(StageConfig):
    """Direct preference optimisation: the policy learns from pairs, without a reward model. Rafailov et al. 2023."""

    policy: str
    """Where training starts."""
    reference: str | None = None
    """What the policy is held near; None is the policy as it starts."""
    preferences: Path
    loss: Literal["sigmoid", "ipo", "robust"] = "sigmoid"
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
    batch_tokens: Count = 2048
    """Prompt and response tokens of one optimiser step, both sides and padding included."""
    micro_batch_tokens: Count = 4096
    """As many that are trained at once; has no effect on the result."""
    max_length: Count = 512
    """Pairs with a longer side are dropped and counted, never cut."""
    learning_rate: Positive = 3e-4
    """For models of a million parameters; the papers' 1e-6 is for a thousand times as many."""
    warmup_fraction: Fraction = 0.1
    adam_epsilon: Positive = 1e-8
    weight_decay: NonNegative = 0.0
    gradient_clip: Positive = 1.0
    lora_rank: Annotated[int, Range(minimum=0)] = 0
    """As PPO's: of adapters that then learn alone; 0: all weights learn."""
    lora_alpha: Positive = 16.0
    checkpoint_steps: Count = 25

    def __post_init__(self) -> None:
        if self.loss == "robust" and self.label_noise == 0:
            raise ConfigError("label_noise: must be above 0 for the robust loss, which is the sigmoid loss without it")


@dataclass(frozen=True, kw_only=True)
class GenerateConfig(StageConfig):
    """Responses of a policy to prompts."""

    policy: str
    prompts: Path
    samples_per_prompt: Count = 2
    temperature: Positive = 0.7
    max_new_tokens: Count = 80
    batch_size: Count = 128
    checkpoint_steps: Count = 8


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(StageConfig):
    """What a policy gained over its reference, and how often a reward model agrees with people."""

    policy: str | None = None
    reference: str | None = None
    reward: str | None = None
    prompts: Path | None = None
    preferences: Path | None = None
    samples_per_prompt: Count = 2
    temperature: Positive = 0.7
    max_new_tokens: Count = 80
    max_length: Count = 512
    batch_size: Count = 128

    def __post_init__(self) -> None:
        if self.policy is not None and self.prompts is None:
            raise ConfigError("prompts: needed to evaluate a policy")
        if self.preferences is not None and self.reward is None:
            raise ConfigError("reward: needed to evaluate on preferences")
        if self.policy is None and self.preferences is None:
            raise ConfigError("policy, preferences: one of them is needed")


ConfigT = TypeVar("ConfigT", bound=StageConfig)

STAGES: Mapping[str, type[StageConfig]] = {
    "sft": SftConfig,
    "reward": RewardConfig,
    "ppo": PpoConfig,
    "dpo": DpoConfig,
    "generate": GenerateConfig,
    "evaluate": EvaluateConfig,
}

# Settings that name a model: a directory (absolute, or relative to the config file) or a hub id.
MODEL_KEYS = frozenset({"model", "policy", "reference", "reward", "previous_reward"})


def read_config(path: Path, kind: type[ConfigT]) -> ConfigT:
    """The stage's configuration. Raises `ConfigError`."""
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    return cast(ConfigT, _dataclass_from(values, kind, path.resolve().parent, prefix=""))


def config_to_json(config: StageConfig) -> dict[str, object]:
    """The configuration as JSON values, for manifests and for telling runs apart."""
    return cast(dict[str, object], json.loads(json.dumps(dataclasses.asdict(config), default=str)))


def _dataclass_from(values: object, kind: type, base: Path, prefix: str) -> object:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{prefix or 'config'}: must be a JSON object")
    hints = get_type_hints(kind, include_extras=True)
    fields = {setting.name: setting for setting in dataclasses.fields(kind)}
    for key in values:
        if key not in fields:
            raise ConfigError(f"{prefix}{key}: unknown setting")
    for name, setting in fields.items():
        no_default = setting.default is dataclasses.MISSING and setting.default_factory is dataclasses.MISSING
        if no_default and name not in values:
            raise ConfigError(f"{prefix}{name}: missing")
    read = {key: _value(value, hints[key], base, f"{prefix}{key}") for key, value in values.items()}
    return kind(**{key: _located(key, value, base) for key, value in read.items()})


def _value(value: object, hint: object, base: Path, key: str) -> object:
    origin = get_origin(hint)
    if origin is Annotated:
        plain, bounds = get_args(hint)
        return _bounded(_value(value, plain, base, key), bounds, key)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        (inner,) = (option for option in get_args(hint) if option is not types.NoneType)
        return _value(value, inner, base, key)
    if origin is Literal:
        if value not in get_args(hint):
            raise ConfigError(f"{key}: must be one of {', '.join(get_args(hint))}, not {value!r}")
        return value
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _dataclass_from(value, hint, base, f"{key}.")
    return _scalar(value, cast(type, hint), base, key)


def _scalar(value: object, kind: type, base: Path, key: str) -> object:
    if kind is Path and isinstance(value, str):
        return base / value
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind in (str, bool) and isinstance(value, kind):
        return value
    expected = {Path: "a path", float: "a finite number", int: "a whole number", str: "text", bool: "true or false"}
    raise ConfigError(f"{key}: must be {expected[kind]}, not {value!r}")


def _bounded(value: object, bounds: Range, key: str) -> object:
    number = cast(float, value)
    if number <= bounds.above:
        raise ConfigError(f"{key}: must be above {bounds.above:g}, not {number:g}")
    if not bounds.minimum <= number <= bounds.maximum:
        raise ConfigError(f"{key}: must lie in [{bounds.minimum:g}, {bounds.maximum:g}], not {number:g}")
    return value


def _located(key: str, value: object, base: Path) -> object:
    if key in MODEL_KEYS and isinstance(value, str) and (base / value).is_dir():
        return str(base / value)
    return value
