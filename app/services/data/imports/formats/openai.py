"""OpenAI's files for preference tuning: {"input": {"messages"}, "preferred_output", "non_preferred_output"}."""

from collections.abc import Sequence

from app.phrases import phrase
from app.services.data.imports.formats.comparisons import SPLIT, TAGS, about, pair
from app.services.data.imports.formats.format import Columns, Field, Format
from app.services.data.imports.formats.values import as_dict, response_of, turns_of, whole_prompt
from app.services.data.imports.rows import ImportedRow, Raw


def parse(raws: Sequence[Raw], columns: Columns, line: int) -> tuple[ImportedRow, ...]:
    """Raises RowError with the reason when the row can't be used."""
    (raw,) = raws
    asked, better, worse = (columns[name] for name in ("input", "preferred", "other"))
    prompt = whole_prompt(turns_of(as_dict(raw.get(asked)).get("messages"), asked), asked)
    row = pair(line, prompt, response_of(raw.get(better), better), response_of(raw.get(worse), worse))
    return (about(row, raw, columns),)


def claims(raw: Raw, columns: Columns) -> bool:
    return "messages" in as_dict(raw.get(columns["input"]))


FORMAT = Format(
    name="openai-preference",
    called=phrase("OpenAI's preferences: input, preferred and other output"),
    kind="judgements",
    fields=(
        Field("input", phrase("Conversation"), "input", required=True),
        Field("preferred", phrase("Better response"), "preferred_output", required=True),
        Field("other", phrase("Worse response"), "non_preferred_output", required=True),
        SPLIT,
        TAGS,
    ),
    claims=claims,
    parse=parse,
    loses=phrase("Descriptions of tools."),
)
