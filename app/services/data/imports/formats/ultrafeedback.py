"""UltraFeedback as its authors give it: an instruction and several models' completions, each with ratings and a score;
and lists like it (Nectar), whose responses have a rank of which 1 is best.

Its binarised form is of the preference schema."""

from collections.abc import Mapping, Sequence

from app.phrases import phrase
from app.services.data.imports.formats import hh_rlhf
from app.services.data.imports.formats.comparisons import SPLIT, TAGS, about, counted, ranked
from app.services.data.imports.formats.format import Columns, Field, Format
from app.services.data.imports.formats.values import (
    as_dict,
    is_number,
    list_of,
    prompt_of,
    response_of,
    short,
    value_in,
)
from app.services.data.imports.rows import ImportedRow, Raw, Response, RowError, Statement

SCORES = ("overall_score", "fine-grained_score", "fine_grained_score", "score", "rating", "reward")
TEXTS = ("response", "answer", "completion", "text", "content")


def parse(raws: Sequence[Raw], columns: Columns, line: int) -> tuple[ImportedRow, ...]:
    """Raises RowError with the reason when the row can't be used."""
    (raw,) = raws
    name = columns["completions"]
    asked, asked_in = value_in(raw, columns, "instruction"), columns["instruction"]
    is_transcript = isinstance(asked, str) and hh_rlhf.is_up_to_a_response(asked)
    prompt = hh_rlhf.prompt_in(str(asked), asked_in) if is_transcript else prompt_of(asked, asked_in)
    each = [as_dict(value) for value in list_of(raw.get(name), name)]
    responses = counted([_response(one, name) for one in each], name)
    statement = Statement(ranked(enumerate(_order(one, name) for one in each), len(each)))
    return (about(ImportedRow(line, prompt, responses, (statement,)), raw, columns),)


def claims(raw: Raw, columns: Columns) -> bool:
    value = raw.get(columns["completions"])
    return isinstance(value, list) and any(not as_dict(one).keys().isdisjoint((*SCORES, "rank")) for one in value)


def _response(one: Mapping[str, object], name: str) -> Response:
    text = next((one[key] for key in TEXTS if key in one), None)
    return Response(response_of(text, name), short(one.get("model") or "", name) or None)


def _order(one: Mapping[str, object], name: str) -> float:
    """A number that is the smaller the better: a rank, or a score below zero. Raises RowError."""
    score = next((one[key] for key in SCORES if one.get(key) is not None), None)
    found, sign = (score, -1) if score is not None else (one.get("rank"), 1)
    if not is_number(found):
        raise RowError(name, f"has a completion without a score in {name!r}")
    return sign * float(found)


FORMAT = Format(
    name="ultrafeedback",
    called=phrase("UltraFeedback with all completions"),
    kind="judgements",
    fields=(
        Field("instruction", phrase("Prompt"), "instruction", required=True, others=("prompt", "question")),
        Field(
            "completions",
            phrase("Completions with scores"),
            "completions",
            required=True,
            others=("responses", "answers", "generations", "candidates", "outputs"),
        ),
        Field("topic", phrase("Topic"), "source"),
        SPLIT,
        TAGS,
    ),
    claims=claims,
    parse=parse,
    loses=phrase(
        "Ratings by aspect, critiques and the scores themselves: of them the ranking by overall score is kept."
    ),
)
