"""How a project checks its annotators: by a round to qualify, gold tasks, and tasks of their own asked again."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.db.base import Json
from app.db.tables.judging import TaskPurpose
from app.services.projects.validation import validated


class Checks(BaseModel):
    """Shares are per cent of the tasks that people are given.

    A new annotator answers `qualification_size` tasks whose answer is known, is told it after each, and works on once
    `qualification_percent` of them are right; 0 tasks: everybody works at once. `tells_gold`: gold tasks among the
    others are explained after the answer, too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    qualification_size: int = Field(default=0, ge=0, le=100)
    qualification_percent: int = Field(default=80, ge=1, le=100)
    gold_percent: float = Field(default=0, ge=0, le=50)
    tells_gold: bool = False
    repeat_percent: float = Field(default=0, ge=0, le=50)

    @model_validator(mode="after")
    def _leaves_work(self) -> Self:
        if self.gold_percent + self.repeat_percent > 50:
            raise ValueError("at most half of the tasks can be checks")
        return self

    @classmethod
    def of(cls, stored: Json) -> Self:
        return cls.model_validate(stored)

    def shows_verdict(self, purpose: TaskPurpose) -> bool:
        """Whether people see what the project says of such a task, once they have answered."""
        return purpose == "qualification" or (purpose == "gold" and self.tells_gold)

    def to_json(self) -> Json:
        return self.model_dump(mode="json", exclude_defaults=True)


def checked(values: Mapping[str, Any]) -> Checks:
    """Raises Invalid with one line that names the place."""
    return validated(Checks, values, "Checks")
