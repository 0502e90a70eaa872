"""A prompt with two to nine responses, in a list or in a column each, to be judged; or with a column that says which
one won."""

from collections.abc import Sequence
from dataclasses import replace

from app.phrases import phrase
from app.services.data.imports.formats.comparisons import ABOUT, MOST_RESPONSES, about, counted, verdict
from app.services.data.imports.formats.format import Columns, Field, Format
from app.services.data.imports.formats.values import (
    as_dict,
    list_of,
    name_in,
    prompt_of,
    response_of,
    short,
    text_or_none,
    value_in,
)
from app.services.data.imports.rows import ImportedRow, Raw, Response, RowError, Statement

PROMPT = Field(
    "prompt",
    phrase("Prompt"),
    "prompt",
    required=True,
    others=("question", "instruction", "input", "query", "messages", "context", "text", "problem"),
)
LIST = Field(
    "responses",
    phrase("List of responses"),
    "responses",
    others=("completions", "answers", "outputs", "generations", "candidates"),
)
# Some count from 0, most from 1.
NUMBERED = range(MOST_RESPONSES + 1)
FROM_ZERO = "response_0"


def _columns_of(number: int) -> tuple[str, ...]:
    if not number:
        return tuple(f"{word}_0" for word in ("answer", "completion", "output", "candidate", "generation", "summary"))
    signs = (str(number), "abcdefghi"[number - 1])
    words = ("response", "answer", "completion", "output", "candidate", "generation", "summary")
    names = [f"{word}{gap}{sign}" for word in words for sign in signs for gap in ("_", "", "-")]
    return (*names, f"model_{signs[1]}_response", f"text_{signs[1]}", f"text{number}", f"option_{signs[1]}", signs[1])


RESPONSES = tuple(
    Field(f"response_{number}", phrase("Response"), f"response_{number}", others=_columns_of(number))
    for number in NUMBERED
)
MODELS = tuple(
    Field(
        f"model_{number}",
        phrase("Who wrote it"),
        f"model_{number}",
        others=(f"model_{'abcdefghi'[number - 1]}",) if number else (),
    )
    for number in NUMBERED
)
WINNER = Field(
    "winner",
    phrase("Which is better"),
    "winner",
    required=True,
    others=(
        "preferred",
        "preference",
        "preferred_response",
        "choice",
        "better",
        "better_response",
        "best",
        "verdict",
        "label",
    ),
)
ANNOTATOR = Field(
    "annotator", phrase("Who said so"), "annotator", others=("annotator_id", "judge", "user_id", "rater", "worker_id")
)
RATIONALE = Field("rationale", phrase("Why"), "rationale", others=("reason", "reasoning", "comment", "explanation"))


def parse(raws: Sequence[Raw], columns: Columns, line: int) -> tuple[ImportedRow, ...]:
    """Raises RowError with the reason when the row can't be used."""
    (raw,) = raws
    return (_row(raw, columns, line),)


def parse_judged(raws: Sequence[Raw], columns: Columns, line: int) -> tuple[ImportedRow, ...]:
    """Raises RowError with the reason when the row can't be used."""
    (raw,) = raws
    row = _row(raw, columns, line)
    column = columns["winner"]
    winner = value_in(raw, columns, "winner")
    if winner is None:
        raise RowError(column, f"has no winner under {column!r}")
    models = [response.model for response in row.responses]
    if winner in models:
        winner = str(models.index(winner) + 1)
    elif (number := _number(winner)) is not None:
        winner = str(number + 1 if value_in(raw, columns, FROM_ZERO) is not None else number)
    said = verdict(winner, _names(raw, columns, row.responses), column)
    rationale = text_or_none(value_in(raw, columns, "rationale"), columns.get("rationale", ""))
    statement: Statement = replace(said, annotator=name_in(raw, columns, "annotator"), rationale=rationale)
    return (replace(row, statements=(statement,)),)


def claims(raw: Raw, columns: Columns) -> bool:
    if value_in(raw, columns, "prompt") is None:
        return False
    listed = value_in(raw, columns, "responses")
    if isinstance(listed, list) or (isinstance(listed, str) and listed.lstrip().startswith("[")):
        return True
    return sum(value_in(raw, columns, field.name) is not None for field in RESPONSES) >= 2


def claims_judged(raw: Raw, columns: Columns) -> bool:
    winner = value_in(raw, columns, "winner")
    return claims(raw, columns) and (isinstance(winner, str) or _number(winner) is not None)


def _row(raw: Raw, columns: Columns, line: int) -> ImportedRow:
    prompt = prompt_of(value_in(raw, columns, "prompt"), columns["prompt"])
    if "responses" in columns:
        name = columns["responses"]
        responses = [_listed(value, name) for value in list_of(value_in(raw, columns, "responses"), name)]
    else:
        responses = _in_columns(raw, columns)
        name = None
    return about(ImportedRow(line, prompt, counted(responses, name)), raw, columns)


def _number(winner: object) -> int | None:
    """A winner that is a whole number, which a table may have as 1.0 or as text."""
    if isinstance(winner, bool):
        return None
    if isinstance(winner, str):
        return int(winner) if winner.isascii() and winner.isdecimal() and len(winner) == 1 else None
    return int(winner) if isinstance(winner, int | float) and winner in NUMBERED else None


def _listed(value: object, name: str) -> Response:
    """A text, a message, or an object with the response and who wrote it."""
    fields = as_dict(value)
    if not fields or "role" in fields or "from" in fields:
        return Response(response_of(value, name))
    text = next((fields[key] for key in ("text", "response", "content", "completion", "output") if key in fields), None)
    model = fields.get("model")
    return Response(response_of(text, name), None if model is None else short(model, name))


def _in_columns(raw: Raw, columns: Columns) -> list[Response]:
    found = []
    for number in NUMBERED:
        value = value_in(raw, columns, f"response_{number}")
        if value is not None:
            text = response_of(value, columns[f"response_{number}"])
            found.append(Response(text, name_in(raw, columns, f"model_{number}")))
    return found


def _names(raw: Raw, columns: Columns, responses: Sequence[Response]) -> list[str]:
    """What each response is called where somebody says which one won: its column, where it has one."""
    if "responses" in columns:
        return [f"response_{number}" for number in range(1, len(responses) + 1)]
    given = [number for number in NUMBERED if value_in(raw, columns, f"response_{number}") is not None]
    return [columns[f"response_{number}"] for number in given]


FORMAT = Format(
    name="responses",
    called=phrase("Prompts with two to nine responses to be judged"),
    kind="tasks",
    fields=(PROMPT, LIST, *RESPONSES, *MODELS, *ABOUT),
    claims=claims,
    parse=parse,
)
JUDGED = Format(
    name="judged-responses",
    called=phrase("Prompts with responses, and which one is better"),
    kind="judgements",
    fields=(PROMPT, LIST, *RESPONSES, *MODELS, WINNER, ANNOTATOR, RATIONALE, *ABOUT),
    claims=claims_judged,
    parse=parse_judged,
)
