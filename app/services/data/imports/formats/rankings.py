"""Rankings: two to nine responses and the rank of each, of which 1 is best, equal ones are ties and 0 is unranked."""

from collections.abc import Sequence
from dataclasses import replace

from app.phrases import phrase
from app.services.data.imports.formats.comparisons import ABOUT, about, counted
from app.services.data.imports.formats.format import Columns, Field, Format
from app.services.data.imports.formats.responses import ANNOTATOR, PROMPT, RATIONALE
from app.services.data.imports.formats.values import (
    list_of,
    name_in,
    prompt_of,
    response_of,
    short,
    text_or_none,
    value_in,
    whole_number_of,
)
from app.services.data.imports.rows import ImportedRow, Raw, Response, RowError, Statement


def parse(raws: Sequence[Raw], columns: Columns, line: int) -> tuple[ImportedRow, ...]:
    """Raises RowError with the reason when the row can't be used."""
    (raw,) = raws
    prompt = prompt_of(value_in(raw, columns, "prompt"), columns["prompt"])
    texts = list_of(raw.get(columns["responses"]), columns["responses"])
    ranks = [_rank(value, columns["ranks"], len(texts)) for value in _each(raw, columns, "ranks", len(texts))]
    models = _each(raw, columns, "models", len(texts)) if "models" in columns else [""] * len(texts)
    responses = [
        Response(response_of(text, columns["responses"]), short(model, columns["models"]) if model else None)
        for text, model in zip(texts, models, strict=True)
    ]
    statement: Statement = replace(
        Statement(tuple(ranks)),
        annotator=name_in(raw, columns, "annotator"),
        rationale=text_or_none(value_in(raw, columns, "rationale"), columns.get("rationale", "")),
    )
    return (about(ImportedRow(line, prompt, counted(responses, columns["responses"]), (statement,)), raw, columns),)


def claims(raw: Raw, columns: Columns) -> bool:
    return isinstance(raw.get(columns["ranks"]), list | str) and value_in(raw, columns, "prompt") is not None


def _each(raw: Raw, columns: Columns, field: str, size: int) -> list[object]:
    found = list_of(raw.get(columns[field]), columns[field])
    if len(found) != size:
        raise RowError(columns[field], f"has {len(found)} entries under {columns[field]!r} for {size} responses")
    return found


def _rank(value: object, name: str, size: int) -> int | None:
    rank = 0 if value is None else whole_number_of(value, name)
    if not 0 <= rank <= size:
        raise RowError(name, f"has a rank that is not from 1 to {size}")
    return rank or None


FORMAT = Format(
    name="rankings",
    called=phrase("Rankings of two to nine responses"),
    kind="judgements",
    fields=(
        PROMPT,
        Field("responses", phrase("List of responses"), "responses", required=True),
        Field("ranks", phrase("List of ranks"), "ranks", required=True, others=("ranking", "rank")),
        Field("models", phrase("Who wrote each"), "models"),
        ANNOTATOR,
        RATIONALE,
        *ABOUT,
    ),
    claims=claims,
    parse=parse,
)
