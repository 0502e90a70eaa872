"""Everything that people said of the tasks in a dataset version, one row for each judgement, as it was given.

Every column has a value of one type in every row, for whoever loads them infers types from the first ones.
"""

import json
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import Judgement
from app.phrases import phrase
from app.services.data.exports.annotations import IMPORTED
from app.services.data.exports.preferences import yes_or_no
from app.services.data.exports.said import Said, said, said_in, said_of_tasks
from app.services.data.exports.schema import SPLIT, Column, Reading, Schema
from app.services.judging.columns import EXPORTED

# Where a number is missing that may well be 0.
NO_NUMBER = -1
SIDES = {1: "first", 0: "tie", -1: "second", None: ""}
OF_THE_PLACE = ("task_id", "kind", "is_verdict", "guidelines_version")


class OfTask(NamedTuple):
    """What was said of a task; `number` counts those of a file from 1."""

    number: int
    said: Sequence[Said]


async def _numbered(reading: Reading) -> AsyncGenerator[list[OfTask]]:
    number = 0
    async with aclosing(said_of_tasks(reading)) as found:
        async for tasks in found:
            yield [OfTask(number + place, task) for place, task in enumerate(tasks, 1)]
            number += len(tasks)


def _rows(one: Said) -> Iterator[Json]:
    """All of it is by response, in the task's own order: `responses[0]` is position 0.

    `shown_order[0]` is the position that was shown as A; `annotator` is a pseudonym within the project. `choice` and
    `preference` are 0 where there was no scale; `ranks` are there of pairs, as well, and 0 for what is unranked.
    `criteria`, `flags` and `selection` are objects as text, since their names differ by project. A time or number that
    wasn't taken is -1, a text empty, and `round` 0 where no round chose the task.
    """
    yield {
        "judgement_id": one.judgement.id,
        "annotator": one.annotator,
        "prompt": one.prompt,
        "responses": [response.text for response in one.responses],
        **{column: _typed(one.judgement, column) for column in EXPORTED},
        **_circumstances(one),
        "models": [response.model for response in one.responses],
        "round": one.round or 0,
        "selection": _object(one.selection),
        "propensity": float(one.selection.get("propensity") or NO_NUMBER),
        "split": one.split,
    }


def _lossless(task: OfTask) -> Iterator[Json]:
    for one in task.said:
        source = one.judgement.source_annotator
        yield {
            "task": task.number,
            "annotator": (source or "") if one.judgement.kind == IMPORTED else one.annotator,
            "prompt": one.prompt,
            "topic": one.topic,
            "tags": ",".join(one.tags),
            "responses": [response.text for response in one.responses],
            "models": [response.model for response in one.responses],
            **{name: _typed(one.judgement, name) for name in EXPORTED if name not in OF_THE_PLACE},
            **_circumstances(one),
            "split": one.split,
        }


def _circumstances(one: Said) -> Json:
    served_at = one.judgement.served_at
    return {
        "better_response": one.written or "",
        "better_response_of": _number(one.edited_from),
        "served_at": served_at.isoformat() if served_at else "",
        "submitted_at": one.judgement.submitted_at.isoformat(),
    }


async def rows_of(db: AsyncSession, project_id: int, judgement_ids: Sequence[int]) -> dict[int, Json]:
    """Rows as an export of a version has them, by judgement, whether or not a version holds these."""
    found = await said_in(db, project_id, judgement_ids)
    return {one.judgement.id: row for one in found for row in _rows(one)}


def _typed(judgement: Judgement, column: str) -> object:
    """A column's value. Of an imported pair no file said how much better: it is given as a ranking of two."""
    value = getattr(judgement, column)
    if column == "ranks":
        return _ranks(value, judgement.preference)
    is_ranked = judgement.kind == IMPORTED and judgement.choice is not None and not judgement.strength_said
    if column in ("choice", "preference"):
        return 0 if is_ranked else value or 0
    if column == "answer_type" and is_ranked:
        return "ranking"
    if column in ("acceptable", "safe"):
        return [yes_or_no(truth) for truth in value or [None] * len(judgement.shown_order)]
    return _TYPED[column](value) if column in _TYPED else value


def _ranks(ranks: Sequence[int | None] | None, preference: int | None) -> list[int]:
    if ranks is not None:
        return [rank or 0 for rank in ranks]
    return [1, 1] if not preference else [1, 2] if preference > 0 else [2, 1]


def _number(value: int | None) -> int:
    return NO_NUMBER if value is None else value


def _text(value: str | None) -> str:
    return value or ""


def _object(value: Mapping[str, object]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _side(value: int | None) -> str:
    return SIDES[value]


_TYPED: Mapping[str, Callable[[Any], object]] = {
    "criteria": _object,
    "flags": _object,
    "less_harmful": _side,
    "rationale": _text,
    "first_action_ms": _number,
    "active_ms": _number,
    "visits": _number,
}
_OF_A_JUDGEMENT = (
    Column("task_id", "integer"),
    Column("kind", "text"),
    Column("is_verdict", "truth"),
    Column("answer_type", "text"),
    Column("choice", "integer"),
    Column("preference", "integer"),
    Column("ranks", "integers"),
    Column("criteria", "text"),
    Column("acceptable", "texts"),
    Column("flags", "text"),
    Column("safe", "texts"),
    Column("less_harmful", "text"),
    Column("rationale", "text"),
    Column("shown_order", "integers"),
    Column("guidelines_version", "integer"),
    Column("first_action_ms", "integer"),
    Column("active_ms", "integer"),
    Column("visits", "integer"),
    Column("hurried", "truth"),
)
_CIRCUMSTANCES = (
    Column("better_response", "text"),
    Column("better_response_of", "integer"),
    Column("served_at", "text"),
    Column("submitted_at", "text"),
)

JUDGEMENTS = Schema(
    name="judgements",
    title=phrase("All judgements"),
    about=phrase(
        "A row for each, with everything that was said, times, order shown, models, and how its task was chosen."
    ),
    kinds=("preferences",),
    columns=(
        Column("judgement_id", "integer"),
        Column("annotator", "text"),
        Column("prompt", "messages"),
        Column("responses", "texts"),
        *_OF_A_JUDGEMENT,
        *_CIRCUMSTANCES,
        Column("models", "texts"),
        Column("round", "integer"),
        Column("selection", "text"),
        Column("propensity", "number"),
        SPLIT,
    ),
    read=said,
    rows=_rows,
)
PLUMBLINE = Schema(
    name="plumbline",
    title=phrase("For another Plumbline"),
    about=phrase(
        "What was said, without this site’s numbers: read in elsewhere and exported again, it is the same file."
    ),
    kinds=("preferences",),
    columns=(
        Column("task", "integer"),
        Column("annotator", "text"),
        Column("prompt", "messages"),
        Column("topic", "text"),
        Column("tags", "text"),
        Column("responses", "texts"),
        Column("models", "texts"),
        *(column for column in _OF_A_JUDGEMENT if column.name not in OF_THE_PLACE),
        *_CIRCUMSTANCES,
        SPLIT,
    ),
    read=_numbered,
    rows=_lossless,
)
