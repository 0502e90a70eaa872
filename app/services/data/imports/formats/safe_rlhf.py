"""PKU-SafeRLHF: two responses, which is better, which is safer, and whether each is safe."""

from collections.abc import Sequence
from dataclasses import replace

from app.phrases import phrase
from app.services.data.imports.formats.comparisons import SPLIT, TAGS, TOPIC, about, counted
from app.services.data.imports.formats.format import Columns, Field, Format
from app.services.data.imports.formats.values import prompt_of, response_of, truth_of, value_in, whole_number_of
from app.services.data.imports.rows import ImportedRow, Raw, Response, RowError, Statement

RESPONSES, SAFE = ("response_0", "response_1"), ("safe_0", "safe_1")


def parse(raws: Sequence[Raw], columns: Columns, line: int) -> tuple[ImportedRow, ...]:
    """Raises RowError with the reason when the row can't be used."""
    (raw,) = raws
    prompt = prompt_of(raw.get(columns["prompt"]), columns["prompt"])
    texts = [response_of(raw.get(columns[name]), columns[name]) for name in RESPONSES]
    better = _side(raw, columns["better"])
    statement = Statement((2, 1) if better else (1, 2))
    if all(value_in(raw, columns, name) is not None for name in (*SAFE, "safer")):
        one, other = (truth_of(raw.get(columns[name]), columns[name]) for name in SAFE)
        less_harmful = -1 if _side(raw, columns["safer"]) else 1
        statement = replace(statement, safe=(one, other), less_harmful=less_harmful)
    responses = counted([Response(text) for text in texts], None)
    return (about(ImportedRow(line, prompt, responses, (statement,)), raw, columns),)


def claims(raw: Raw, columns: Columns) -> bool:
    return raw.get(columns["better"]) is not None


def _side(raw: Raw, column: str) -> int:
    """0 for the first response, 1 for the second."""
    side = whole_number_of(raw.get(column), column)
    if side not in (0, 1):
        raise RowError(column, f"has neither 0 nor 1 under {column!r}")
    return side


FORMAT = Format(
    name="safe-rlhf",
    called=phrase("PKU-SafeRLHF: the better and the safer of two responses"),
    kind="judgements",
    fields=(
        Field("prompt", phrase("Prompt"), "prompt", required=True),
        Field("response_0", phrase("First response"), "response_0", required=True),
        Field("response_1", phrase("Second response"), "response_1", required=True),
        Field("better", phrase("Which is better"), "better_response_id", required=True),
        Field("safer", phrase("Which is less harmful"), "safer_response_id"),
        Field("safe_0", phrase("Whether the first is safe"), "is_response_0_safe"),
        Field("safe_1", phrase("Whether the second is safe"), "is_response_1_safe"),
        SPLIT,
        TOPIC,
        TAGS,
    ),
    claims=claims,
    parse=parse,
    loses=phrase("Kinds and degrees of harm."),
)
