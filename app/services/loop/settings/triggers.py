"""What starts a project's next round: what can be chosen, and what was the case when one started."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from app.db.tables.runs import RoundTrigger
from app.phrases import phrase

FEWEST_LABELS = 256
SHARE_OF_LABELS = 0.15


class TriggerSettings(BaseModel):
    """What starts a round, beside an owner: each where no round is under way and a policy is in use."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at_once: bool = Field(
        default=True,
        title=phrase("At once, when a round has ended with a new policy"),
        description="The next one then waits for its judgements, and the reasons below count only after a round that a "
        "gate refused or somebody cancelled.",
    )
    on_labels: bool = Field(
        default=False,
        title=phrase("By new judgements"),
        description="Start a round once enough of them are there.",
    )
    labels: int | None = Field(
        default=None,
        ge=1,
        title=phrase("How many new judgements are enough"),
        description="Null: 256, or 15 % of those learnt from if that is more.",
    )
    on_drift: bool = Field(
        default=False,
        title=phrase("By drift"),
        description="Start one once the reward model in use explains random judgements worse than before.",
    )
    drift: float = Field(
        default=5.0,
        gt=0,
        title=phrase("How much drift is too much"),
        description="The cumulative sum of blocks of ten judgements, in standard deviations.",
    )
    on_outlying: bool = Field(
        default=False,
        title=phrase("By outlying responses"),
        description="Start one once too many responses of the policy in use are unlike those of the first one.",
    )
    outlying_share: float = Field(
        default=0.05,
        gt=0,
        le=1,
        title=phrase("Which share of outlying responses is too much"),
        description="Of the first policy's own it is 1 %.",
    )
    days: int | None = Field(
        default=None,
        ge=1,
        le=3650,
        title=phrase("By schedule, so many days after the last start"),
        description="Null: not by schedule.",
    )

    @property
    def asks_signs(self) -> bool:
        """Whether what a worker computes about the loop may start a round."""
        return self.on_drift or self.on_outlying

    def enough_labels(self, learnt_from: int) -> int:
        """New judgements that start a round, after so many that the last one learnt from."""
        return self.labels or max(FEWEST_LABELS, -int(-learnt_from * SHARE_OF_LABELS // 1))


@dataclass(frozen=True)
class Trigger:
    """Why a round starts: `figure` was seen where `bound` is asked for."""

    name: RoundTrigger
    figure: float | None = None
    bound: float | None = None


BY_HAND = Trigger("click")
AT_ONCE = Trigger("at_once")


@dataclass(frozen=True)
class Signs:
    """`drift` in standard deviations, of `drift_labels` random judgements since the reward model `reward_id` learnt;
    `outlying` a share of what the policy `policy_id` writes. None where there is too little to tell."""

    drift: float | None = None
    drift_labels: int = 0
    reward_id: int | None = None
    outlying: float | None = None
    policy_id: int | None = None
