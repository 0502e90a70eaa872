"""The columns of a judgement, each once: what is written, how an answer is read back, and what is exported follow from
this list. A column of the table that is neither here nor in one of the three tuples below fails a test.

People say things by pane, pane 0 being A; what they said is kept by position in the task. `order[pane]` is a position.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from app.db.tables import Judgement

T = TypeVar("T")

Order = Sequence[int]
Source = Literal["place", "assignment", "answer", "submission"]

MOST_VISITS = 32_767
# The id and the time with the row, what supersedes it with the row of a change.
SET_BY_DATABASE = ("id", "submitted_at", "superseded_by")
# Of imported judgements alone.
SET_BY_IMPORTS = ("source_annotator", "strength_said")
# When what somebody wrote was erased.
SET_BY_ERASURE = ("erased_at",)


@dataclass(frozen=True)
class Turn:
    """How a value is kept that was said of panes, and how it is read back."""

    keep: Callable[[Any, Order], Any]
    read: Callable[[Any, Order], Any]


def _side(order: Order) -> int:
    """1 where position 0 is shown before position 1, else -1."""
    return 1 if order[0] == 0 else -1


def _as_it_is(value: T, order: Order) -> T:
    return value


def _turn_side(value: int | None, order: Order) -> int | None:
    return None if value is None else value * _side(order)


def _turn_sides(values: Mapping[str, int], order: Order) -> dict[str, int]:
    return {name: value * _side(order) for name, value in values.items()}


def _by_position(panes: Sequence[T] | None, order: Order) -> list[T] | None:
    if panes is None:
        return None
    at = dict(zip(order, panes, strict=True))
    return [at[position] for position in range(len(order))]


def _by_pane(positions: Sequence[T] | None, order: Order) -> tuple[T, ...] | None:
    return None if positions is None else tuple(positions[position] for position in order)


def _names_by_position(panes: Sequence[Sequence[str]], order: Order) -> dict[str, list[str]]:
    return {str(order[pane]): list(names) for pane, names in enumerate(panes) if names}


def _names_by_pane(positions: Mapping[str, Sequence[str]], order: Order) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(positions.get(str(position), ())) for position in order) if positions else ()


def _text_or_null(text: str, order: Order) -> str | None:
    return text.strip() or None


def _null_or_text(text: str | None, order: Order) -> str:
    return text or ""


def _as_many_as_fit(visits: int | None, order: Order) -> int | None:
    return None if visits is None else min(visits, MOST_VISITS)


AS_IT_IS = Turn(_as_it_is, _as_it_is)
SIDE = Turn(_turn_side, _turn_side)
SIDES = Turn(_turn_sides, _turn_sides)
OF_EACH = Turn(_by_position, _by_pane)
NAMES_OF_EACH = Turn(_names_by_position, _names_by_pane)
TEXT = Turn(_text_or_null, _null_or_text)
VISITS = Turn(_as_many_as_fit, _as_it_is)


@dataclass(frozen=True)
class Column:
    """`source` is what the value comes from: the task and the person (`place`), how it was given to them
    (`assignment`), or what came in, there under the name `said_as` if not under its own.

    `follows`: from other columns, so that nothing is read back. `is_exported`: files hold it as it is stored, in the
    order of the list.
    """

    name: str
    source: Source
    turn: Turn = AS_IT_IS
    said_as: str = ""
    follows: bool = False
    is_exported: bool = True

    def said_in(self, said: object) -> Any:
        """What an answer or a submission holds."""
        return getattr(said, self.said_as or self.name)

    def kept_of(self, said: object, order: Order) -> Any:
        """What an answer or a submission holds, as it is stored."""
        return self.turn.keep(self.said_in(said), order)

    def read_of(self, judgement: Judgement, order: Order) -> Any:
        """What was said, by pane again."""
        return self.turn.read(getattr(judgement, self.name), order)


COLUMNS = (
    Column("project_id", "place", is_exported=False),
    Column("task_id", "place"),
    Column("assignment_id", "place", is_exported=False),
    Column("annotator_id", "place", is_exported=False),  # files hold a pseudonym
    Column("kind", "assignment"),
    Column("is_check", "assignment", is_exported=False),
    Column("is_verdict", "assignment"),
    Column("answer_type", "answer"),
    Column("choice", "answer"),
    Column("preference", "answer", SIDE, said_as="levels_towards_a", follows=True),
    Column("ranks", "answer", OF_EACH),
    Column("criteria", "answer", SIDES),
    Column("acceptable", "answer", OF_EACH),
    Column("flags", "answer", NAMES_OF_EACH),
    Column("safe", "answer", OF_EACH),
    Column("less_harmful", "answer", SIDE, said_as="safer"),
    Column("rationale", "answer", TEXT),
    Column("shown_order", "assignment"),
    Column("guidelines_version", "assignment"),
    Column("idempotency_key", "submission", is_exported=False),
    Column("body_digest", "assignment", is_exported=False),
    Column("first_action_ms", "submission"),
    Column("active_ms", "submission"),
    Column("visits", "submission", VISITS),
    Column("hurried", "submission"),
    Column("client_version", "submission", is_exported=False),
    Column("served_at", "assignment", is_exported=False),  # files hold it as text
)
ANSWER = tuple(column for column in COLUMNS if column.source == "answer")
SUBMISSION = tuple(column for column in COLUMNS if column.source == "submission")
# What is given to the statement that writes a judgement; the place has parameters of its own.
SAID = tuple(column.name for column in COLUMNS if column.source != "place")
EXPORTED = tuple(column.name for column in COLUMNS if column.is_exported)
