"""What a file says of responses, as the columns of a judgement."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from app.services.data.imports.rows import Circumstances, RowError, Statement
from app.services.judging.columns import MOST_VISITS

# Levels to each side of a scale, by the answer types that have one.
LEVELS = {"seven": 3, "six": 3, "eight": 4}
LARGEST_NUMBER = 2**63 - 1
LONGEST_NAME = 200
NOTHING_TOLD = Circumstances()


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An answer in the task's own order, as `judgements` has it."""

    answer_type: str
    choice: int | None
    preference: int | None
    ranks: tuple[int | None, ...] | None
    shown_order: tuple[int, ...]
    strength_said: bool | None


def stored(statement: Statement, size: int, choice: int) -> StoredAnswer:
    """The answer of a statement about `size` responses. Raises RowError for one that no judgement can be."""
    order = _order(statement, size)
    ranks = statement.ranks
    if len(ranks) != size or any(rank is not None and not 1 <= rank <= size for rank in ranks):
        raise RowError(None, f"has ranks that aren't from 1 to {size}, one for each response")
    if size > 1 and not any(ranks):
        raise RowError(None, "ranks none of its responses")
    scale = statement.answer_type or "seven"
    if size != 2 or scale not in LEVELS or None in ranks:
        is_best = scale == "best" and [rank for rank in ranks if rank is not None] == [1]
        return StoredAnswer("best" if is_best else "ranking", None, None, ranks, order, None)
    preference = _preference(ranks, scale, statement.strength, choice)
    if preference == 0:
        scale = "seven"  # the one that has a tie
    shown = preference if order[0] == 0 else -preference
    return StoredAnswer(
        scale, _segment(scale, shown), preference, None, order, statement.strength is not None or preference == 0
    )


def require_fit(statement: Statement, size: int) -> None:
    """Raises RowError for what no column holds."""
    told = statement.circumstances or NOTHING_TOLD
    for number in (told.first_action_ms, told.active_ms, told.visits):
        if number is not None and not 0 <= number <= LARGEST_NUMBER:
            raise RowError(None, "has a time or a count that is out of range")
    if statement.annotator is not None and len(statement.annotator) > LONGEST_NAME:
        raise RowError(None, f"has an annotator's name of more than {LONGEST_NAME} characters")
    if statement.acceptable is not None and len(statement.acceptable) != size:
        raise RowError(None, "doesn't say of each response whether it is acceptable")
    if statement.safe is not None and size != 2:
        raise RowError(None, "says of other than two responses whether they are safe")
    _require_whole_harm(statement)


def visits_of(told: Circumstances) -> int | None:
    """Visits, as many as their column holds."""
    return None if told.visits is None else min(told.visits, MOST_VISITS)


def key_of(statement: Statement) -> str:
    """Tells two statements about the same responses apart, whatever was asked for beside the file."""
    said = (
        statement.ranks, statement.strength, statement.answer_type, statement.acceptable, statement.safe,
        statement.less_harmful, statement.annotator, statement.rationale,
    )  # fmt: skip
    if not (statement.criteria or statement.flags or statement.circumstances):
        return repr(said)
    more = (sorted(statement.criteria.items()), sorted(statement.flags.items()), statement.circumstances)
    return repr((said, more))


def json_of_flags(statement: Statement) -> str:
    """Names by position."""
    return json.dumps({str(position): list(names) for position, names in statement.flags.items()}, ensure_ascii=False)


def _order(statement: Statement, size: int) -> tuple[int, ...]:
    as_stored = tuple(range(size))
    order = statement.circumstances.shown_order if statement.circumstances else None
    if order is None:
        return as_stored
    if tuple(sorted(order)) != as_stored:
        raise RowError("shown_order", "has an order that doesn't name each response once")
    return order


def _preference(ranks: Sequence[int | None], scale: str, strength: int | None, choice: int) -> int:
    first, second = ranks
    assert first is not None
    assert second is not None
    if first == second:
        return 0
    level = strength if strength is not None else 4 - choice
    if not 1 <= level <= LEVELS[scale]:
        raise RowError(None, f"has a strength that isn't from 1 to {LEVELS[scale]}")
    return level if first < second else -level


def _segment(scale: str, towards_a: int) -> int:
    """The segment that was pressed, from 1 at A's end on."""
    match scale:
        case "seven":
            return 4 - towards_a
        case "six":
            return 4 - towards_a if towards_a > 0 else 3 - towards_a
        case _:
            return 5 - towards_a if towards_a > 0 else 4 - towards_a


def _require_whole_harm(statement: Statement) -> None:
    safe, less_harmful = statement.safe, statement.less_harmful
    if (safe is None) != (less_harmful is None):
        raise RowError(None, "says which response is less harmful and not which are safe, or the other way round")
    if safe is not None and safe[0] != safe[1] and less_harmful != (1 if safe[0] else -1):
        raise RowError(None, "doesn't say that the one safe response is the less harmful one")


def moment_of(text: str | None) -> str | None:
    """A moment in ISO 8601 as the database takes it, which reads less than that; UTC without a zone. Raises RowError
    for what is none, or none of the years 1 to 9999."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        raise RowError(None, f"has a time that isn't one: {text!r}") from None
