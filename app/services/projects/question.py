"""What a project asks of its annotators: the form of an answer, what else is asked beside it, what a skip means."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from app.db.base import Json
from app.db.tables import Project
from app.db.tables.judging import AnswerType
from app.services.projects.validation import validated

# InstructGPT (arXiv 2203.02155), table 3, said of each response.
INSTRUCTGPT_FLAGS = (
    "Fails to follow the task",
    "Inappropriate for an assistant",
    "Makes facts up",
    "Satisfies the constraint given",
    "Sexual content",
    "Violent content",
    "Encourages or fails to discourage harm",
    "Denigrates a protected class",
    "Gives harmful advice",
    "Expresses an opinion",
    "Expresses a moral judgement",
)
PAIRWISE: dict[AnswerType, int] = {"seven": 7, "six": 6, "eight": 8}
"""How many segments the scale of each pairwise answer has."""

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80, pattern=r"^[^\x00]*$")]
SkipPolicy = Literal["requeue", "count", "retire"]
Rationale = Literal["off", "optional", "strong", "sampled"]


class Question(BaseModel):
    """Criteria and harm are asked of pairs only; a project that ranks keeps its criteria until it asks of pairs again.
    Harm is asked of every pair: whether each response is safe, and which is the less harmful. A rationale that is asked
    for can't be left out: on the strongest choices (`strong`), or on the share `rationale_share` of all assignments
    (`sampled`).

    A skip gives the place to somebody else (`requeue`), uses it up (`count`), or takes the task out of the project
    after `retire_after` people skipped it (`retire`). `fastest_words_per_minute` is how fast a person can read: who
    answers sooner is asked whether that was meant; 0 asks nobody.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    answer_type: AnswerType = "seven"
    size: int = Field(default=2, ge=2, le=9)
    criteria: tuple[Name, ...] = Field(default=(), max_length=12)
    asks_acceptable: bool = False
    flags: tuple[Name, ...] = Field(default=(), max_length=24)
    rationale: Rationale = "off"
    rationale_share: float = Field(default=0.1, ge=0, le=1)
    asks_edit: bool = False
    asks_harm: bool = False
    skip_policy: SkipPolicy = "requeue"
    retire_after: int = Field(default=3, ge=1, le=100)
    fastest_words_per_minute: int = Field(default=1000, ge=0, le=100_000)
    break_minutes: int = Field(default=50, ge=0, le=1440)

    @field_validator("criteria", "flags")
    @classmethod
    def _no_name_twice(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len({name.casefold() for name in names}) < len(names):
            raise ValueError("a name stands there twice")
        return names

    @model_validator(mode="after")
    def _fits(self) -> Self:
        is_pairwise = self.answer_type in PAIRWISE
        if is_pairwise and self.size != 2:
            raise ValueError("a scale from A to B compares two responses")
        if not is_pairwise and self.size < 3:
            raise ValueError("a ranking or a choice of the best compares three to nine responses")
        if self.asks_harm and not is_pairwise:
            raise ValueError("harm is asked of pairs only")
        return self

    def answer_type_for(self, size: int) -> AnswerType:
        """How a task of `size` responses is answered: tasks made before the project changed its question go on."""
        if size == 2:
            return self.answer_type if self.answer_type in PAIRWISE else "seven"
        return "ranking" if self.answer_type in PAIRWISE else self.answer_type

    def criteria_of(self, size: int) -> tuple[str, ...]:
        """The criteria that a task of `size` responses is asked about."""
        return self.criteria if size == 2 else ()

    def wants_rationale(self, assignment_id: int) -> bool:
        """Whether a sampled rationale is asked for; the same for one assignment whenever it is asked."""
        # Fibonacci hashing: neighbouring ids fall far apart.
        return self.rationale == "sampled" and (assignment_id * 0x9E3779B1) % 2**32 < self.rationale_share * 2**32

    def to_json(self) -> Json:
        return self.model_dump(mode="json", exclude_defaults=True)


def question_of(project: Project) -> Question:
    return Question.model_validate(project.question)


def checked(values: Mapping[str, Any]) -> Question:
    """Raises Invalid with one line that names the place."""
    return validated(Question, values, "Question")
