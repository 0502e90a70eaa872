"""What is asked of an import beside its format."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

BETTER = 2  # of the seven choices, when a file says which response won but not by how much


class Options(BaseModel):
    """`choice` is how much better the better of two is said to be where the file doesn't say: 1 (much better) to 3
    (slightly better). `demonstrate` makes demonstrations of the better ones too, for SFT to learn from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    skip_bad: bool = False
    choice: Annotated[int, Field(ge=1, le=3)] = BETTER
    demonstrate: bool = False
