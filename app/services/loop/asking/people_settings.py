"""What can be chosen about how far people are believed."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class PeopleSettings(BaseModel):
    """How judgements become labels: as they were said, or as what everybody said makes of each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weigh: Literal["auto", "always", "never"] = Field(
        default="auto",
        description=(
            "Learn from soft labels, in which people count as far as they can be relied on; auto: where two people or"
            " more have judged fifteen pairs and one of them is clearly less reliable."
        ),
    )
