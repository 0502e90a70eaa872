"""What a person says of a task, as it was shown to them, and the same in the task's own order, as it is stored."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from sqlalchemy.orm import outerjoin

from app.db.base import Json
from app.db.tables import Demonstration, Judgement, TaskCompletion
from app.db.tables.judging import AnswerType
from app.errors import Invalid
from app.services.judging.columns import ANSWER
from app.services.projects.question import PAIRWISE, Question

LONGEST_RATIONALE = 10_000
LONGEST_RESPONSE = 100_000

# Judgements, each with the better response that came with it and the place of the one that it was made of, if any.
WITH_RESPONSE = outerjoin(Judgement, Demonstration, Demonstration.judgement_id == Judgement.id).outerjoin(
    TaskCompletion,
    (TaskCompletion.task_id == Judgement.task_id) & (TaskCompletion.completion_id == Demonstration.completion_id),
)


@dataclass(frozen=True)
class Answer:
    """What was said, by pane: index 0 is A.

    `choice` counts the segments of the scale from A's end, from 1 on. `ranks`: 1 is best, equal ranks are ties, None
    is unranked; of the best of several, one is 1 and the rest None. `criteria`: 1 = A is better, 0, -1 = B is.
    `safe` says it of each of two; `less_harmful` as a criterion, and of two of which one is safe it follows.
    `response` is a better one, made of that in pane `response_of` or written anew (None).
    """

    choice: int | None = None
    answer_type: AnswerType = "seven"
    ranks: tuple[int | None, ...] | None = None
    criteria: Mapping[str, int] = field(default_factory=dict)
    acceptable: tuple[bool | None, ...] | None = None
    flags: tuple[tuple[str, ...], ...] = ()
    safe: tuple[bool | None, ...] | None = None
    less_harmful: int | None = None
    rationale: str = ""
    response: str = ""
    response_of: int | None = None

    def __post_init__(self) -> None:
        if self.answer_type in PAIRWISE:
            segments = PAIRWISE[self.answer_type]
            if self.choice not in range(1, segments + 1) or self.ranks is not None:
                raise Invalid("A choice is a whole number from 1 to %(segments)s.", segments=segments)
        elif self.choice is not None or self.ranks is None:
            raise Invalid("Of more than two responses, say their ranks.")
        if len(self.rationale) > LONGEST_RATIONALE or len(self.response) > LONGEST_RESPONSE:
            raise Invalid("That text is too long to be stored.")
        if "\0" in self.rationale + self.response:
            raise Invalid("A text can't hold a NUL character.")

    @property
    def is_strongest(self) -> bool:
        return self.choice is not None and self.choice in (1, PAIRWISE[self.answer_type])

    @property
    def safer(self) -> int | None:
        """Which one is less harmful, said or not."""
        match self.safe:
            case (True, False):
                return 1
            case (False, True):
                return -1
            case _:
                return self.less_harmful

    @property
    def levels_towards_a(self) -> int | None:
        """Levels of the scale by which A is better, negative if B is; None where there is no scale."""
        if self.choice is None:
            return None
        segments = PAIRWISE[self.answer_type]
        levels = segments // 2
        towards_a = levels + 1 - self.choice
        if segments % 2 == 0 and towards_a <= 0:  # no tie between the levels
            towards_a -= 1
        return towards_a

    def check(self, question: Question, size: int, *, is_sampled: bool) -> None:
        """Raises Invalid for what the question doesn't ask, and for a rationale that it does. `size`: responses."""
        if (self.answer_type in PAIRWISE) != (size == 2):
            raise Invalid("This task has %(size)s responses, which is not what this answer is about.", size=size)
        if self.ranks is not None:
            self._check_ranks(self.ranks, size)
        if unknown := [name for name in self.criteria if name not in question.criteria_of(size)]:
            raise Invalid("The project doesn't ask about “%(name)s” any more. Load the page again.", name=unknown[0])
        if any(value not in (-1, 0, 1) for value in self.criteria.values()):
            raise Invalid("Of a criterion one says A, tie or B.")
        if self.acceptable is not None and (len(self.acceptable) != size or not question.asks_acceptable):
            raise Invalid("Whether a response is acceptable is said of each one, in projects that ask for it.")
        if len(self.flags) not in (0, size):
            raise Invalid("Flags are said of each response.")
        if unknown := [name for names in self.flags for name in names if name not in question.flags]:
            raise Invalid("The project has no flag “%(name)s” any more. Load the page again.", name=unknown[0])
        self._check_harm(question, size)
        if self.response.strip() and not question.asks_edit:
            raise Invalid("This project doesn't ask for better responses.")
        if self.response_of is not None and self.response_of not in range(size):
            raise Invalid("A better response is made of one of those shown.")
        if self._wants_rationale(question, is_sampled=is_sampled) and not self.rationale.strip():
            raise Invalid("Please say in a few words why. Your answer has not been saved yet.")

    def _check_ranks(self, ranks: tuple[int | None, ...], size: int) -> None:
        if len(ranks) != size or any(rank is not None and rank not in range(1, size + 1) for rank in ranks):
            raise Invalid(
                "A rank is a whole number from 1 to %(size)s, or none, for each of the %(size)s responses.", size=size
            )
        ranked = [rank for rank in ranks if rank is not None]
        if self.answer_type == "best" and ranked != [1]:
            raise Invalid("Choose the one response that is best.")
        if self.answer_type == "ranking" and len(ranked) < 2:
            raise Invalid("Rank at least two responses.")

    def _check_harm(self, question: Question, size: int) -> None:
        if not (question.asks_harm and size == 2):
            if self.safe is not None or self.less_harmful is not None:
                raise Invalid("This project doesn't ask which responses are harmful. Load the page again.")
            return
        if self.safe is None or len(self.safe) != size or None in self.safe:
            raise Invalid("Say of each response whether it is safe. Your answer has not been saved yet.")
        if self.safer not in (-1, 0, 1):
            raise Invalid("Say which response is less harmful, too. Your answer has not been saved yet.")
        if self.less_harmful not in (None, self.safer):
            raise Invalid("A safe response can't be more harmful than one that isn't safe.")

    def _wants_rationale(self, question: Question, *, is_sampled: bool) -> bool:
        return is_sampled or (question.rationale == "strong" and self.is_strongest)

    def to_row(self, shown_order: list[int]) -> Json:
        """The columns of a judgement."""
        return {column.name: column.kept_of(self, shown_order) for column in ANSWER}

    def to_body(self) -> Json:
        """What a retry must repeat: all that was said, nothing that wasn't."""
        said = {column.name: column.said_in(self) for column in ANSWER if not column.follows}
        said |= {"rationale": self.rationale.strip(), "response": self.response.strip()}
        said["answer_type"] = None if self.answer_type == "seven" else self.answer_type
        said["flags"] = self.flags if any(self.flags) else None
        return {"choice": self.choice} | {name: value for name, value in said.items() if value}

    @classmethod
    def of(cls, judgement: Judgement, response: str = "", response_position: int | None = None) -> Self:
        """A stored judgement by pane again, as its author saw it."""
        order = judgement.shown_order
        said = {column.name: column.read_of(judgement, order) for column in ANSWER if not column.follows}
        pane = None if response_position is None else order.index(response_position)
        return cls(**said, response=response, response_of=pane)
