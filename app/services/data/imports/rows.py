"""What a row of a file is, whatever its format: a prompt, responses, what was said of them; or why it can't be used."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.db.tables.content import Split

Raw = Mapping[str, object]
"""A row as its file has it, by column."""
Turn = tuple[str, str]
"""Role and text."""


@dataclass(frozen=True, slots=True)
class RawRow:
    """`line` counts from 1, over all files of an archive: lines of JSON Lines and CSV, rows of a list or table."""

    line: int
    fields: Raw


@dataclass(frozen=True, slots=True)
class Response:
    """A response to be compared; `model` is who wrote it, where the file says so."""

    text: str
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Circumstances:
    """How a judgement came about, as an export of ours tells: what is None wasn't told.

    `shown_order[0]` is the position that was shown as A. Times of day are ISO 8601.
    """

    shown_order: tuple[int, ...] | None = None
    first_action_ms: int | None = None
    active_ms: int | None = None
    visits: int | None = None
    hurried: bool = False
    served_at: str | None = None
    submitted_at: str | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """What somebody said of a row's responses, by position.

    `ranks`: 1 is best, equal is a tie, None is unranked. `answer_type` is how it was asked, where the file says so: a
    pair on a scale (seven, six, eight), a ranking, or the best of several. `strength` is how much better the better one
    of two is, in levels of that scale; None where the file doesn't say how much. `criteria`: 1 (position 0 is
    better), 0 or -1 by name, of pairs. `less_harmful`: 1 (position 0 is), 0 or -1; said if and only if `safe` is, of
    pairs. `annotator` is a name as the file has it. What the file doesn't say is None or empty.
    """

    ranks: tuple[int | None, ...]
    strength: int | None = None
    answer_type: str | None = None
    acceptable: tuple[bool | None, ...] | None = None
    criteria: Mapping[str, int] = field(default_factory=dict)
    flags: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    safe: tuple[bool, bool] | None = None
    less_harmful: int | None = None
    annotator: str | None = None
    rationale: str | None = None
    circumstances: Circumstances | None = None


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A response to imitate; `edited_from` is the position of the response that it was made of."""

    text: str
    edited_from: int | None = None


@dataclass(frozen=True, slots=True)
class ImportedRow:
    """A prompt by itself has no responses, and responses without statements are to be judged.

    One response with a statement that ranks nothing was called acceptable or not by itself. `task` is the file's own
    name of the comparison: rows that share it are judgements of one task. `line` counts from 1: lines of a text, rows
    of a table or list.
    """

    line: int
    prompt: tuple[Turn, ...]
    responses: tuple[Response, ...] = ()
    statements: tuple[Statement, ...] = ()
    demonstrations: tuple[Demonstration, ...] = ()
    split: Split | None = None
    topic: str | None = None
    tags: tuple[str, ...] = ()
    task: str | None = None


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that can't be used: `reason` ends a sentence that starts with the row, `field` is what it is about."""

    line: int
    field: str | None
    reason: str


class RowError(ValueError):
    """Why a row can't be used, as the end of a sentence that starts with its line; `field` is what it is about."""

    def __init__(self, field: str | None, reason: str) -> None:
        super().__init__(reason)
        self.field = field
        self.reason = reason
