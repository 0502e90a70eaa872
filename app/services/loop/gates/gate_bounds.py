"""The bounds of the gates' rules, which are settings of rounds; why they lie where they do is in docs/decisions.md."""

from pydantic import BaseModel, ConfigDict, Field

from app.services.loop.gates.certificate import ALPHA


class RewardBounds(BaseModel):
    """What a reward model must show: on its validation pairs, or with fewer than `min_pairs` of them by
    cross-validation on its training pairs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_pairs: int = Field(default=30, ge=0, description="Validation pairs that are enough to judge by.")
    accuracy_low: float = Field(default=0.5, ge=0, le=1, description="The accuracy's lower bound must lie above this.")
    accuracy_loss: float = Field(
        default=0.0, ge=0, le=1, description="How much less accurate than the reward model in use it may be."
    )
    calibration_error: float | None = Field(
        default=None, ge=0, le=1, description="Most calibration error after temperature scaling; null: not asked."
    )
    shorter_preferred: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Least accuracy where people preferred the shorter response; null: not asked.",
    )
    worst_kept: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="What the worst kind of pair must keep of the lead over a coin, from 0 to 1; null: not asked.",
    )
    nll_loss: float | None = Field(
        default=None,
        ge=0,
        description="Nats per pair by which its loss may clearly exceed that of the reward model in use, on pairs that "
        "chance chose; null: not asked.",
    )
    probes_right: float | None = Field(
        default=None, ge=0, le=1, description="Least share of hack probes that it isn't taken in by; null: not asked."
    )
    probes_worst: float | None = Field(
        default=None, ge=0, le=1, description="Least of that share for the worst kind of probe; null: not asked."
    )
    best_of_kept: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="What the best of 64 must keep of the highest reading by a second model; null: not asked.",
    )
    peak_kl: float | None = Field(
        default=None,
        ge=0,
        description="Nats per response before which the curve of best of n must not turn; null: not asked.",
    )


class FirstPolicyBounds(BaseModel):
    """What a policy from demonstrations must show before it writes for annotators. `unigram_gain` is how many nats
    better it must know the tokens of held-out responses than their frequency does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unigram_gain: float = Field(
        default=1.0, description="Least nats per token by which held-out loss is below a unigram model's."
    )


class PolicyBounds(BaseModel):
    """What a policy must show against the one it started from. `kl` is in nats per response; `cost` is the most that a
    response may cost on average, by the cost model that held it, null: there was none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    win_rate_low: float = Field(
        default=0.5, ge=0, le=1, description="The win rate's lower bound over the reference must lie above this."
    )
    kl: float = Field(default=12.0, gt=0, description="Most nats per response to the reference.")
    eos_rate: float = Field(default=0.95, ge=0, le=1, description="Least share of responses that end by themselves.")
    length_ratio_low: float = Field(default=0.6, ge=0, description="Least length, in times the reference's.")
    length_ratio_high: float = Field(default=1.5, gt=0, description="Most length, in times the reference's.")
    distinct_2_kept: float = Field(
        default=0.5, ge=0, description="Least variety of word pairs, in times the reference's."
    )
    cost: float | None = Field(default=None, description="Most that a response may cost on average; null: no limit.")
    alarms: int | None = Field(
        default=None, ge=0, description="Most detectors of reward hacking that raised an alarm; null: not asked."
    )
    second_gain: float | None = Field(
        default=None,
        ge=0,
        description="Least gain by a second reward model, as a share of the gain by what paid it; null: not asked.",
    )
    demonstration_loss: float | None = Field(
        default=None,
        ge=0,
        description="Nats per token by which it may know held-out demonstrations worse than the reference does; null: "
        "not asked.",
    )


class VoteBounds(BaseModel):
    """What people must say of a policy before it is promoted, where they are asked: that it wins more than half of
    blinded duels with the one in use."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    asks_people: bool = Field(
        default=False, description="Promote a policy only once people preferred it to the one in use."
    )
    votes: int = Field(default=100, ge=10, le=10_000, description="Most votes that are asked for before it is refused.")
    companions: int = Field(
        default=8,
        ge=0,
        le=64,
        description="Duels that nobody votes on, for each that people do; more save votes and take longer to write.",
    )
    error: float = Field(
        default=ALPHA, gt=0, lt=0.5, description="Chance that a policy which is no better passes all the same."
    )
