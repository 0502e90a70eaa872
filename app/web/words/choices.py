"""The words of answers: of the scales' segments, and of what was said as a whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

from app.db.tables.judging import AnswerType
from app.services.judging.answers import Answer
from app.services.judging.assignments import PANE_NAMES
from app.web.locales import gettext, lazy


@dataclass(frozen=True)
class Choice:
    """`word` stands in the segment, `sentence` is its full name: for screen readers, and to say what was saved."""

    value: int
    side: str
    word: str
    sentence: str


class Stored(Protocol):
    """A judgement as it is stored, whole or as much of it as this takes."""

    @property
    def answer_type(self) -> Any: ...
    @property
    def choice(self) -> int | None: ...
    @property
    def ranks(self) -> Sequence[int | None] | None: ...
    @property
    def shown_order(self) -> Sequence[int]: ...


TIE = ("none", lazy("tie"), lazy("Both are equally good"))
TOWARDS_A = (
    ("a", lazy("A much better"), lazy("A is much better")),
    ("a", lazy("better"), lazy("A is better")),
    ("a", lazy("slightly"), lazy("A is slightly better")),
)
TOWARDS_B = (
    ("b", lazy("slightly"), lazy("B is slightly better")),
    ("b", lazy("better"), lazy("B is better")),
    ("b", lazy("B much better"), lazy("B is much better")),
)
BARELY = (
    ("a", lazy("barely"), lazy("A is negligibly better, or I am unsure")),
    ("b", lazy("barely"), lazy("B is negligibly better, or I am unsure")),
)


def _numbered(*segments: tuple[str, str, str]) -> tuple[Choice, ...]:
    return tuple(Choice(number, *segment) for number, segment in enumerate(segments, 1))


SCALES: dict[AnswerType, tuple[Choice, ...]] = {
    "seven": _numbered(*TOWARDS_A, TIE, *TOWARDS_B),
    "six": _numbered(*TOWARDS_A, *TOWARDS_B),
    "eight": _numbered(*TOWARDS_A, *BARELY, *TOWARDS_B),
}


def sentence(answer: Answer) -> str:
    """“A is better”, “C is the best”, “B > A = D”."""
    if answer.choice is not None:
        return SCALES[answer.answer_type][answer.choice - 1].sentence
    assert answer.ranks is not None
    ranked = sorted((rank, PANE_NAMES[pane]) for pane, rank in enumerate(answer.ranks) if rank is not None)
    if answer.answer_type == "best":
        return gettext("%(letter)s is the best") % {"letter": ranked[0][1]}
    return " > ".join(" = ".join(letter for _, letter in tied) for _, tied in groupby(ranked, key=lambda one: one[0]))


def said_as_stored(judgement: Stored) -> str:
    """“A is better”, A being the first of the responses as stored: so that what people said can be compared."""
    choice, order = judgement.choice, judgement.shown_order
    if choice is not None and order[0] != 0:
        choice = len(SCALES[judgement.answer_type]) + 1 - choice
    if choice is not None:
        return SCALES[judgement.answer_type][choice - 1].sentence
    ranks = judgement.ranks or []
    if all(rank is None for rank in ranks):
        return gettext("Nothing is ranked")
    return sentence(Answer(answer_type=judgement.answer_type, ranks=tuple(ranks)))
