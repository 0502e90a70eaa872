"""What can be chosen about how a round's pairs are selected."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

RuleName = Literal["thompson_d_optimal", "uniform", "balanced", "vcp", "margin", "drts", "delta_ucb"]


class SelectionSettings(BaseModel):
    """How pairs are selected. `uniform` draws them all at once, as there is no model to ask; every other rule leaves
    `random_share` of them to chance, and those that learn make `batch` judgements' worth at a time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: RuleName = Field(
        default="thompson_d_optimal",
        description="What is asked beside the random share; drts and delta_ucb are for policies that DPO trains.",
    )
    random_share: float = Field(
        default=0.2, ge=0, le=1, description="Of the pairs; drawn first, and all that is measured is measured on them."
    )
    batch: int = Field(
        default=20, ge=1, le=1_000, description="Judgements after which the next pairs are chosen by what was said."
    )
