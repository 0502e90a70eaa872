"""What a file says of responses, as columns of `judgements`."""

import json
from dataclasses import dataclass
from functools import lru_cache

from app.services.data.imports.rows import Statement
from app.services.data.storing import answers
from app.services.data.storing.copying import NULL, array, or_null

COLUMNS = (
    "answer_type, choice, preference, ranks, shown_order, strength_said, source_annotator, criteria, flags,"
    " less_harmful, rationale, first_action_ms, active_ms, visits, hurried, served_at, acceptable, safe"
)
# From the annotator on.
_NOTHING_MORE = f"\t{NULL}\t{{}}\t{{}}" + 5 * f"\t{NULL}" + "\tFalse" + 3 * f"\t{NULL}"


@dataclass(frozen=True, slots=True)
class Stated:
    """`key` tells two statements about the same responses apart; `columns` are the values of COLUMNS."""

    key: str
    columns: str
    submitted_at: str | None = None


def stated(said: Statement, size: int, choice: int) -> Stated:
    """A statement about `size` responses, `choice` being how much better the better of two is unless it says so.

    Raises RowError for one that no judgement can be.
    """
    if is_plain(said):
        return _plain(said.ranks, said.strength, said.answer_type, size, choice)
    answers.require_fit(said, size)
    told = said.circumstances or answers.NOTHING_TOLD
    submitted_at = told.submitted_at and answers.moment_of(told.submitted_at)
    return Stated(answers.key_of(said), _answer(answers.stored(said, size, choice)) + _more(said), submitted_at)


def is_plain(said: Statement) -> bool:
    """Whether nothing is said beside the answer, as of most pairs."""
    says_more = said.annotator or said.rationale or said.acceptable or said.safe or said.criteria or said.flags
    return not says_more and said.circumstances is None and said.less_harmful is None


@lru_cache(maxsize=1_000)
def _plain(
    ranks: tuple[int | None, ...], strength: int | None, answer_type: str | None, size: int, choice: int
) -> Stated:
    said = Statement(ranks, strength, answer_type)
    return Stated(answers.key_of(said), _answer(answers.stored(said, size, choice)) + _NOTHING_MORE)


def _answer(answer: answers.StoredAnswer) -> str:
    return "\t".join(
        (
            answer.answer_type,
            or_null(answer.choice),
            or_null(answer.preference),
            array(answer.ranks),
            array(answer.shown_order),
            or_null(answer.strength_said),
        )
    )


def _more(said: Statement) -> str:
    """All beside the answer, each after a tab."""
    told = said.circumstances or answers.NOTHING_TOLD
    columns = (
        said.annotator,
        json.dumps(dict(said.criteria), ensure_ascii=False),
        answers.json_of_flags(said),
        said.less_harmful,
        said.rationale,
        told.first_action_ms,
        told.active_ms,
        answers.visits_of(told),
        told.hurried,
        told.served_at and answers.moment_of(told.served_at),
    )
    return "".join(f"\t{or_null(value)}" for value in columns) + f"\t{array(said.acceptable)}\t{array(said.safe)}"
