"""Rankings: two to nine responses and the rank of each, of which 1 is best, equal ones are ties and 0 is unranked; or
the score of each, the higher the better."""

from collections.abc import Sequence
from dataclasses import replace

from app.phrases import phrase
from app.services.data.imports.formats.comparisons import ABOUT, about, counted, ranked
from app.services.data.imports.formats.format import Columns, Field, Format
from app.services.data.imports.formats.responses import ANNOTATOR, PROMPT, RATIONALE
from app.services.data.imports.formats.values import (
    is_number,
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
    size = len(list_of(raw.get(columns["responses"]), columns["responses"]))
    ranks = [_rank(value, columns["ranks"], size) for value in _each(raw, columns, "ranks", size)]
    return (_row(raw, columns, line, tuple(ranks)),)


def parse_scored(raws: Sequence[Raw], columns: Columns, line: int) -> tuple[ImportedRow, ...]:
    """Raises RowError with the reason when the row can't be used."""
    (raw,) = raws
    size = len(list_of(raw.get(columns["responses"]), columns["responses"]))
    scores = [_score(value, columns["scores"]) for value in _each(raw, columns, "scores", size)]
    order = [(place, -score) for place, score in enumerate(scores) if score is not None]
    if len(order) < 2:
        raise RowError(columns["scores"], f"has fewer than two scores under {columns['scores']!r}")
    return (_row(raw, columns, line, ranked(order, size)),)


def _row(raw: Raw, columns: Columns, line: int, ranks: tuple[int | None, ...]) -> ImportedRow:
    prompt = prompt_of(value_in(raw, columns, "prompt"), columns["prompt"])
    texts = list_of(raw.get(columns["responses"]), columns["responses"])
    models = _each(raw, columns, "models", len(texts)) if "models" in columns else [""] * len(texts)
    responses = [
        Response(response_of(text, columns["responses"]), short(model, columns["models"]) if model else None)
        for text, model in zip(texts, models, strict=True)
    ]
    statement: Statement = replace(
        Statement(ranks),
        annotator=name_in(raw, columns, "annotator"),
        rationale=text_or_none(value_in(raw, columns, "rationale"), columns.get("rationale", "")),
    )
    return about(ImportedRow(line, prompt, counted(responses, columns["responses"]), (statement,)), raw, columns)


def claims(raw: Raw, columns: Columns) -> bool:
    return isinstance(raw.get(columns["ranks"]), list | str) and value_in(raw, columns, "prompt") is not None


def claims_scored(raw: Raw, columns: Columns) -> bool:
    return isinstance(raw.get(columns["scores"]), list | str) and value_in(raw, columns, "prompt") is not None


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


def _score(value: object, name: str) -> float | None:
    """None for what has none."""
    if value is None:
        return None
    if not is_number(value):
        raise RowError(name, f"has no number under {name!r}")
    return float(value)


LIST = Field(
    "responses", phrase("List of responses"), "responses", required=True, others=("generations", "completions")
)
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
SCORED = Format(
    name="scored-responses",
    called=phrase("Two to nine responses with scores"),
    kind="judgements",
    fields=(
        PROMPT,
        LIST,
        Field("scores", phrase("List of scores"), "scores", required=True, others=("ratings", "rewards")),
        Field("models", phrase("Who wrote each"), "models", others=("generation_models", "model_names")),
        ANNOTATOR,
        RATIONALE,
        *ABOUT,
    ),
    claims=claims_scored,
    parse=parse_scored,
    loses=phrase("The scores themselves: of them the ranking is kept."),
)
