"""UltraFeedback as its authors give it: an instruction and several models' completions, each with ratings and a score.

Its binarised form is of the preference schema."""

from collections.abc import Sequence

from app.phrases import phrase
from app.services.data.imports.formats.comparisons import SPLIT, TAGS, about, counted, ranked
from app.services.data.imports.formats.format import Columns, Field, Format
from app.services.data.imports.formats.values import as_dict, list_of, prompt_of, response_of, short, value_in
from app.services.data.imports.rows import ImportedRow, Raw, Response, RowError, Statement

SCORES = ("overall_score", "fine-grained_score", "fine_grained_score")


def parse(raws: Sequence[Raw], columns: Columns, line: int) -> tuple[ImportedRow, ...]:
    """Raises RowError with the reason when the row can't be used."""
    (raw,) = raws
    name = columns["completions"]
    prompt = prompt_of(value_in(raw, columns, "instruction"), columns["instruction"])
    each = [as_dict(value) for value in list_of(raw.get(name), name)]
    responses = counted(
        [Response(response_of(one.get("response"), name), short(one.get("model", ""), name) or None) for one in each],
        name,
    )
    scores = [next((one[key] for key in SCORES if one.get(key) is not None), None) for one in each]
    if any(isinstance(score, bool) or not isinstance(score, int | float) for score in scores):
        raise RowError(name, f"has a completion without a score in {name!r}")
    levels = sorted({float(score) for score in scores if isinstance(score, int | float)}, reverse=True)
    order = [
        (place, levels.index(float(score))) for place, score in enumerate(scores) if isinstance(score, int | float)
    ]
    statement = Statement(ranked(order, len(scores)))
    return (about(ImportedRow(line, prompt, responses, (statement,)), raw, columns),)


def claims(raw: Raw, columns: Columns) -> bool:
    value = raw.get(columns["completions"])
    return isinstance(value, list) and any(not as_dict(one).keys().isdisjoint(SCORES) for one in value)


FORMAT = Format(
    name="ultrafeedback",
    called=phrase("UltraFeedback with all completions"),
    kind="judgements",
    fields=(
        Field("instruction", phrase("Prompt"), "instruction", required=True, others=("prompt",)),
        Field("completions", phrase("Completions with scores"), "completions", required=True),
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
