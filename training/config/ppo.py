"""Settings of PPO."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from training.algorithms.choices import AlgorithmName, Estimator
from training.algorithms.table import ALGORITHMS
from training.config.alarms import AlarmBounds, Detector
from training.config.by_model import power, step
from training.config.engine import EngineName
from training.config.learning import LearningConfig
from training.config.rules import RewardRules
from training.config.values import ConfigError, Count, Fraction, NonNegative, Positive, Precision, Range

_OF_COST = ("cost_limit", "multiplier_start", "multiplier_max", "multiplier_learning_rate", "cost_window")


@dataclass(frozen=True, kw_only=True)
class PpoConfig(LearningConfig):
    """PPO with a per-token KL penalty to the reference; the score of a response lands on its last token.

    Formulae, sources and the reasons for the defaults: docs/training.md.
    """

    policy: str
    reference: str
    reward: str | None = None
    """None where `rules` alone pay."""
    held_out_reward: str | None = None
    """A second reward model that nothing is learnt from: what the policy gains by it is no product of `reward`'s
    errors."""
    averaged: str | None = None
    """The policy in use, which learnt from the same reference: `averaged_share` of what is published is its weights."""
    prompts: Path
    cost: str | None = None
    """A cost model whose mean is to stay within `cost_limit` (Dai et al. 2023, PPO-Lagrangian)."""
    held_out_prompts: Path | None = None
    """Prompts that nothing is learnt from, for `publish` = best and for the detectors, which else take `prompts`."""
    demonstrations: Path | None = None
    """Responses to imitate beside PPO, for `ptx_coefficient`."""
    algorithm: AlgorithmName = "ppo"
    """All but `ppo` compare a response with others to its prompt instead of with a critic: `rloo` (Ahmadian et al.
    2024), `grpo` (Shao et al. 2024), `dr_grpo` (Liu et al. 2025) and `gspo` (Zheng et al. 2025).
    `expert_iteration` imitates the best of them (Dong et al. 2023)."""
    samples_per_prompt: Count = 1
    """Responses to each prompt of a rollout; without a critic at least 2."""
    imitated: Annotated[int, Range(minimum=1, maximum=255)] = 2
    """Of the responses to a prompt, how many `expert_iteration` imitates: those that earned most."""
    iterations: Count = 22
    batch_size: Count = 64
    """Responses of a rollout."""
    minibatch_size: Count = 32
    micro_batch_tokens: Count = step(4096, 128)
    """Prompt and response tokens, padding included, that are trained at once; has no effect on the result."""
    epochs: Count = 2
    max_new_tokens: Count = step(80, 256)
    temperature: Positive = 0.7
    actor_learning_rate: Positive = power(5e-4, 1e-6, adapters=1e-5)
    critic_learning_rate: Positive = power(1e-3, 9e-6)
    adam_epsilon: Positive = 1e-5
    precision: Precision = "float32"
    """Of the products in passes over whole responses; weights, gradients and sampling are in float32 all the same.
    `fastest` times both when the run begins and stays with what it found."""
    engine: EngineName = "own"
    """Who samples from the policy: our own decoding, or vLLM, which has to be installed (docs/training.md, Sampling
    with vLLM). It gets the weights anew after each update; with `precision` bfloat16 it holds them so, and the policy's
    own log-probabilities are computed."""

    critic: Literal["usual", "separate", "shared", "adapter"] = "usual"
    """`separate` starts from the reward model, trunk and head (Ouyang et al. 2022); `shared` is a head on the policy's
    own trunk that starts at zero (Ziegler et al. 2019): less to compute, but both pull at one trunk; `adapter` is such
    a head on adapters of its own, of `lora_rank`, beside the policy's: the trunk is in memory once. `usual` is
    `adapter` where the policy's adapters learn, `separate` elsewhere."""
    value_coefficient: NonNegative = 0.1
    """Weight of the value loss in a shared trunk (Ziegler et al. 2019, code); a separate critic has none."""
    critic_warmup_iterations: Annotated[int, Range(minimum=0)] = 3
    """Iterations at the start in which only the critic learns, a shared one only its head."""

    kl_penalty: Literal["usual", "reward", "loss"] = "usual"
    """Where the divergence is paid: in the reward of every token (Ziegler et al. 2019) or as a term of the policy's
    loss (Shao et al. 2024). `usual` is the reward for `ppo` and `rloo`, the loss for the others."""
    kl_estimator: Literal["usual", Estimator] = "usual"
    """Schulman 2020. In the reward only k1 is unbiased. In the loss k2 has the right gradient, k3 that of the reversed
    divergence, and k1 none on average, so that it is refused there. `usual` is k1 for `ppo` and `rloo`, k3 for the
    others."""
    kl_coefficient: NonNegative = power(0.2, 0.05)
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
    """How often a run that left `max_kl`, or raised an alarm, goes on from where it went back to, with twice the KL
    coefficient, before it ends there."""

    cost_limit: float = 0.0
    """Of the mean cost, in deviations of the cost model's score; at 0 it says neither safe nor unsafe."""
    multiplier_start: Positive = 1.0
    multiplier_max: Positive = 5.0
    """The most that a unit of cost can be worth in units of reward."""
    multiplier_learning_rate: NonNegative = 0.1
    """Of the logarithm of the multiplier, one step an iteration. 0 makes `multiplier_start` a fixed penalty."""
    cost_window: Count = 128
    """Responses whose mean cost is held against the limit, the last ones."""

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
    paid_by: Literal["usual", "model", "teacher"] = "usual"
    """Who scores responses: the reward model, or the linear teacher that it was distilled from, which reads the
    reference and stays right where the policy leaves what the model learnt of. `usual` is the teacher where there is
    one."""
    pessimism: NonNegative = 1.0
    """What is taken off a teacher's score for each deviation by which it is less sure of a response than of an average
    one (Coste et al. 2023, of ensembles)."""
    rules: RewardRules = field(default_factory=RewardRules)
    missing_eos_penalty: NonNegative | None = 2.0
    """A response that did not end gets min(score, 0) minus this, in deviations of the score. Null: its score."""

    publish: Literal["last", "best"] = "last"
    """`best` is the policy within `max_kl` that earned most on `held_out_prompts`."""
    averaged_share: Fraction = 0.5
    """Of the policy in use in the weights that are published (Ramé et al. 2024); 0 publishes what the run itself made.
    No part of it with adapters that are published as such."""
    held_out_every: Count = 5
    """Iterations between two measurements on `held_out_prompts`."""
    detector_responses: Annotated[int, Range(minimum=0)] = 128
    """Responses in which the detectors of reward hacking look for its signs, every `held_out_every` iterations, four to
    a prompt; 0: never."""
    alarms: AlarmBounds = field(default_factory=AlarmBounds)
    on_alarm: Literal["report", "stop", "roll_back"] = "report"
    """`stop` ends the run with the policy of the last evaluation without an acting alarm; `roll_back` goes on from
    there with twice the KL coefficient, `kl_roll_backs` times at most."""
    acting_alarms: tuple[Detector, ...] = (
        "divergence",
        "held_out_falls",
        "disagreement",
        "outliers",
        "entropy",
        "repetition",
        "missing_eos",
    )
    sample_every: Count = 5
    sample_texts: Annotated[int, Range(minimum=0)] = 4
    checkpoint_steps: Count = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.minibatch_size > self.batch_size:
            raise ConfigError("minibatch_size", "must not exceed batch_size")
        if self.batch_size % self.samples_per_prompt:
            raise ConfigError("batch_size", "must be a multiple of samples_per_prompt")
        if self.reward is None and not self.rules.weights:
            raise ConfigError("reward", "needed where no rules pay")
        self._require_use_by_algorithm()
        if self.algorithm == "expert_iteration" and self.imitated >= self.samples_per_prompt:
            raise ConfigError("imitated", "must be less than samples_per_prompt")
        if self.critic == "adapter" and self.lora_rank == 0:
            raise ConfigError("lora_rank", "needed for a critic of adapters")
        self._require_use_of_cost()
        if self.pays_kl_in == "loss" and self.estimator == "k1":
            raise ConfigError("kl_estimator", "k1 in the loss has no gradient on average; choose k2 or k3")
        if self.ptx_coefficient > 0 and self.demonstrations is None:
            raise ConfigError("demonstrations", "needed for ptx_coefficient")
        if self.publish == "best" and self.held_out_prompts is None:
            raise ConfigError("held_out_prompts", "needed to publish the best policy")
        if self.on_alarm != "report" and self.detector_responses == 0:
            raise ConfigError("detector_responses", "without any there is no alarm to act on")
        if self.on_alarm == "roll_back" and self.kl_roll_backs == 0:
            raise ConfigError("kl_roll_backs", "must be above 0 to roll back on an alarm")

    @property
    def critic_kind(self) -> Literal["separate", "shared", "adapter"]:
        """`critic`, as it usually is; to be asked once the model has settled `lora_rank`."""
        if self.critic != "usual":
            return self.critic
        return "adapter" if self.lora_rank else "separate"

    @property
    def pays_kl_in(self) -> Literal["reward", "loss"]:
        """`kl_penalty`, as the algorithm usually has it."""
        return ALGORITHMS[self.algorithm].kl_penalty if self.kl_penalty == "usual" else self.kl_penalty

    @property
    def estimator(self) -> Estimator:
        """`kl_estimator`, as the algorithm usually has it."""
        return ALGORITHMS[self.algorithm].kl_estimator if self.kl_estimator == "usual" else self.kl_estimator

    def _require_use_by_algorithm(self) -> None:
        algorithm = ALGORITHMS[self.algorithm]
        if self.samples_per_prompt == 1 and not algorithm.has_critic:
            raise ConfigError(
                "samples_per_prompt",
                "%(algorithm)s compares at least 2 responses to a prompt",
                algorithm=algorithm.title,
            )
        unused = [name for name in algorithm.unused if getattr(self, name) != getattr(PpoConfig, name)]
        if unused:
            raise ConfigError(
                ", ".join(unused), "%(algorithm)s has no critic and advantages of its own", algorithm=algorithm.title
            )

    def _require_use_of_cost(self) -> None:
        unused = [name for name in _OF_COST if getattr(self, name) != getattr(PpoConfig, name)]
        if self.cost is None and unused:
            raise ConfigError(", ".join(unused), "there is no cost model")
        if self.multiplier_start > self.multiplier_max:
            raise ConfigError("multiplier_start", "must not exceed multiplier_max")
        if self.cost is not None and self.whiten_rewards:
            raise ConfigError("whiten_rewards", "with a cost model it would change the price of cost in every rollout")
