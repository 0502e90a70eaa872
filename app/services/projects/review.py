"""How a project decides what divides its people: what reviewers see, and what their verdicts count."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from app.db.base import Json
from app.services.projects.validation import validated


class Review(BaseModel):
    """`shows_judgements`: reviewers see what others said before they decide; else only after it.

    `prefers_verdicts`: of a task that a reviewer has decided, dataset versions hold the verdict alone; else they hold
    what people said and no verdict. A version may be cut the other way.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    shows_judgements: bool = False
    prefers_verdicts: bool = True

    @classmethod
    def of(cls, stored: Json) -> Self:
        return cls.model_validate(stored)

    def to_json(self) -> Json:
        return self.model_dump(mode="json", exclude_defaults=True)


def checked(values: Mapping[str, Any]) -> Review:
    """Raises Invalid with one line that names the place."""
    return validated(Review, values, "Review")
